package knative

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// trouble is why a pod does not come up.
type trouble struct {
	words string
	final bool // waiting longer brings nothing
	crash bool // the container's last log lines tell more
}

// troubleOf reads a pod's conditions and statuses; nil = none, or not yet.
func troubleOf(p *corev1.Pod) *trouble {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return unschedulable(p, c.Message)
		}
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" {
		return &trouble{words: fmt.Sprintf("its pod was ended by the cluster (%s): %s", p.Status.Reason, p.Status.Message), final: true}
	}
	for _, st := range p.Status.ContainerStatuses {
		if st.Name != containerName {
			continue
		}
		if w := st.State.Waiting; w != nil {
			if t := waiting(st.Image, w, &st); t != nil {
				return t
			}
		}
		if t := st.State.Terminated; t != nil && (st.RestartCount > 0 || p.Spec.RestartPolicy == corev1.RestartPolicyNever) && t.ExitCode != 0 {
			return crashed(t)
		}
	}
	return nil
}

func unschedulable(p *corev1.Pod, message string) *trouble {
	switch {
	case strings.Contains(message, "node affinity/selector") || strings.Contains(message, "node selector"):
		return &trouble{words: fmt.Sprintf("no node of the cluster has the labels that its node selector asks for (%s): correct addons.kubernetes.nodeSelector in its metadata, or label a node", selector(p)), final: true}
	case strings.Contains(message, "untolerated taint"):
		return &trouble{words: "no node takes it: " + message}
	case strings.Contains(message, "Insufficient"):
		return &trouble{words: "the cluster has no room for it now: " + message}
	}
	return &trouble{words: "no node takes it: " + message}
}

func selector(p *corev1.Pod) string {
	var parts []string
	for k, v := range p.Spec.NodeSelector {
		parts = append(parts, k+"="+v)
	}
	return strings.Join(parts, ", ")
}

func waiting(image string, w *corev1.ContainerStateWaiting, st *corev1.ContainerStatus) *trouble {
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff":
		return pull(image, w.Message)
	case "InvalidImageName", "ErrImageNeverPull":
		return &trouble{words: fmt.Sprintf("its image %s cannot be used: %s", image, w.Message), final: true}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError":
		return &trouble{words: "its container cannot be started: " + w.Message, final: st.RestartCount > 0 || w.Reason == "CreateContainerConfigError"}
	case "CrashLoopBackOff":
		if t := st.LastTerminationState.Terminated; t != nil {
			return crashed(t)
		}
		return &trouble{words: "its container ends again and again", final: true, crash: true}
	}
	return nil
}

// pull tells why an image does not come. Registries' own words differ; what is common is looked for.
func pull(image, message string) *trouble {
	lower := strings.ToLower(message)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(lower, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("not found", "manifest unknown", "name unknown", "does not exist"):
		return &trouble{words: fmt.Sprintf("its image %s is not in the registry: scan its repository again, which builds it anew", image), final: true}
	case has("unauthorized", "denied", "forbidden", "authentication required", "no basic auth"):
		return &trouble{words: fmt.Sprintf("the registry does not give its image %s to the cluster: see pull-credentials in the setting deployer (%s)", image, message), final: true}
	case has("x509", "certificate", "http response to https client"):
		return &trouble{words: fmt.Sprintf("the cluster's nodes do not trust the registry of %s: %s", image, message), final: true}
	case message == "":
		return nil
	}
	return &trouble{words: fmt.Sprintf("its image %s cannot be pulled: %s", image, message)}
}

func crashed(t *corev1.ContainerStateTerminated) *trouble {
	switch {
	case t.Reason == "OOMKilled":
		return &trouble{words: "its container used more memory than it may: raise resources.memory in its metadata", final: true, crash: true}
	case t.Message != "":
		return &trouble{words: fmt.Sprintf("its container ended at its start with exit code %d: %s", t.ExitCode, t.Message), final: true, crash: true}
	}
	return &trouble{words: fmt.Sprintf("its container ended at its start with exit code %d", t.ExitCode), final: true, crash: true}
}
