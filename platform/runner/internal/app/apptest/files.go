package apptest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// FilesSuite checks a filestore.
func FilesSuite(t *testing.T, f app.Files) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for name, content := range map[string][]byte{"empty": {}, "small": []byte("hello"), "large": big} {
		t.Run(name, func(t *testing.T) {
			sum := sha256.Sum256(content)
			want := "sha256:" + hex.EncodeToString(sum[:])
			for range 2 { // the second time it is there already
				digest, size, err := f.Put(t.Context(), "p", bytes.NewReader(content))
				require.NoError(t, err)
				require.Equal(t, want, digest)
				require.EqualValues(t, len(content), size)
			}
			has, err := f.Keep(t.Context(), "p", want)
			require.NoError(t, err)
			require.True(t, has)
			has, err = f.Keep(t.Context(), "other", want)
			require.NoError(t, err)
			require.False(t, has, "blobs live under their project")
			r, size, err := f.Open(t.Context(), "p", want)
			require.NoError(t, err)
			require.EqualValues(t, len(content), size)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.True(t, bytes.Equal(content, got))
			_, err = r.Seek(0, io.SeekStart)
			require.NoError(t, err)
			require.NoError(t, r.Close())
		})
	}
	t.Run("what is old is listed and removed", func(t *testing.T) { removal(t, f) })
	t.Run("what is not there", func(t *testing.T) {
		missing := "sha256:" + hex.EncodeToString(make([]byte, 32))
		_, _, err := f.Open(t.Context(), "p", missing)
		require.Error(t, err)
		has, err := f.Keep(t.Context(), "p", missing)
		require.NoError(t, err)
		require.False(t, has)
	})
	t.Run("a sender that breaks off leaves nothing", func(t *testing.T) {
		broken := io.MultiReader(bytes.NewReader([]byte("half")), brokenReader{})
		_, _, err := f.Put(t.Context(), "p", broken)
		require.Error(t, err)
		sum := sha256.Sum256([]byte("half"))
		has, err := f.Keep(t.Context(), "p", "sha256:"+hex.EncodeToString(sum[:]))
		require.NoError(t, err)
		require.False(t, has)
	})
}

func removal(t *testing.T, f app.Files) {
	put := func(text string) string {
		digest, _, err := f.Put(t.Context(), "old", strings.NewReader(text))
		require.NoError(t, err)
		return digest
	}
	a, b := put("a"), put("b")
	projects, err := f.Projects(t.Context())
	require.NoError(t, err)
	require.Contains(t, projects, "old")
	listed := func(before time.Time) (out []string) {
		require.NoError(t, f.Old(t.Context(), "old", before, func(digest string, size int64) error {
			require.EqualValues(t, 1, size)
			out = append(out, digest)
			return nil
		}))
		return out
	}
	require.Empty(t, listed(clock().Add(-time.Minute)))
	require.ElementsMatch(t, []string{a, b}, listed(clock().Add(time.Minute)))
	stop := errors.New("enough")
	require.ErrorIs(t, f.Old(t.Context(), "old", clock().Add(time.Minute), func(string, int64) error { return stop }), stop)
	require.NoError(t, f.Old(t.Context(), "unheard-of", clock(), func(string, int64) error { return stop }))

	_, gone, err := f.Remove(t.Context(), "old", a, clock().Add(-time.Minute))
	require.NoError(t, err)
	require.False(t, gone, "it is young")
	size, gone, err := f.Remove(t.Context(), "old", a, clock().Add(time.Minute))
	require.NoError(t, err)
	require.True(t, gone)
	require.EqualValues(t, 1, size)
	_, gone, err = f.Remove(t.Context(), "old", a, clock().Add(time.Minute))
	require.NoError(t, err)
	require.False(t, gone, "it is gone already")
	require.Equal(t, []string{b}, listed(clock().Add(time.Minute)))
	require.NoError(t, f.Tidy(t.Context(), "old", clock().Add(-time.Minute)))
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the sender is gone") }
