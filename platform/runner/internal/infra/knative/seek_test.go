package knative

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
)

// TestAnotherLongSettingFindsWhatIsUnderWay: what began as a Job is a Job, what began at a service is there, whatever the
// setting makes of it now.
func TestAnotherLongSettingFindsWhatIsUnderWay(t *testing.T) {
	t.Run("a service's execution that would be a Job now", func(t *testing.T) {
		s, r, b := ready(t, waits)
		file := filepath.Join(t.TempDir(), "go")
		x := apptest.Attempt("x1", b, file)
		x.Limit = 30 * time.Second
		k := apptest.NewTold()
		r.Start(x, k)
		k.Logged(t)
		r.Close()
		s.more = "&long=10s"
		next := apptest.NewTold()
		s.runner(t).Attach(x, next)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		e := next.End(t)
		require.Equal(t, app.Completed, e.Outcome, e.Error)
	})
	t.Run("a Job that would be a service's execution now", func(t *testing.T) {
		s, r, b := bare(t, nil)
		x := apptest.Attempt("x1", b, "")
		x.Limit = time.Hour
		k := apptest.NewTold()
		r.Start(x, k)
		job := func() *unstructured.Unstructured {
			u, err := s.cluster.get(t.Context(), jobs, "pelton-acme", jobName("x1"))
			require.NoError(t, err)
			return u
		}
		s.eventually(func() bool { return job() != nil }, "made")
		r.Close()
		s.more = "&long=1h&timeout=1h"
		r = s.runner(t)
		r.Attach(x, apptest.NewTold())
		s.eventually(func() bool { return len(r.backends["acme/"+b.Digest].lane(roleJob).inFlight()) == 1 }, "it is waited for at its Job")
	})
	t.Run("one that never began", func(t *testing.T) {
		_, r, b := bare(t, nil)
		x := apptest.Attempt("x1", b, "")
		x.Limit = time.Hour
		k := apptest.NewTold()
		r.Attach(x, k)
		require.Equal(t, app.Unknown, k.End(t).Outcome)
	})
}
