package knative

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"knative.dev/serving/pkg/apis/serving"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// deploying is what this process wants the cluster to have.
type deploying struct {
	mu     sync.Mutex
	wanted map[string]*wanted // namespace/name of a service
}

type wanted struct {
	b             *backend
	spec          any               // as the cluster had it when it was applied
	labels, notes map[string]string // as they were applied; others may add theirs
}

// Ensure implements app.Deployer. Builds of sources and Jobs have no service: what can be told of them
// before they start is whether they may be made at all.
func (r *Runner) Ensure(ctx context.Context, project string, b domain.Build) error {
	k, err := r.backend(project, b)
	if err != nil {
		return err
	}
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if b.Kind == "Source" {
			err = r.ensureProject(ctx, project)
		} else {
			err = r.ensureService(ctx, k)
		}
		if !transient(err) || ctx.Err() != nil || r.life.Err() != nil {
			return err
		}
		// A cluster that is away for a while fails no deployment.
		r.cfg.Log.Warn("waiting for the cluster", "action", b.Action, "err", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
		case <-r.life.Done():
		}
		t.Stop()
	}
}

// ensureProject makes a project's namespace and what belongs into it, once.
func (r *Runner) ensureProject(ctx context.Context, project string) error {
	return r.applyProject(ctx, project, false)
}

