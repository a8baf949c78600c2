package dirfiles_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
)

func TestStore(t *testing.T) { apptest.FilesSuite(t, dirfiles.Store{Dir: t.TempDir()}) }

// TestPutAgainWhileRemoved: whoever has put a blob again finds it, although it is removed for its age
// at the same time, over and over.
func TestPutAgainWhileRemoved(t *testing.T) {
	s := dirfiles.Store{Dir: t.TempDir()}
	old := time.Now().Add(-time.Hour)
	digest, _, err := s.Put(t.Context(), "p", strings.NewReader("x"))
	require.NoError(t, err)
	sum := strings.TrimPrefix(digest, "sha256:")
	path := filepath.Join(s.Dir, "p", "sha256", sum[:2], sum[2:])
	removed := 0
	for range 500 {
		if _, err := os.Stat(path); err == nil {
			require.NoError(t, os.Chtimes(path, old, old))
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, gone, err := s.Remove(t.Context(), "p", digest, time.Now().Add(-time.Minute))
			if err != nil {
				t.Error(err)
			}
			if gone {
				removed++
			}
		})
		wg.Go(func() {
			if _, _, err := s.Put(t.Context(), "p", strings.NewReader("x")); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		there, err := s.Keep(t.Context(), "p", digest)
		require.NoError(t, err)
		require.True(t, there)
	}
	t.Logf("removed %d times before it was put again", removed)
}

// TestTidy: what a sender that broke off left goes once it is old.
func TestTidy(t *testing.T) {
	s := dirfiles.Store{Dir: t.TempDir()}
	tmp := filepath.Join(s.Dir, "p", "tmp")
	require.NoError(t, os.MkdirAll(tmp, 0o700))
	for name, age := range map[string]time.Duration{"dead": time.Hour, "alive": 0} {
		path := filepath.Join(tmp, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(path, at, at))
	}
	require.NoError(t, s.Tidy(t.Context(), "p", time.Now().Add(-time.Minute)))
	require.NoError(t, s.Tidy(t.Context(), "none", time.Now()))
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "alive", left[0].Name())
}
