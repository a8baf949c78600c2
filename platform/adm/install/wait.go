package install

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Observed is what the cluster says of a release.
type Observed struct {
	Deployments []appsv1.Deployment
	Jobs        []batchv1.Job
	Pods        []corev1.Pod
	Unready     map[string]string // pod name: what its /readyz waits for
	Events      []corev1.Event    // of pods that wait for a volume
}

// Wait is one thing that a release waits for.
type Wait struct {
	What string // the service
	Why  string // in words
	// Hopeless tells that it will not come by itself.
	Hopeless bool
	Tried    bool // it has been tried again, in vain: nobody has to wait longer
}

// Waits tells what a release waits for, nothing when it is ready. Pure.
func Waits(o Observed, revision int) []Wait {
	var out []Wait
	for _, j := range o.Jobs {
		if !strings.HasSuffix(j.Name, fmt.Sprintf("-setup-%d", revision)) || j.Status.Succeeded > 0 {
			continue
		}
		w := Wait{What: "setup", Why: "databases, users and the bucket are being made"}
		if why, hopeless := podTrouble(o, "setup"); why != "" {
			w.Why, w.Hopeless = why, hopeless
		}
		if ended, tried := crashed(o, "setup"); ended != "" { // a server that is away it waits for by itself
			w.Why, w.Hopeless, w.Tried = ended, tried, tried
		}
		for _, c := range j.Status.Conditions {
			if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
				w.Why, w.Hopeless = "the Job has failed ("+c.Reason+"): see its log", true
			}
		}
		out = append(out, w)
	}
	for _, d := range o.Deployments {
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		s := d.Status
		if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas >= want && s.AvailableReplicas >= want && s.Replicas == s.UpdatedReplicas {
			continue
		}
		name := d.Labels["app.kubernetes.io/component"]
		w := Wait{What: name, Why: fmt.Sprintf("%d of %d ready", s.AvailableReplicas, want)}
		if why, hopeless := podTrouble(o, name); why != "" {
			w.Why, w.Hopeless = why, hopeless
		}
		for _, c := range s.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				w.Why, w.Hopeless = "no pod can be made: "+c.Message, true
				if strings.Contains(c.Message, "exceeded quota") {
					w.Why = "the namespace's quota does not allow a pod: " + c.Message
				}
			}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Wait) int { return strings.Compare(a.What, b.What) })
	return out
}

// podTrouble tells what keeps the newest pods of a component from being ready.
func podTrouble(o Observed, component string) (why string, hopeless bool) {
	for _, p := range o.Pods {
		if p.Labels["app.kubernetes.io/component"] != component || p.DeletionTimestamp != nil {
			continue
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				return "no node takes the pod: " + c.Message, false
			}
		}
		for _, c := range p.Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil {
				switch w.Reason {
				case "ErrImagePull", "ImagePullBackOff", "InvalidImageName":
					if !refusedPull(w.Message) && strings.Contains(w.Message, "not found") || strings.Contains(w.Message, "manifest unknown") || w.Reason == "InvalidImageName" {
						return "there is no image " + c.Image + ": see image.reference", true
					}
					if refusedPull(w.Message) {
						return "the registry does not let the node pull " + c.Image + ": see image.pullSecret (" + w.Message + ")", true
					}
					return "the image " + c.Image + " cannot be pulled: " + w.Message, false
				case "CreateContainerConfigError", "CreateContainerError":
					return "the container cannot be made: " + w.Message, false
				case "CrashLoopBackOff":
					if t := c.LastTerminationState.Terminated; t != nil {
						why = fmt.Sprintf("it ends with code %d again and again", t.ExitCode)
						if last := lastLine(t.Message); last != "" {
							why += ": " + last
						}
						continue
					}
				}
			}
			if r := o.Unready[p.Name]; r != "" {
				why = r
			}
		}
		if m := unmounted(o, p); m != "" {
			why = m
		}
	}
	return why, false
}

// crashed tells why a pod of a component ended, and whether it had been tried again by then.
func crashed(o Observed, component string) (why string, tried bool) {
	for _, p := range o.Pods {
		for _, c := range p.Status.ContainerStatuses {
			t := c.State.Terminated
			if w := c.State.Waiting; w != nil && w.Reason == "CrashLoopBackOff" {
				t = c.LastTerminationState.Terminated
			}
			if p.Labels["app.kubernetes.io/component"] != component || t == nil || t.ExitCode == 0 {
				continue
			}
			if last := lastLine(t.Message); last != "" {
				return strings.TrimPrefix(last, "pelton-adm: "), c.RestartCount > 0
			}
		}
	}
	return "", false
}

