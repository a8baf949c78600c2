package knative

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// bare is a site without wrappers, with a build whose service is made and wanted by r.
func bare(t *testing.T, change func(*site)) (*site, *Runner, domain.Build) {
	t.Helper()
	s := newSite(t, "")
	if change != nil {
		change(s)
	}
	r := s.runner(t)
	b := build(func(b *domain.Build) { b.Concurrency = 2 })
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	return s, r, b
}

// service reads a build's service, nil when there is none.
func (s *site) service(b domain.Build) *unstructured.Unstructured {
	s.t.Helper()
	u, err := s.cluster.get(context.Background(), services, "pelton-acme", serviceName(b.Action, b.Digest))
	require.NoError(s.t, err)
	return u
}

// alter changes a build's service as somebody else would.
func (s *site) alter(b domain.Build, change func(*unstructured.Unstructured)) {
	s.t.Helper()
	u := s.service(b)
	change(u)
	_, err := s.cluster.in(services, "pelton-acme").Update(context.Background(), u, metav1.UpdateOptions{})
	require.NoError(s.t, err)
}

func (s *site) eventually(done func() bool, what string) {
	s.t.Helper()
	require.Eventually(s.t, done, 30*time.Second, 10*time.Millisecond, what)
}

// TestACollectedServiceStaysAway: of two replicas that deployed a build one collects it; the other sees it go.
func TestACollectedServiceStaysAway(t *testing.T) {
	var needs, asked atomic.Int32
	s, r, b := bare(t, func(s *site) {
		s.named = func(context.Context) (app.Named, error) {
			defer asked.Add(1)
			switch needs.Load() {
			case 0:
				return app.Named{}, errors.New("the database is away")
			case 1:
				return app.Named{Builds: map[string]map[string]bool{"acme": {someDigest[:71]: true}}}, nil
			}
			return app.Named{}, nil
		}
	})
	key := "pelton-acme/" + serviceName(b.Action, b.Digest)
	remove := func() {
		t.Helper()
		require.NoError(t, r.cluster.remove(t.Context(), services, "pelton-acme", serviceName(b.Action, b.Digest)))
	}
	remove()
	s.eventually(func() bool { return asked.Load() == 1 }, "asked")
	require.Contains(t, r.allWanted(), key, "what is not known is asked again")
	needs.Store(1)
	r.remake(key, "is gone")
	s.eventually(func() bool { return s.service(b) != nil }, "named: made again")
	needs.Store(2)
	remove()
	s.eventually(func() bool { return r.allWanted()[key] == nil }, "forgotten")
	require.Nil(t, s.service(b))
}

// TestWhatWasChangedWhileNoRunnerWatchedIsMadeGood: the mark of what was applied says nothing of what is there.
func TestWhatWasChangedWhileNoRunnerWatchedIsMadeGood(t *testing.T) {
	s, r, b := bare(t, nil)
	r.Close()
	s.alter(b, func(u *unstructured.Unstructured) {
		require.NoError(t, unstructured.SetNestedField(u.Object, int64(9), "spec", "template", "spec", "containerConcurrency"))
	})
	require.NoError(t, s.runner(t).Ensure(t.Context(), "acme", b))
	n, _, _ := unstructured.NestedInt64(s.service(b).Object, "spec", "template", "spec", "containerConcurrency")
	require.EqualValues(t, 2, n)
}

// TestAServiceThatGoesWhileItIsDeployedIsMadeAgain: by then nobody wanted it yet.
func TestAServiceThatGoesWhileItIsDeployedIsMadeAgain(t *testing.T) {
	s := newSite(t, "")
	asked := 0
	s.dyn.PrependReactor("get", "services", func(action clienttesting.Action) (bool, runtime.Object, error) {
		get := action.(clienttesting.GetAction)
		if asked++; asked != 2 { // it is there and ready then
			return false, nil, nil
		}
		u, err := s.dyn.Tracker().Get(services, get.GetNamespace(), get.GetName())
		require.NoError(t, err)
		require.NoError(t, s.dyn.Tracker().Delete(services, get.GetNamespace(), get.GetName()))
		<-time.After(200 * time.Millisecond) // whoever watches has heard of that
		return true, u, nil
	})
	r := s.runner(t)
	b := build(func(*domain.Build) {})
	require.NoError(t, r.Ensure(t.Context(), "acme", b))
	s.eventually(func() bool { return s.service(b) != nil }, "made again")
}

