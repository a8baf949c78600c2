package local

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
)

// requireOurs: nothing below dir may be changed by somebody else.
func requireOurs(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		require.Equal(t, os.Geteuid(), int(st.Uid), p)
		if info.Mode()&fs.ModeSymlink == 0 && os.Geteuid() == 0 { // nothing is sealed otherwise
			require.Zero(t, info.Mode().Perm()&0o022, "%s %s", p, info.Mode())
			require.Zero(t, info.Mode()&(fs.ModeSetuid|fs.ModeSetgid), p)
		}
		return nil
	}))
}

// shared is a home whose tools are fetched once for all tests.
var shared struct {
	once sync.Once
	dir  string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.dir != "" {
		removeAll(shared.dir)
	}
	os.Exit(code)
}

// reachableDir is a new folder that other users may walk into.
func reachableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-build-") //nolint:usetesting // reachable for other users
	require.NoError(t, err)
	t.Cleanup(func() { removeAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

const testUser = 270000

// newBuilder builds as users of its own where the test is root.
func newBuilder(t *testing.T, limits Limits) *Builder {
	t.Helper()
	return New(Options{Home: reachableDir(t), UID: testUser, GID: testUser, Limits: limits})
}

// sharedBuilder has the tools of the tests before.
func sharedBuilder(t *testing.T) *Builder {
	t.Helper()
	shared.once.Do(func() {
		var err error
		shared.dir, err = os.MkdirTemp("", "pelton-build-") //nolint:usetesting // outlives the test
		require.NoError(t, err)
		require.NoError(t, os.Chmod(shared.dir, 0o755))
	})
	return New(Options{Home: shared.dir, UID: testUser, GID: testUser})
}

// source writes an action's files and reads its metadata.
func source(t *testing.T, files map[string]string) (string, action.Action, string) {
	t.Helper()
	dir := reachableDir(t)
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	a, problems := action.Load(os.DirFS(dir), ".", "sample")
	require.False(t, problems.Errors(), "%v", problems)
	digest, err := action.Digest(os.DirFS(dir), ".")
	require.NoError(t, err)
	return dir, a, digest
}

// lines collects a build's log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(s string) { l.mu.Lock(); defer l.mu.Unlock(); l.all = append(l.all, s) }
func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

func metadata(runtime string) string {
	return "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: " + runtime + "\n  inputs: [{name: n, type: integer}]\n  outputs: [{name: n, type: integer}]\n"
}

const goodPython = "def handle(inputs):\n    return {'n': inputs['n']}\n"

func build(t *testing.T, b *Builder, project string, files map[string]string) (Result, string, error) {
	t.Helper()
	dir, a, digest := source(t, files)
	var log lines
	r, err := b.Build(t.Context(), Order{Project: project, Build: digest, Action: a, Source: dir, Log: log.add})
	return r, log.text(), err
}

func TestBuiltOnce(t *testing.T) {
	b := newBuilder(t, Limits{})
	dir, a, digest := source(t, map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	o := Order{Project: "default", Build: digest, Action: a, Source: dir}
	var wg sync.WaitGroup
	results := make([]Result, 4)
	for i := range results {
		wg.Go(func() {
			var err error
			results[i], err = b.Build(context.Background(), o)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	made := 0
	for _, r := range results {
		if !r.Cached {
			made++
		}
		require.Equal(t, b.Bundle("default", digest), r.Dir)
	}
	require.Equal(t, 1, made, "one of the four builds, the others find it")

	other := o
	other.Project = "other"
	r, err := b.Build(t.Context(), other)
	require.NoError(t, err)
	require.False(t, r.Cached, "a bundle belongs to its project")
	require.NotEqual(t, results[0].Dir, r.Dir)
}

// TestIncomplete: what a crash left is made again, not taken for a bundle.
func TestIncomplete(t *testing.T) {
	b := newBuilder(t, Limits{})
	dir, a, digest := source(t, map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	bundle := b.Bundle("default", digest)
	require.NoError(t, os.MkdirAll(filepath.Join(bundle, "code"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "code", "left.py"), nil, 0o644))
	r, err := b.Build(t.Context(), Order{Project: "default", Build: digest, Action: a, Source: dir})
	require.NoError(t, err)
	require.False(t, r.Cached)
	require.NoFileExists(t, filepath.Join(bundle, "code", "left.py"))
	var written struct {
		Build, Handler, Interpreter string
	}
	data, err := os.ReadFile(filepath.Join(bundle, "bundle.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &written))
	require.Equal(t, digest, written.Build)
	require.Equal(t, "code/handler.py", written.Handler)
	require.FileExists(t, written.Interpreter)
}

// TestFailedLeavesNothing: a failed build leaves neither a bundle nor files of its own.
func TestFailedLeavesNothing(t *testing.T) {
	b := newBuilder(t, Limits{})
	_, _, err := build(t, b, "default", map[string]string{"action.yaml": metadata("python3"), "handler.py": "def handle(inputs):\n    return {\n"})
	require.Error(t, err)
	for _, dir := range []string{"bundles/default", "cache/work"} {
		entries, err := os.ReadDir(filepath.Join(b.o.Home, dir))
		require.NoError(t, err)
		require.Empty(t, entries, dir)
	}
}

func TestTidy(t *testing.T) {
	b := newBuilder(t, Limits{})
	// No process has this number: it is beyond the largest that Linux gives.
	gone := []string{"cache/work/4194999-x", "bundles/p/abc.tmp-4194999", "deps/p/abc.tmp-4194999"}
	kept := []string{"cache/work/1-x", "bundles/p/abc", "deps/p/abc"}
	for _, dir := range append(gone, kept...) {
		require.NoError(t, os.MkdirAll(filepath.Join(b.o.Home, dir, "sub"), 0o755))
	}
	require.NoError(t, b.Tidy())
	for _, dir := range gone {
		require.NoDirExists(t, filepath.Join(b.o.Home, dir))
	}
	for _, dir := range kept {
		require.DirExists(t, filepath.Join(b.o.Home, dir))
	}
}

func TestProjectNames(t *testing.T) {
	b := newBuilder(t, Limits{})
	dir, a, digest := source(t, map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	for _, name := range []string{"", "..", "a/b", "../x"} {
		_, err := b.Build(t.Context(), Order{Project: name, Build: digest, Action: a, Source: dir})
		require.Error(t, err, "%q", name)
	}
}

func TestMissingRuntime(t *testing.T) {
	b := newBuilder(t, Limits{})
	dir, a, digest := source(t, map[string]string{"action.yaml": metadata("python3"), "handler.py": goodPython})
	a.Runtime = "container"
	_, err := b.Build(t.Context(), Order{Project: "default", Build: digest, Action: a, Source: dir})
	var e *Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, "runtime_missing", e.Kind)
	require.Contains(t, e.Message, "container")
}
