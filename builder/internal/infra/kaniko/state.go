package kaniko

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

// state is what a pod of a Job says of its build.
type state struct {
	logs   []string     // containers whose output can be read, in order
	result *spec.Result // the end, nil while it goes on
	lost   string       // the pod is no more, and the reason is not the build's: why
	stuck  string       // it does not start: why, in words
	never  bool         // and never will
}

// read is what a pod says. It is a pure function of the pod's status.
func read(p *corev1.Pod) (s state) {
	if p.DeletionTimestamp != nil {
		s.lost = "its pod was deleted"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			s.lost = "its pod was taken away: " + short(c.Message, c.Reason)
		}
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			s.stuck = "no node takes the build: " + short(c.Message, c.Reason)
		}
	}
	if p.Status.Reason == "Evicted" || p.Status.Reason == "NodeLost" || p.Status.Reason == "Shutdown" || p.Status.Reason == "NodeShutdown" {
		if p.Status.Reason == "Evicted" && strings.Contains(p.Status.Message, "ephemeral") || strings.Contains(p.Status.Message, "EmptyDir volume") {
			s.result = failed("limit", "builder.limits.disk", "the build filled its disk: install less, or raise builder.limits.disk ("+p.Status.Message+")")
			return s
		}
		s.lost = "its node took it away: " + short(p.Status.Message, p.Status.Reason)
	}
	all := append(append([]corev1.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
	for _, c := range all {
		switch {
		case c.State.Running != nil:
			s.logs = append(s.logs, c.Name)
		case c.State.Terminated != nil:
			s.logs = append(s.logs, c.Name)
			if r := ended(c.Name, c.State.Terminated, s.lost != ""); r != nil {
				s.result, s.lost = r, ""
				return s
			}
		case c.State.Waiting != nil:
			if why, never := waiting(c.State.Waiting, c.Image); why != "" {
				s.stuck, s.never = why, never
			}
		}
	}
	if s.lost == "" && p.Status.Phase == corev1.PodFailed { // nothing here told of an end of the build's own
		s.lost = "its pod was ended from outside" + killed(all)
	}
	return s
}

// killed tells how the container of a pod ended that did not end by itself.
func killed(all []corev1.ContainerStatus) string {
	for _, c := range all {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return fmt.Sprintf(" (%s: %s, status %d)", c.Name, short(t.Message, t.Reason), t.ExitCode)
		}
	}
	return ""
}

// overdue tells whether a pod that is being deleted should have been gone for a while: its node does not answer. Its
// DeletionTimestamp is the end of its grace.
func overdue(p *corev1.Pod, now time.Time) bool {
	return p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded && now.Sub(p.DeletionTimestamp.Time) > maxOverdue
}

// maxOverdue is how long a node may take to end a pod after its grace. One that only was slow costs a build that runs
// twice, and makes the same.
const maxOverdue = 30 * time.Second

// ended is the end of the build that a container's end is, nil when it goes on or the end is not its own.
func ended(container string, t *corev1.ContainerStateTerminated, taken bool) *spec.Result {
	if t.Reason == "OOMKilled" {
		return failed("limit", "builder.limits.memory", "the build needed more memory than it may have: install less, or raise builder.limits.memory")
	}
	var r spec.Result
	said := json.Unmarshal([]byte(t.Message), &r) == nil
	switch {
	case t.ExitCode == 0 && container != pushContainer:
		return nil // the other container comes next
	case t.ExitCode == 0 && said && r.Digest != "":
		return &r
	case t.ExitCode == 0:
		return failed("internal", "", "the build ended without naming its image")
	case said && r.Error != nil:
		return &r
	case taken, t.ExitCode == 137, t.ExitCode == 143:
		return nil // killed from outside: the Job makes another pod
	case t.ExitCode == 255 && t.Reason == "Unknown":
		return nil // containerd's word for what it lost, such as when the node was started anew
	case t.Reason == "StartError", t.Reason == "ContainerCannotRun":
		return failed("internal", "builder.executor", "the build's program cannot be started: check that builder.executor is the platform's own image ("+t.Message+")")
	}
	return failed("internal", "", fmt.Sprintf("the build's program ended with status %d: %s", t.ExitCode, short(t.Message, t.Reason)))
}

func failed(kind, setting, message string) *spec.Result {
	return &spec.Result{Error: &spec.Failure{Kind: kind, Setting: setting, Message: message}}
}

// waiting tells why a container does not start, and whether it ever will.
func waiting(w *corev1.ContainerStateWaiting, image string) (why string, never bool) {
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff":
		return "the image of builder.executor, " + image + ", cannot be fetched: " + short(w.Message, w.Reason), false
	case "InvalidImageName", "ErrImageNeverPull":
		return "the image of builder.executor, " + image + ", cannot be used: " + short(w.Message, w.Reason), true
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return "the build's container cannot be made: " + short(w.Message, w.Reason), false
	}
	return "", false
}

// over is the end that a Job itself came to, nil while it goes on.
func over(j *batchv1.Job) *spec.Result {
	for _, c := range j.Status.Conditions {
		if c.Type != batchv1.JobFailed || c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Reason {
		case batchv1.JobReasonDeadlineExceeded:
			return failed("timeout", "builder.timeout", "the build took longer than its limit: install less, or raise builder.timeout")
		case batchv1.JobReasonBackoffLimitExceeded:
			return failed("internal", "", "the build was taken away from its node time and again: scan the repository again once the cluster is calm")
		}
		return failed("internal", "", "the build's Job failed: "+short(c.Message, c.Reason))
	}
	return nil
}

func short(message, reason string) string {
	if message = strings.TrimSpace(message); message == "" {
		return reason
	}
	if len(message) > 600 {
		return message[:600] + "…"
	}
	return message
}
