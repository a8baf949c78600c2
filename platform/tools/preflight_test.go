package tools_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// preflight runs the script where the machine has only the named programs, each with what it prints.
func preflight(t *testing.T, release, home string, programs map[string]string) (code int, out string) {
	t.Helper()
	script, err := filepath.Abs("preflight.sh")
	require.NoError(t, err)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	for _, name := range []string{"sh", "sed", "awk", "sort", "head", "tail", "ls", "df", "touch", "rm", "mkdir", "id", "uname", "cat", "mktemp"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(bin, name)))
	}
	for name, says := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho '"+says+"'\n"), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "os-release"), []byte(release), 0o644))
	cmd := exec.CommandContext(t.Context(), "sh", script, home)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin, "PREFLIGHT_OS=" + filepath.Join(dir, "os-release")}
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err, "%s", said)
	}
	return cmd.ProcessState.ExitCode(), string(said)
}

// TestPreflight: each gap with its remedy for the system; a language that is missing is no error, Go,
// or a home that cannot be written, is one.
func TestPreflight(t *testing.T) {
	postgres := "postgres (PostgreSQL) 15.1"
	home := filepath.Join(t.TempDir(), "home")
	code, out := preflight(t, "ID=debian\nVERSION_CODENAME=trixie\n", home, map[string]string{"go": "go1.26.0", "node": "v22.1.0", "python3": "3.12.1", "postgres": postgres})
	require.Zero(t, code, out)
	require.Regexp(t, `(?m)^  Go +1\.26\.0 +ok$`, out)
	require.Regexp(t, `(?m)^  Node\.js +22\.1\.0 +ok$`, out)
	require.Regexp(t, `(?m)^  home .* ok, writable$`, out)

	code, out = preflight(t, "ID=debian\nVERSION_CODENAME=trixie\n", home, map[string]string{"go": "go1.26.0", "node": "v18.1.0", "postgres": postgres})
	require.Zero(t, code, out)
	require.Regexp(t, `(?m)^  Node\.js +18\.1\.0, wants 20\.19 +Node\.js actions are off; `, out)
	require.Regexp(t, `(?m)^  Python +missing, wants 3\.9 +Python actions are off; `, out)

	for release, remedy := range map[string]string{
		"ID=debian\nVERSION_CODENAME=bookworm\n": "apt install -t bookworm-backports golang-go",
		"ID=debian\nVERSION_CODENAME=trixie\n":   "apt install golang-go",
		"ID=ubuntu\nVERSION_CODENAME=noble\n":    "sudo snap install go --classic",
	} {
		if runtime.GOOS == "darwin" {
			remedy = "brew install go"
		}
		code, out = preflight(t, release, "/dev/null/home", map[string]string{"postgres": postgres})
		require.Equal(t, 1, code, out)
		require.Contains(t, out, remedy+", or https://go.dev/dl\n")
		require.Regexp(t, `(?m)^  home +/dev/null/home +not writable: choose another with PELTON_HOME=DIR make run$`, out)
	}
}
