package folder_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/repository/internal/domain"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/folder"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	co, err := folder.Source{}.Checkout(t.Context(), domain.Repository{Path: dir})
	require.NoError(t, err)
	defer co.Close()
	var found []string
	require.NoError(t, fs.WalkDir(co.FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != ".gitignore" {
			found = append(found, p)
		}
		return err
	}))
	return found
}

// TestIgnored: what Git would not take is not there, by the rules of every .gitignore that counts.
func TestIgnored(t *testing.T) {
	top := t.TempDir()
	write(t, top, map[string]string{
		".gitignore": "*.log\nbuild/\n/work/top-only\n", ".git/HEAD": "",
		"work/.gitignore": "# a comment\n\n/data\nkept/*\n!kept/one\n", "work/actions/a/.gitignore": "local.py\n",
		"work/a.log": "", "work/build/x": "", "work/actions/a/build/x": "", "work/top-only": "", "work/data/x": "", "work/actions/data": "",
		"work/kept/one": "", "work/kept/two": "", "work/actions/a/local.py": "", "work/actions/b/local.py": "", "work/actions/a/handler.py": "",
	})
	require.Equal(t, []string{"actions/a/handler.py", "actions/b/local.py", "actions/data", "kept/one"}, files(t, filepath.Join(top, "work")))
	// A folder that is ignored as a whole, and is wanted yet, keeps its own rules alone.
	write(t, top, map[string]string{"build/.gitignore": "no\n", "build/no": "", "build/yes.log": "", "build/x": ""})
	require.Equal(t, []string{"x", "yes.log"}, files(t, filepath.Join(top, "build")))
}

// TestWatchIgnored: a change of what is ignored is none; when .gitignore changes, all is looked at anew.
func TestWatchIgnored(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".gitignore": "data/\n", "data/in/x": "", "actions/a/handler.py": ""})
	changes := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- folder.Watcher{Quiet: time.Millisecond}.Watch(ctx, dir, func() { changes <- struct{}{} })
	}()
	changed := func(file string) {
		t.Helper()
		write(t, dir, map[string]string{file: time.Now().String()})
		<-changes
	}
	<-changes // it watches
	drain := func() {
		for {
			select {
			case <-changes:
			case <-time.After(100 * time.Millisecond):
				return
			}
		}
	}
	changed("actions/a/handler.py")
	drain()
	write(t, dir, map[string]string{"data/in/x": "1", "data/new": "1"})
	select {
	case <-changes:
		require.Fail(t, "a change of ignored files was told")
	case <-time.After(200 * time.Millisecond):
	}
	changed(".gitignore")
	write(t, dir, map[string]string{".gitignore": "other/\n"})
	changed("data/in/x")
	stop()
	require.NoError(t, <-ended)
}