func TestLabelsAndAnnotationsOfAServiceAreMadeGood(t *testing.T) {
	for name, change := range map[string]func(u *unstructured.Unstructured){
		"published": func(u *unstructured.Unstructured) {
			labels := u.GetLabels()
			delete(labels, visibility)
			u.SetLabels(labels)
		},
		"another's build": func(u *unstructured.Unstructured) {
			notes := u.GetAnnotations()
			notes[annotationBuild] = "sha256:other"
			u.SetAnnotations(notes)
		},
		"without its mark": func(u *unstructured.Unstructured) {
			notes := u.GetAnnotations()
			delete(notes, annotationSpec)
			u.SetAnnotations(notes)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, b := bare(t, nil)
			was := s.service(b)
			require.Equal(t, "cluster-local", was.GetLabels()[visibility])
			s.alter(b, change)
			s.eventually(func() bool {
				is := s.service(b)
				return holds(is.GetLabels(), was.GetLabels()) && holds(is.GetAnnotations(), was.GetAnnotations())
			}, "as it was applied")
		})
	}
	t.Run("another version's is left alone, and what others add", func(t *testing.T) {
		s, r, b := bare(t, nil)
		s.alter(b, func(u *unstructured.Unstructured) {
			u.SetLabels(map[string]string{labelManaged: "pelton", labelInstallation: "pelton"})
			u.SetAnnotations(map[string]string{annotationSpec: "later"})
		})
		r.compare(s.service(b))
		require.True(t, r.backends["acme/"+b.Digest].ensured, "nothing is made again")
		require.True(t, holds(map[string]string{"a": "b", "serving.knative.dev/creator": "x"}, map[string]string{"a": "b"}))
	})
}

// TestWhatAProjectSharesComesBack with the next renewal; a namespace that nothing needs does not.
func TestWhatAProjectSharesComesBack(t *testing.T) {
	_, r, b := bare(t, nil)
	there := func(kind, ns, name string) bool {
		t.Helper()
		u, err := r.cluster.get(t.Context(), resources[kind], ns, name)
		require.NoError(t, err)
		return u != nil
	}
	for _, kind := range []string{"NetworkPolicy", "ResourceQuota", "LimitRange"} {
		require.True(t, there(kind, "pelton-acme", "pelton"), kind)
		require.NoError(t, r.cluster.remove(t.Context(), resources[kind], "pelton-acme", "pelton"))
		r.renew()
		require.True(t, there(kind, "pelton-acme", "pelton"), kind)
	}
	require.NoError(t, r.Release(t.Context(), "acme", b.Digest))
	require.NoError(t, r.cluster.remove(t.Context(), resources["Namespace"], "", "pelton-acme"))
	r.renew()
	require.False(t, there("Namespace", "", "pelton-acme"))
	require.NoError(t, r.ensureProject(t.Context(), "acme"))
	require.True(t, there("Namespace", "", "pelton-acme"), "whoever needs it makes it")
}

// TestAServiceWaitsForPartsThatGo: what a service of the same name owned stands in the way until it is collected, which is no
// end of a deployment, as other reasons are.
func TestAServiceWaitsForPartsThatGo(t *testing.T) {
	s := newSite(t, "")
	r := s.runner(t)
	b := build(func(b *domain.Build) { b.Concurrency = 2 })
	why := "NotOwned"
	s.refuses.Store(&why)
	done := make(chan error, 1)
	go func() { done <- r.Ensure(t.Context(), "acme", b) }()
	s.eventually(func() bool { return s.service(b) != nil }, "it is applied")
	select {
	case err := <-done:
		require.Fail(t, "it is waited for", "%v", err)
	case <-time.After(time.Second):
	}
	s.alter(b, func(u *unstructured.Unstructured) {
		u.Object["status"] = map[string]any{"observedGeneration": int64(1), "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
	})
	require.NoError(t, <-done)
	why = "RevisionFailed"
	other := build(func(b *domain.Build) { b.Concurrency = 3 })
	other.Digest = "sha256:" + strings.Repeat("7", 64)
	require.ErrorContains(t, r.Ensure(t.Context(), "acme", other), "it does not start: because of RevisionFailed")
}