// applyProject is ensureProject; again says that what was right once is applied all the same.
func (r *Runner) applyProject(ctx context.Context, project string, again bool) error {
	pull, err := r.set.readPullCredentials()
	if err != nil {
		return fault.Wrap(err, fault.Unprocessable, "the registry's credentials of the setting deployer cannot be read")
	}
	sum := sha256.Sum256(pull)
	version := hex.EncodeToString(sum[:])
	r.mu.Lock()
	known := r.projects[project]
	r.mu.Unlock()
	if known == version && !again {
		return nil
	}
	ns := r.set.namespaceOf(project)
	have, err := r.cluster.get(ctx, resources["Namespace"], "", ns)
	if err != nil {
		return err
	}
	if have == nil && again && !r.wants(ns) {
		// Somebody deleted it, and nothing of ours is missing for it: whoever needs it next makes it.
		r.mu.Lock()
		delete(r.projects, project)
		r.mu.Unlock()
		return nil
	}
	if have != nil && (have.GetLabels()[labelInstallation] != r.set.Installation || have.GetAnnotations()[annotationProject] != project) {
		return fault.New(fault.Conflict, "the namespace %s is not this Pelton's, or is another project's: delete it, or give another pattern as namespace in the setting deployer", ns)
	}
	if have != nil && have.GetDeletionTimestamp() != nil {
		return fault.New(fault.Unavailable, "the namespace %s is being deleted", ns)
	}
	for _, obj := range makeProject(project, r.set, pull) {
		u, err := plain(obj)
		if err != nil {
			return err
		}
		if _, err := r.cluster.apply(ctx, u); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.projects[project] = version
	r.mu.Unlock()
	return nil
}

// ensureService makes a build's service and waits until it can be called. Several callers share one
// attempt.
func (r *Runner) ensureService(ctx context.Context, b *backend) error {
	b.making.Lock()
	defer b.making.Unlock()
	b.mu.Lock()
	ok := b.ensured
	b.mu.Unlock()
	if ok {
		return nil
	}
	if err := r.ensureProject(ctx, b.o.project); err != nil {
		return err
	}
	u, err := plain(makeService(b.o, r.set))
	if err != nil {
		return err
	}
	have, err := r.cluster.get(ctx, services, b.ns, b.name)
	if err != nil {
		return err
	}
	if have != nil && have.GetAnnotations()[annotationBuild] != b.o.build.Digest {
		return fault.New(fault.Conflict, "the service %s in %s belongs to another build", b.name, b.ns)
	}
	// Applied whatever its mark says: somebody may have changed it while no runner looked. What is as it was meant stays
	// as it is.
	applied, err := r.cluster.apply(ctx, u)
	if err != nil {
		r.forgetProject(b.o.project, err)
		return err
	}
	works := false
	if have != nil && have.GetDeletionTimestamp() == nil && have.GetUID() == applied.GetUID() && have.GetGeneration() == applied.GetGeneration() {
		// It has worked, so it can be called: that it may not do so at this moment fails executions, not
		// the deployment.
		revision, _, _ := unstructured.NestedString(have.Object, "status", "latestReadyRevisionName")
		works = revision != ""
	}
	if works {
		r.want(b, applied, u)
		return nil
	}
	err = r.awaitService(ctx, b, applied)
	if err == nil {
		err = r.loads(ctx, b, string(applied.GetUID()))
	}
	if err != nil {
		if have == nil && !transient(err) && ctx.Err() == nil { // it never worked: nothing is left that tries on
			_ = r.cluster.remove(ctx, services, b.ns, b.name)
		}
		return err
	}
	r.want(b, applied, u)
	return r.lookAgain(ctx, b)
}

// lookAgain makes good what was changed or deleted of a service after it was applied and before it was wanted: whoever
// watches the services has passed over that.
func (r *Runner) lookAgain(ctx context.Context, b *backend) error {
	have, err := r.cluster.get(ctx, services, b.ns, b.name)
	switch {
	case err != nil:
		return err
	case have == nil:
		r.remake(b.ns+"/"+b.name, "was deleted")
	default:
		r.compare(have)
	}
	return nil
}

// want notes a service that works, as the cluster has it and as it was applied.
func (r *Runner) want(b *backend, have, applied *unstructured.Unstructured) {
	r.deploy.mu.Lock()
	r.deploy.wanted[b.ns+"/"+b.name] = &wanted{b: b, spec: have.Object["spec"], labels: applied.GetLabels(), notes: applied.GetAnnotations()}
	r.deploy.mu.Unlock()
	b.setEnsured(true)
}

// forgetProject lets the namespace be made again when that is what was missing.
func (r *Runner) forgetProject(project string, err error) {
	if err != nil && strings.Contains(err.Error(), "namespaces") {
		r.mu.Lock()
		delete(r.projects, project)
		r.mu.Unlock()
	}
}

// awaitService waits by the service's conditions. Why it does not become ready is told by its pods, as
// long as Knative itself still waits.
func (r *Runner) awaitService(ctx context.Context, b *backend, applied *unstructured.Unstructured) error {
	service := string(applied.GetUID())
	ctx, cancel := context.WithTimeout(ctx, r.set.DeployTimeout)
	defer cancel()
	reason, begun := "its pod has not started", time.Now()
	for n := 0; ; n++ {
		u, err := r.cluster.get(ctx, services, b.ns, b.name)
		if err != nil && !transient(err) {
			return err
		}
		if u != nil {
			ready, why, message := condition(u, applied.GetGeneration())
			switch ready {
			case corev1.ConditionTrue:
				return nil
			case corev1.ConditionFalse:
				if t := r.troubleOfService(ctx, b, service); t != nil {
					return t
				}
				// What belonged to a service of the name that was just deleted is about to go.
				if leaving := why == "NotOwned" && time.Since(begun) < leavePatience; !leaving && !r.starts(b, service) {
					return fault.New(fault.Unprocessable, "it does not start: %s", message)
				}
				reason = message
			}
		}
		if n%4 == 3 {
			if t := r.troubleOfService(ctx, b, service); t != nil {
				if t.Kind != fault.Timeout {
					return t
				}
				reason = t.Message
			}
		}
		timer := time.NewTimer(250 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fault.New(fault.Unprocessable, "it was not ready within %s: %s", r.set.DeployTimeout, reason)
		case <-r.life.Done():
			timer.Stop()
			return fault.New(fault.Unavailable, "the platform is stopping")
		}
		timer.Stop()
	}
}

// leavePatience is how long the parts of a deleted service may stay.
const leavePatience = time.Minute

// starts tells whether a service has a pod that is well: Knative says of one that found no node at first that the service
// has failed, until it is ready.
func (r *Runner) starts(b *backend, service string) bool {
	pods, _ := r.pods.of(b.ns, shortBuild(b.o.build.Digest))
	return slices.ContainsFunc(pods, func(p *pod) bool { return p.service == service && p.trouble == nil && !p.over && !p.ending })
}

// loadPatience is how long a deployment waits until a new service's code is loaded. What takes longer, such as a model,
// may go on loading: the first executions wait for it.
const loadPatience = 10 * time.Second

// loads tells why the code of a service that has just become ready cannot be loaded: its wrappers serve all the same, to
// say so to every execution. A service whose pods do not answer is taken as it is.
func (r *Runner) loads(ctx context.Context, b *backend, service string) error {
	ctx, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	for {
		pods, _ := r.pods.of(b.ns, shortBuild(b.o.build.Digest))
		asked := false
		for _, p := range pods {
			if p.over || p.ip == "" || p.service != service {
				continue
			}
			var d *pb.ActionDescription
			if b.ask(ctx, p, func(ctx context.Context, wrapper pb.ActionClient) (err error) {
				d, err = wrapper.Describe(ctx, &pb.DescribeRequest{})
				return err
			}) != nil {
				continue
			}
			if asked = true; d.LoadError != "" {
				return fault.New(fault.Unprocessable, "its code cannot be loaded: %s", d.LoadError)
			}
			if d.Loaded {
				return nil
			}
		}
		if !asked {
			return nil
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// condition reads Ready of a service, its reason and its message, once it speaks of the generation that we mean.
func condition(u *unstructured.Unstructured, generation int64) (status corev1.ConditionStatus, reason, message string) {
	seen, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if seen < generation {
		return corev1.ConditionUnknown, "", ""
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		m, ok := c.(map[string]any)
		if !ok || m["type"] != "Ready" {
			continue
		}
		state, _ := m["status"].(string)
		reason, _ = m["reason"].(string)
		message, _ = m["message"].(string)
		return corev1.ConditionStatus(state), reason, message
	}
	return corev1.ConditionUnknown, "", ""
}

// troubleOfService looks at what stands between a service and its readiness. The kind Timeout says that
// it may yet become well.
func (r *Runner) troubleOfService(ctx context.Context, b *backend, service string) *fault.Error {
	pods, _ := r.pods.of(b.ns, shortBuild(b.o.build.Digest))
	for _, p := range pods {
		if t := p.trouble; t != nil && !p.ready && p.service == service {
			return r.tell(ctx, t, p)
		}
	}
	list, err := r.cluster.kube.AppsV1().Deployments(b.ns).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceUIDLabelKey + "=" + service})
	if err != nil {
		return nil
	}
	for _, d := range list.Items {
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				return refused(c.Message)
			}
		}
	}
	return nil
}

