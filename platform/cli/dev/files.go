package dev

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/localrun"
	"github.com/pelton-run/pelton/platform/cli/typings"
)

// maxWatched is how many folders are looked at; the server has the same limit.
const maxWatched = 5000

// files follows what this program itself reads in the workspaces: .env, and the metadata that
// generated types are made of. Everything else is the server's.
type files struct {
	env     string // the file of secrets
	roots   []string
	printer *printer
	secrets *secrets
	n       *fsnotify.Watcher
}

func newFiles(dir string, workspaces []workspace, p *printer, s *secrets) (*files, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	f := &files{env: filepath.Join(dir, envFile), printer: p, secrets: s, n: n}
	if err := n.Add(dir); err != nil {
		n.Close()
		return nil, err
	}
	for _, w := range workspaces {
		f.roots = append(f.roots, w.dir)
		f.add(w.dir)
	}
	return f, nil
}

// add watches a folder and those below it.
func (f *files) add(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // folders come and go
		}
		if p != dir && action.Skip(d.Name()) {
			return fs.SkipDir
		}
		if len(f.n.WatchList()) >= maxWatched {
			return fs.SkipAll
		}
		_ = f.n.Add(p) // one that is gone already
		return nil
	})
}

// start reads everything once: what changed while nobody watched.
func (f *files) start(ctx context.Context) {
	f.secrets.load(ctx)
	for _, root := range f.roots {
		dirs, err := localrun.Dirs(root)
		if err != nil {
			continue // no actions yet
		}
		for _, dir := range dirs {
			f.types(dir)
		}
	}
}

// follow works until ctx ends.
func (f *files) follow(ctx context.Context) {
	defer f.n.Close()
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.n.Errors: // an overflow: something changed
			f.start(ctx)
		case <-quiet:
			quiet = nil
			f.secrets.load(ctx)
		case e := <-f.n.Events:
			switch {
			case e.Name == f.env:
				quiet = time.After(25 * time.Millisecond) // editors write in several moves
			case slices.Contains(action.Files, filepath.Base(e.Name)):
				// At once: the server waits as long as an editor may take, and so builds metadata and types together.
				f.types(filepath.Dir(e.Name))
			case e.Has(fsnotify.Create) && !action.Skip(filepath.Base(e.Name)):
				if info, err := os.Lstat(e.Name); err == nil && info.IsDir() {
					f.add(e.Name)
				}
			}
		}
	}
}

// types writes an action's generated types anew where it has such a file. Metadata with errors,
// or half of it, changes nothing: the server tells what is wrong.
func (f *files) types(dir string) {
	name := action.Find(os.DirFS(dir), ".")
	if name == "" {
		return
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return
	}
	a, problems := action.Parse(name, data, filepath.Base(dir))
	if problems.Errors() || typings.Name(a.Runtime) == "" || !typings.Generated(dir, a) {
		return
	}
	file, state, err := typings.Write(dir, a)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the folder was deleted meanwhile
	case err != nil:
		f.printer.say("error", "31", err.Error(), "")
	case state != "unchanged":
		f.printer.say("types", "36", rel(file), "")
	}
}
