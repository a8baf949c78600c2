package knative

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// mend watches the services and makes good what others change or delete, until the runner closes.
func (r *Runner) mend() {
	for wait := time.Second; r.life.Err() == nil; wait = min(2*wait, 30*time.Second) {
		begun := time.Now()
		r.follow()
		if time.Since(begun) > time.Minute {
			wait = time.Second
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.life.Done():
		}
		t.Stop()
	}
}

// again is how long a watch lasts at most; then everything is compared.
const again = 5 * time.Minute

// follow lists the services, compares, and follows changes until the watch ends.
func (r *Runner) follow() {
	options := metav1.ListOptions{LabelSelector: labelManaged + "=pelton," + labelInstallation + "=" + r.set.Installation}
	list, err := r.cluster.in(services, "").List(r.life, options)
	if err != nil {
		return
	}
	r.renew()
	there := map[string]bool{}
	for i := range list.Items {
		u := &list.Items[i]
		there[u.GetNamespace()+"/"+u.GetName()] = true
		r.compare(u)
	}
	for key := range r.allWanted() {
		if !there[key] {
			r.remake(key, "is gone")
		}
	}
	options.ResourceVersion, options.TimeoutSeconds = list.GetResourceVersion(), ptr(int64(again/time.Second))
	w, err := r.cluster.in(services, "").Watch(r.life, options)
	if err != nil {
		return
	}
	defer w.Stop()
	for {
		select {
		case <-r.life.Done():
			return
		case e, ok := <-w.ResultChan():
			if !ok || !r.heed(e) {
				return
			}
		}
	}
}

// renew applies again what projects share: a network policy or a quota that somebody took away is back, and credentials
// that are good by now are there without a deployment.
func (r *Runner) renew() {
	r.mu.Lock()
	projects := slices.Collect(maps.Keys(r.projects))
	r.mu.Unlock()
	for _, p := range projects {
		if err := r.applyProject(r.life, p, true); err != nil && r.life.Err() == nil {
			r.cfg.Log.Warn("a project's namespace could not be brought up to date", "project", p, "err", err)
		}
	}
}

// heed deals with one change; false when the watch has to begin again.
func (r *Runner) heed(e watch.Event) bool {
	u, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		return false // the watch is too old
	}
	switch e.Type {
	case watch.Modified, watch.Added:
		r.compare(u)
	case watch.Deleted:
		r.remake(u.GetNamespace()+"/"+u.GetName(), "was deleted")
	}
	return true
}

func (r *Runner) allWanted() map[string]*wanted {
	r.deploy.mu.Lock()
	defer r.deploy.mu.Unlock()
	out := map[string]*wanted{}
	for k, w := range r.deploy.wanted {
		out[k] = w
	}
	return out
}

// compare looks whether a service is as we applied it. One that another version of the platform has
// applied is left as it is: two replicas of different versions would quarrel.
func (r *Runner) compare(u *unstructured.Unstructured) {
	key := u.GetNamespace() + "/" + u.GetName()
	w := r.allWanted()[key]
	if w == nil || u.GetDeletionTimestamp() != nil {
		return
	}
	if mark := u.GetAnnotations()[annotationSpec]; mark != "" && mark != w.notes[annotationSpec] {
		return
	}
	if reflect.DeepEqual(u.Object["spec"], w.spec) && holds(u.GetLabels(), w.labels) && holds(u.GetAnnotations(), w.notes) {
		return
	}
	r.remake(key, "was changed")
}

// holds tells whether there is all that was applied. The label of its visibility missing, a service would be published.
func holds(have, applied map[string]string) bool {
	for k, v := range applied {
		if is, ok := have[k]; !ok || is != v {
			return false
		}
	}
	return true
}

// remake applies a service again, unless nothing names its build any more: another replica that collects
// services has taken it away then, and it stays away here too.
func (r *Runner) remake(key, why string) {
	w := r.allWanted()[key]
	if w == nil {
		return
	}
	w.b.forget() // meanwhile executions look for themselves
	r.wg.Go(func() {
		named, err := r.named(w.b)
		if err != nil {
			r.cfg.Log.Warn("whether a service is needed is not known: it is not made good yet", "service", key, "err", err)
			return
		}
		if !named {
			r.unwant(key)
			return
		}
		r.cfg.Log.Warn("a service is made good", "service", key, "action", w.b.o.build.Action, "why", "it "+why)
		u, err := plain(makeService(w.b.o, r.set))
		if err != nil {
			return
		}
		w.b.making.Lock()
		applied, err := r.cluster.apply(r.life, u)
		w.b.making.Unlock()
		if err != nil {
			r.cfg.Log.Warn("a service could not be made good", "service", key, "err", err)
			return
		}
		r.deploy.mu.Lock()
		if now := r.deploy.wanted[key]; now != nil { // whoever compares just now has the one before
			next := *now
			next.spec = applied.Object["spec"]
			r.deploy.wanted[key] = &next
		}
		r.deploy.mu.Unlock()
	})
}

// named asks whether a deployment, a run, or an execution of ours still needs a build, as Collect does.
func (r *Runner) named(b *backend) (bool, error) {
	if r.cfg.Named == nil || len(b.lane(roleService).inFlight()) > 0 {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(r.life, 30*time.Second)
	defer cancel()
	n, err := r.cfg.Named(ctx)
	return err == nil && n.Builds[b.o.project][b.o.build.Digest], err
}
