package knative

import (
	"context"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

var _ app.Collector = (*Runner)(nil)

// keepJobs is how long a Job that has ended without being removed is kept: an execution without one is
// taken for never begun.
const keepJobs = 24 * time.Hour

// Collect implements app.Collector.
func (r *Runner) Collect(ctx context.Context, named func(context.Context) (app.Named, error)) error {
	there := map[schema.GroupVersionResource][]unstructured.Unstructured{}
	for _, gvr := range []schema.GroupVersionResource{services, statefulSets, jobs} {
		list, err := r.cluster.in(gvr, "").List(ctx, metav1.ListOptions{LabelSelector: labelManaged + "=pelton," + labelInstallation + "=" + r.set.Installation})
		if err != nil {
			return r.cluster.words(ctx, err, "list the "+gvr.Resource)
		}
		there[gvr] = list.Items
	}
	n, err := named(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for gvr, list := range there {
		for i := range list {
			u := &list[i]
			notes := u.GetAnnotations()
			if !r.superfluous(gvr, u, n, now) || u.GetDeletionTimestamp() != nil && gvr != jobs {
				continue
			}
			if gvr == services {
				if err := r.Release(ctx, notes[annotationProject], notes[annotationBuild]); err != nil {
					return err
				}
				continue
			}
			if gvr == jobs {
				if _, err := r.cluster.in(gvr, u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
					return r.cluster.words(ctx, err, "release the Job "+u.GetName())
				}
			}
			if err := r.cluster.remove(ctx, gvr, u.GetNamespace(), u.GetName()); err != nil {
				return err
			}
		}
	}
	return nil
}

// superfluous tells whether nothing needs an object any more.
func (r *Runner) superfluous(gvr schema.GroupVersionResource, u *unstructured.Unstructured, n app.Named, now time.Time) bool {
	notes := u.GetAnnotations()
	r.mu.Lock()
	_, ours := r.runs[notes[annotationExecution]]
	b := r.backends[notes[annotationProject]+"/"+notes[annotationBuild]]
	r.mu.Unlock()
	switch gvr {
	case services:
		if b != nil && len(b.lane(roleService).inFlight()) > 0 {
			return false
		}
		return now.Sub(u.GetCreationTimestamp().Time) > r.set.Collect && !n.Builds[notes[annotationProject]][notes[annotationBuild]]
	case statefulSets:
		return !ours && now.Sub(u.GetCreationTimestamp().Time) > r.set.Collect && !n.Deployments[deploymentOf(notes[annotationExecution])]
	default:
		ended, ok := endOf(u)
		return !ours && ok && now.Sub(ended) > keepJobs
	}
}

// deploymentOf reads the deployment out of a source's execution id, source-<deployment>-<trigger>.
func deploymentOf(execution string) string {
	rest := strings.TrimPrefix(execution, "source-")
	return rest[:min(36, len(rest))]
}

// endOf is when a Job ended.
func endOf(u *unstructured.Unstructured) (time.Time, bool) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		m, ok := c.(map[string]any)
		if !ok || m["status"] != "True" || (m["type"] != "Failed" && m["type"] != "Complete") {
			continue
		}
		text, _ := m["lastTransitionTime"].(string)
		at, err := time.Parse(time.RFC3339, text)
		return at, err == nil
	}
	return time.Time{}, false
}
