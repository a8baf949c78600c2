package s3files_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/miniotest"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/s3files"
)

func TestMain(m *testing.M) { miniotest.Main(m) }

func config(t *testing.T) s3.Config {
	t.Helper()
	server := miniotest.Shared(t)
	c, err := s3.Parse("files", strings.Replace(server.URL(server.Bucket(t)), "?", "/some/prefix?", 1))
	require.NoError(t, err)
	c.Credentials = server.Credentials(t)
	return c
}

func open(t *testing.T) s3files.Store {
	t.Helper()
	s, err := s3files.Open(t.Context(), config(t))
	require.NoError(t, err)
	return s
}

func TestStore(t *testing.T) { apptest.FilesSuite(t, open(t)) }

// TestPutAgainWhileRemoved: whoever has put a blob again finds it, although it is removed for its age
// at the same time.
func TestPutAgainWhileRemoved(t *testing.T) {
	s := open(t)
	const blobs = 100
	digests := make([]string, blobs)
	for i := range digests {
		var err error
		digests[i], _, err = s.Put(t.Context(), "p", strings.NewReader(fmt.Sprint(i)))
		require.NoError(t, err)
	}
	// Ages are known to the second.
	old := time.NewTimer(2100 * time.Millisecond)
	<-old.C
	before := time.Now().Add(-50 * time.Millisecond)
	var mu sync.Mutex
	removed := 0
	for i, digest := range digests {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, gone, err := s.Remove(t.Context(), "p", digest, before)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if gone {
					removed++
				}
			})
		}
		for range 2 {
			wg.Go(func() {
				if _, _, err := s.Put(t.Context(), "p", strings.NewReader(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				r, _, err := s.Open(t.Context(), "p", digest)
				if err != nil {
					t.Errorf("what was just put is gone: %v", err)
					return
				}
				r.Close()
			})
		}
		wg.Wait()
	}
	t.Logf("removed %d times while it was put again", removed)
}

// credentials writes a file of them and gives its path.
func credentials(t *testing.T, access, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s3.yaml")
	require.NoError(t, os.WriteFile(file, []byte("access_key: "+access+"\nsecret_key: "+secret+"\n"), 0o600))
	return file
}

// TestTidy: what a sender that broke off left goes once it is old.
func TestTidy(t *testing.T) {
	s := open(t)
	put(t, s, []byte("never finished"))
	require.NoError(t, s.Tidy(t.Context(), "p", time.Now().Add(-time.Minute)))
	require.NoError(t, s.Finish(t.Context(), "p", upload, digest([]byte("never finished")), 1))
	put(t, s, []byte("not finished either"))
	require.NoError(t, s.Tidy(t.Context(), "p", time.Now().Add(time.Minute)))
	require.Error(t, s.Finish(t.Context(), "p", upload, digest([]byte("not finished either")), 1))
	require.NoError(t, s.Tidy(t.Context(), "none", time.Now()))
}
