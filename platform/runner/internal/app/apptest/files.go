package apptest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"testing"

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
			has, err := f.Has(t.Context(), "p", want)
			require.NoError(t, err)
			require.True(t, has)
			has, err = f.Has(t.Context(), "other", want)
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
	t.Run("what is not there", func(t *testing.T) {
		missing := "sha256:" + hex.EncodeToString(make([]byte, 32))
		_, _, err := f.Open(t.Context(), "p", missing)
		require.Error(t, err)
		has, err := f.Has(t.Context(), "p", missing)
		require.NoError(t, err)
		require.False(t, has)
	})
	t.Run("a sender that breaks off leaves nothing", func(t *testing.T) {
		broken := io.MultiReader(bytes.NewReader([]byte("half")), brokenReader{})
		_, _, err := f.Put(t.Context(), "p", broken)
		require.Error(t, err)
		sum := sha256.Sum256([]byte("half"))
		has, err := f.Has(t.Context(), "p", "sha256:"+hex.EncodeToString(sum[:]))
		require.NoError(t, err)
		require.False(t, has)
	})
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the sender is gone") }
