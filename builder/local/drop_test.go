package local

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestForce: a forced build replaces the bundle in its place; a failed one leaves what was there.
func TestForce(t *testing.T) {
	b := newBuilder(t, Limits{})
	dir, a, digest := source(t, map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	o := Order{Project: "default", Build: digest, Action: a, Source: dir}
	first, err := b.Build(t.Context(), o)
	require.NoError(t, err)
	mark := filepath.Join(first.Dir, "code", "damaged.py")
	require.NoError(t, os.WriteFile(mark, nil, 0o644))
	r, err := b.Build(t.Context(), o)
	require.NoError(t, err)
	require.True(t, r.Cached)
	require.FileExists(t, mark)

	o.Force = true
	r, err = b.Build(t.Context(), o)
	require.NoError(t, err)
	require.False(t, r.Cached)
	require.NoFileExists(t, mark)
	require.FileExists(t, filepath.Join(r.Dir, "bundle.json"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "handler.py"), []byte("def handle(:\n"), 0o644))
	_, err = b.Build(t.Context(), o)
	require.Error(t, err)
	data, err := os.ReadFile(filepath.Join(r.Dir, "code", "handler.py"))
	require.NoError(t, err)
	require.Equal(t, goodPython, string(data))
	left, err := filepath.Glob(filepath.Join(b.o.Home, "bundles", "default", "*.tmp-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDrop: a bundle goes, with dependencies that no other one uses, unless it was found since.
func TestDrop(t *testing.T) {
	b := newBuilder(t, Limits{})
	dir, a, digest := source(t, map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	o := Order{Project: "default", Build: digest, Action: a, Source: dir}
	r, err := b.Build(t.Context(), o)
	require.NoError(t, err)
	folder := func(name string) string {
		path := filepath.Join(b.o.Home, "deps", "default", name)
		require.NoError(t, os.MkdirAll(path, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(path, complete), nil, 0o644))
		return path
	}
	mine, shared, node := folder("mine"), folder("shared"), folder("node")
	link := func(bundle, name, to string) {
		at := filepath.Join(b.o.Home, "bundles", "default", bundle, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		target, err := filepath.Rel(filepath.Dir(at), to)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(target, at))
	}
	link(filepath.Base(r.Dir), "deps", mine)
	link("other", "deps", shared)
	link("third", "code/node_modules", filepath.Join(node, "node_modules"))

	gone, err := b.Drop("default", digest, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.False(t, gone, "it was made since")
	require.DirExists(t, r.Dir)
	_, err = b.Build(t.Context(), o) // found: as good as made
	require.NoError(t, err)
	later := time.Now().Add(time.Minute)
	gone, err = b.Drop("default", digest, later)
	require.NoError(t, err)
	require.True(t, gone)
	require.NoDirExists(t, r.Dir)
	require.NoDirExists(t, mine)
	require.DirExists(t, shared)
	require.DirExists(t, node)
	gone, err = b.Drop("default", digest, later)
	require.NoError(t, err)
	require.True(t, gone, "again is no error")
	for _, bad := range [][2]string{{"", digest}, {"../x", digest}, {"default", "sha256:../.."}} {
		_, err := b.Drop(bad[0], bad[1], later)
		require.Error(t, err, "%v", bad)
	}
	again, err := b.Build(t.Context(), o)
	require.NoError(t, err)
	require.False(t, again.Cached)
}
