package knative

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
