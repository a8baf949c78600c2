package apply

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRemoteName(t *testing.T) {
	for remote, want := range map[string]string{
		"https://user:token@example.com:8443/team/flows.git": "example.com/team/flows",
		"git@example.com:team/flows.git":                     "example.com/team/flows",
		"ssh://git@example.com/team/flows":                   "example.com/team/flows",
		"file:///srv/flows.git":                              "/srv/flows",
		"/srv/flows.git":                                     "/srv/flows",
	} {
		require.Equal(t, want, remoteName(remote), remote)
	}
}

// TestOrigin: a folder of a clone is named by its place in the remote, any other by its path.
func TestOrigin(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	flows := filepath.Join(dir, "team", "workflows")
	require.NoError(t, os.MkdirAll(flows, 0o755))
	file := filepath.Join(flows, "a.yaml")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	is := func(want string, paths ...string) {
		t.Helper()
		for _, p := range paths {
			got, err := origin(t.Context(), p)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	is(filepath.Join(dir, "team"), file, flows, filepath.Join(dir, "team"))
	for _, args := range [][]string{{"init", "-q"}, {"remote", "add", "origin", "git@example.com:us/all.git"}} {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	is("example.com/us/all//team", file, flows, filepath.Join(dir, "team"))
	is("example.com/us/all", dir)
}

func TestMarked(t *testing.T) {
	once := marked([]byte("kind: Workflow"), "a")
	require.Equal(t, "kind: Workflow\n# pelton apply: from a\n", string(once))
	again := marked(once, "b")
	require.Equal(t, "kind: Workflow\n# pelton apply: from b\n", string(again))
	require.Equal(t, "b", originOf(string(again)))
	require.Empty(t, originOf("kind: Workflow\n"))
}
