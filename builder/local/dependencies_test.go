package local

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hostile is a package whose build is its own code: it tells what it saw and what it could do.
const hostile = `import json, os, subprocess, zipfile


def attempt(f):
    try:
        f()
        return "done"
    except OSError as e:
        return e.strerror


def build_wheel(folder, settings=None, metadata=None):
    home = HOME
    subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={})
    told = {
        "uid": os.getuid(),
        "environment": sorted(os.environ),
        "bundle": attempt(lambda: open(os.path.join(home, "bundles", "x"), "w")),
        "tools": attempt(lambda: open(os.path.join(home, "tools", "x"), "w")),
        "neighbour": attempt(lambda: open(os.path.join(home, "cache", "projects", "neighbour", "x"), "w")),
    }
    name = "hostile-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        z.writestr("hostile.py", "told = " + repr(json.dumps(told)))
        z.writestr("hostile.json", json.dumps(told))
        z.writestr("hostile-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
        z.writestr("hostile-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: hostile\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("hostile-1.0.dist-info/RECORD", "")
    return name
`

// TestDependencies: installing runs other people's code, as the project's user; what it made is
// ours afterwards, is installed once for a lock, and belongs to its project.
func TestDependencies(t *testing.T) {
	b := sharedBuilder(t)
	_, _, err := build(t, b, "neighbour", map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	require.NoError(t, err)
	quoted, err := json.Marshal(b.o.Home)
	require.NoError(t, err)
	files := map[string]string{
		"action.yaml": metadata("python3"), "handler.py": goodPython, "requirements.txt": "./hostile\n",
		"hostile/pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n[project]\nname = \"hostile\"\nversion = \"1.0\"\n",
		"hostile/backend.py":     strings.Replace(hostile, "HOME", string(quoted), 1),
	}
	r, log, err := build(t, b, "attacked", files)
	require.NoError(t, err, log)
	require.Contains(t, strings.Join(r.Notes, "\n"), "without a lock")
	require.Contains(t, r.Phases, "dependencies")
	requireOurs(t, r.Dir)
	deps, err := filepath.EvalSymlinks(filepath.Join(r.Dir, "deps"))
	require.NoError(t, err)
	requireOurs(t, deps)
	var told struct {
		UID                      int
		Environment              []string
		Bundle, Tools, Neighbour string
	}
	data, err := os.ReadFile(filepath.Join(deps, "hostile.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &told))
	for _, name := range told.Environment {
		require.False(t, strings.HasPrefix(name, "PELTON_") && name != "PELTON_BUILD", name)
	}
	owner, err := b.owners.of("attacked")
	require.NoError(t, err)
	if owner.uid >= 0 {
		require.Equal(t, owner.uid, told.UID)
		for _, s := range []string{told.Bundle, told.Tools, told.Neighbour} {
			require.Equal(t, "Permission denied", s)
		}
		for _, p := range processes(true) {
			require.NotEqual(t, owner.uid, p.uid, "process %d is left", p.pid)
		}
	}

	// Other code with the same lock: another build, the same dependencies.
	files["handler.py"] = goodPython + "\n"
	again, log, err := build(t, b, "attacked", files)
	require.NoError(t, err, log)
	require.False(t, again.Cached)
	require.NotContains(t, again.Phases, "dependencies")
	same, err := filepath.EvalSymlinks(filepath.Join(again.Dir, "deps"))
	require.NoError(t, err)
	require.Equal(t, deps, same)

	// Another project installs its own.
	other, log, err := build(t, b, "third", files)
	require.NoError(t, err, log)
	require.Contains(t, other.Phases, "dependencies")
}