// troubleOfOwner tells why the cluster makes no pod for a Job or a StatefulSet: their conditions do not say so, events do.
func (r *Runner) troubleOfOwner(ns, kind, name string) *fault.Error {
	ctx, cancel := context.WithTimeout(r.life, 5*time.Second)
	defer cancel()
	list, err := r.cluster.kube.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedCreate,involvedObject.kind=" + kind + ",involvedObject.name=" + name})
	if err != nil {
		return nil
	}
	var last *corev1.Event
	for i := range list.Items {
		e := &list.Items[i]
		if e.Reason == "FailedCreate" && e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && (last == nil || happened(e).After(happened(last))) {
			last = e
		}
	}
	if last == nil {
		return nil
	}
	return refused(last.Message)
}

// happened is when an event was last told.
func happened(e *corev1.Event) time.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

// refused is why the cluster makes no pod.
func refused(message string) *fault.Error {
	if strings.Contains(message, "exceeded quota") {
		return fault.New(fault.Exhausted, "the project's quota is exhausted: %s: undeploy something, or raise quota-cpu, quota-memory or quota-pods in the setting deployer", after(message, "exceeded quota:"))
	}
	return fault.New(fault.Unprocessable, "the cluster refuses its pod: %s", message)
}

// tell makes a pod's trouble an error, with the container's last words where it crashed.
func (r *Runner) tell(ctx context.Context, t *trouble, p *pod) *fault.Error {
	kind := fault.Timeout
	if t.final {
		kind = fault.Unprocessable
	}
	if t.crash {
		if lines := r.cluster.lastLines(ctx, p.namespace, p.name); lines != "" {
			return fault.New(kind, "%s; its last lines:\n%s", t.words, lines)
		}
	}
	return fault.New(kind, "%s", t.words)
}

// Release implements app.Deployer.
func (r *Runner) Release(ctx context.Context, project, digest string) error {
	ns := r.set.namespaceOf(project)
	list, err := r.cluster.in(services, ns).List(ctx, metav1.ListOptions{LabelSelector: labelManaged + "=pelton," + labelBuild + "=" + shortBuild(digest)})
	if err != nil {
		return r.cluster.words(ctx, err, "list the services of "+project)
	}
	for _, u := range list.Items {
		if u.GetAnnotations()[annotationBuild] != digest || u.GetAnnotations()[annotationProject] != project {
			continue
		}
		r.unwant(ns + "/" + u.GetName())
		if err := r.cluster.remove(ctx, services, ns, u.GetName()); err != nil {
			return err
		}
	}
	r.mu.Lock()
	b := r.backends[project+"/"+digest]
	r.mu.Unlock()
	if b != nil {
		b.forget()
	}
	return nil
}

// wants tells whether a service is wanted in a namespace.
func (r *Runner) wants(ns string) bool {
	for key := range r.allWanted() {
		if strings.HasPrefix(key, ns+"/") {
			return true
		}
	}
	return false
}

func (r *Runner) unwant(key string) {
	r.deploy.mu.Lock()
	defer r.deploy.mu.Unlock()
	delete(r.deploy.wanted, key)
}