// lastLine is the last line of what a container printed at its end, where programs say why, at most 500 bytes.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if len(last) > 500 {
		last = strings.ToValidUTF8(last[:500], "") + "…"
	}
	return last
}

// unmounted tells what a pod that has not begun lacks: a secret that is not there shows in its events alone.
func unmounted(o Observed, p corev1.Pod) string {
	if p.Status.Phase != corev1.PodPending {
		return ""
	}
	for _, e := range slices.Backward(o.Events) {
		if e.InvolvedObject.UID == p.UID && e.Reason == "FailedMount" {
			return "a volume of the pod cannot be had: " + e.Message
		}
	}
	return ""
}

// refusedPull tells that a registry wants other credentials, in the words of container runtimes.
func refusedPull(message string) bool {
	for _, s := range []string{"401 Unauthorized", "403 Forbidden", "authorization failed", "unauthorized:", "denied:", "no basic auth credentials"} {
		if strings.Contains(message, s) {
			return true
		}
	}
	return false
}

// observe asks the cluster for a release's state.
func (c *Cluster) observe(ctx context.Context, release string) (o Observed, err error) {
	sel := metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=pelton,app.kubernetes.io/instance=" + release}
	ds, err := c.Kube.AppsV1().Deployments(c.Namespace).List(ctx, sel)
	if err != nil {
		return o, Words(c.rest.Host, err)
	}
	jobs, err := c.Kube.BatchV1().Jobs(c.Namespace).List(ctx, sel)
	if err != nil {
		return o, Words(c.rest.Host, err)
	}
	pods, err := c.Kube.CoreV1().Pods(c.Namespace).List(ctx, sel)
	if err != nil {
		return o, Words(c.rest.Host, err)
	}
	o = Observed{Deployments: ds.Items, Jobs: jobs.Items, Pods: pods.Items, Unready: map[string]string{}}
	for _, p := range o.Pods {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil && !s.Ready && p.Labels["app.kubernetes.io/component"] != "setup" {
				o.Unready[p.Name] = c.unready(ctx, p.Name)
			}
		}
	}
	if slices.ContainsFunc(o.Pods, func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodPending }) {
		// Whoever may not read events is told less.
		if list, err := c.Kube.CoreV1().Events(c.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod,reason=FailedMount"}); err == nil {
			o.Events = list.Items
		}
	}
	return o, nil
}

// unready asks a pod itself what it waits for.
func (c *Cluster) unready(ctx context.Context, pod string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The answer is a 503: its body comes with the error.
	data, err := c.Kube.CoreV1().Pods(c.Namespace).ProxyGet("http", pod, "8080", "/readyz", nil).DoRaw(ctx)
	var r struct {
		WaitingFor map[string]string `json:"waiting_for"`
	}
	if json.Unmarshal(data, &r) != nil {
		if err != nil {
			return "it does not answer yet"
		}
		return ""
	}
	var parts []string
	for k, v := range r.WaitingFor {
		parts = append(parts, k+": "+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// hope is how long what is hopeless may stay so: a pull that failed once may be about to be tried again.
const hope = 20 * time.Second

// Await waits until a release is ready, saying what it waits for whenever that changes. The error tells
// what it still waits for when ctx ends, or what will not come.
func (c *Cluster) Await(ctx context.Context, release string, revision int, say func(string, ...any)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := map[string]string{}
	since := map[string]time.Time{}
	var last []Wait
	for {
		o, err := c.observe(ctx, release)
		if err != nil && ctx.Err() == nil && !fault.Is(err, fault.Unavailable) {
			return err
		}
		if err == nil {
			if last = Waits(o, revision); len(last) == 0 && len(o.Deployments) > 0 {
				return nil
			}
			now := map[string]bool{}
			for _, w := range last {
				now[w.What] = true
				if said[w.What] != w.Why {
					say("waiting for %s: %s", w.What, w.Why)
					said[w.What] = w.Why
				}
				if !w.Hopeless {
					delete(since, w.What)
				} else if since[w.What].IsZero() {
					since[w.What] = time.Now()
				}
				if w.Tried || (w.Hopeless && time.Since(since[w.What]) > hope) {
					return fault.New(fault.Conflict, "%s: %s", w.What, w.Why)
				}
			}
			for what := range said {
				if !now[what] {
					say("%s is ready", what)
					delete(said, what)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			var parts []string
			for _, w := range last {
				parts = append(parts, w.What+": "+w.Why)
			}
			return fault.New(fault.Timeout, "the installation is not ready; it waits for %s", strings.Join(parts, "; "))
		}
	}
}
