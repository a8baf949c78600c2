package aead_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/aead"
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
	apptest.Cipher(t, c, again)
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
