// Package folder reads and watches folders of this machine.
package folder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// Source gives a folder as it is now, without what Git would ignore. Links do not lead out of it.
type Source struct{}

// Checkout implements app.Source.
func (Source) Checkout(_ context.Context, r domain.Repository) (app.Checkout, error) {
	root, err := os.OpenRoot(r.Path)
	if err != nil {
		return app.Checkout{}, fault.InvalidField("path", "the folder "+r.Path+" cannot be read: "+reason(err), "give a folder of the server that it may read")
	}
	checkout := app.Checkout{FS: root.FS(), Close: func() { root.Close() }}
	if whole, ok := checkout.FS.(rootFS); ok {
		checkout.FS = seen{whole, newIgnores(r.Path)}
	}
	return checkout, nil
}

func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is none"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	}
	return err.Error()
}

// Watcher tells of changes to what Git would not ignore. Editors write in several moves: what happens within Quiet counts once.
type Watcher struct {
	Quiet time.Duration // Defaults to 25 ms
}

const maxWatched = 5000

// Watch implements app.Watcher.
func (w Watcher) Watch(ctx context.Context, dir string, changed func()) error {
	if w.Quiet == 0 {
		w.Quiet = 25 * time.Millisecond
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer n.Close()
	ignored := newIgnores(dir)
	if err := add(n, dir, ignored); err != nil {
		return err
	}
	changed()
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-n.Errors:
			if err != nil { // an overflow: something changed
				quiet = time.After(w.Quiet)
			}
		case e := <-n.Events:
			switch name := filepath.Base(e.Name); {
			case e.Op == fsnotify.Chmod:
				continue
			case name == ignoreFile: // what it ignored may count now
				ignored = newIgnores(dir)
				_ = add(n, dir, ignored)
			case action.Skip(name):
				continue
			default:
				info, err := os.Lstat(e.Name)
				isDir := err == nil && info.IsDir()
				if ignored.file(e.Name, isDir) {
					continue
				}
				if isDir && e.Has(fsnotify.Create) {
					_ = add(n, e.Name, ignored)
				}
			}
			quiet = time.After(w.Quiet)
		case <-quiet:
			quiet = nil
			changed()
		}
	}
}

// add watches dir and the folders below it, but for those that are ignored.
func add(n *fsnotify.Watcher, dir string, ignored *ignores) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // folders come and go
		}
		if p != dir && (action.Skip(d.Name()) || ignored.file(p, true)) {
			return fs.SkipDir
		}
		if len(n.WatchList()) >= maxWatched {
			return fault.New(fault.Exhausted, "%s holds more than %d folders: watch a smaller one", dir, maxWatched)
		}
		return n.Add(p)
	})
}
