package aead_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/aead"
)

func TestCipher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	c, err := aead.Open(path)
	require.NoError(t, err)
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	again, err := aead.Open(path)
	require.NoError(t, err)
	a, err := c.Seal([]byte("hunter2"), "p/token")
	require.NoError(t, err)
	b, err := c.Seal([]byte("hunter2"), "p/token")
	require.NoError(t, err)
	require.NotEqual(t, a, b, "equal secrets do not look equal")
	require.False(t, bytes.Contains(a, []byte("hunter2")))
	plain, err := again.Open(a, "p/token")
	require.NoError(t, err)
	require.Equal(t, "hunter2", string(plain))
	_, err = c.Open(a, "p/other")
	require.Error(t, err, "it opens for its own context only")
	a[len(a)-1] ^= 1
	_, err = c.Open(a, "p/token")
	require.Error(t, err)
	_, err = c.Open(nil, "p/token")
	require.Error(t, err)
	other, err := aead.Open(filepath.Join(t.TempDir(), "secret.key"))
	require.NoError(t, err)
	sealed, err := c.Seal([]byte("x"), "ctx")
	require.NoError(t, err)
	_, err = other.Open(sealed, "ctx")
	require.Error(t, err)
}

func TestKeyFileProblems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	require.NoError(t, os.WriteFile(path, []byte("zz"), 0o600))
	_, err := aead.Open(path)
	require.ErrorContains(t, err, "restore it from a backup")
	require.NoError(t, os.WriteFile(path, []byte("00ff"), 0o600))
	_, err = aead.Open(path)
	require.ErrorContains(t, err, "the key has 2 bytes")
}

// TestKeyFileMade: processes that start at once on a new home, before its folder of keys is there, agree on one key.
func TestKeyFileMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "secret.key")
	var ciphers [8]*aead.Cipher
	var wg sync.WaitGroup
	for i := range ciphers {
		wg.Go(func() {
			var err error
			ciphers[i], err = aead.Open(path)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	require.False(t, t.Failed())
	sealed, err := ciphers[0].Seal([]byte("s"), "ctx")
	require.NoError(t, err)
	for _, c := range ciphers {
		plain, err := c.Open(sealed, "ctx")
		require.NoError(t, err)
		require.Equal(t, "s", string(plain))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}
