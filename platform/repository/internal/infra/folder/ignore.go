package folder

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

const ignoreFile = ".gitignore"

// ignores knows which files of a folder Git would not take, by the files .gitignore of the folder,
// of those below it, and of those above it up to the working tree's top. Without Git the files
// count as well. They are read once, when they are needed; safe for concurrent use.
type ignores struct {
	dir   string   // the folder
	above []string // names from the working tree's top to dir
	outer []gitignore.Pattern

	mu    sync.Mutex
	known map[string][]gitignore.Pattern // by the folder's path below dir
}

func newIgnores(dir string) *ignores {
	g := &ignores{dir: dir, known: map[string][]gitignore.Pattern{}}
	top := worktree(dir)
	rel, err := filepath.Rel(top, dir)
	if err != nil || rel == "." {
		return g
	}
	names := strings.Split(rel, string(filepath.Separator))
	var outer []gitignore.Pattern
	for i := range names {
		outer = append(outer, patterns(filepath.Join(append([]string{top}, names[:i]...)...), names[:i])...)
		if gitignore.NewMatcher(outer).Match(names[:i+1], true) {
			return g // the folder itself is ignored, and yet somebody wants it: what is above it does not count
		}
	}
	g.above, g.outer = names, outer
	return g
}

// worktree is the nearest folder from dir upwards that holds .git; dir itself without one.
func worktree(dir string) string {
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			return top
		}
		if top == filepath.Dir(top) {
			return dir
		}
	}
}

// patterns reads the .gitignore of a folder; domain is where it lies below the working tree's top.
func patterns(dir string, domain []string) []gitignore.Pattern {
	info, err := os.Lstat(filepath.Join(dir, ignoreFile))
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return nil
	}
	f, err := os.Open(filepath.Join(dir, ignoreFile))
	if err != nil {
		return nil // what cannot be read ignores nothing
	}
	defer f.Close()
	var found []gitignore.Pattern
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			found = append(found, gitignore.ParsePattern(line, domain))
		}
	}
	return found
}

// has tells whether a path below the folder, with slashes, is ignored, itself or in a folder that is.
func (g *ignores) has(path string, isDir bool) bool {
	if path == "." {
		return false
	}
	names := strings.Split(path, "/")
	full := append(append([]string{}, g.above...), names...)
	all := append([]gitignore.Pattern{}, g.outer...)
	for i := range names {
		all = append(all, g.of(strings.Join(names[:i], "/"), full[:len(g.above)+i])...)
		if gitignore.NewMatcher(all).Match(full[:len(g.above)+i+1], isDir || i < len(names)-1) {
			return true
		}
	}
	return false
}

func (g *ignores) of(path string, domain []string) []gitignore.Pattern {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.known[path]
	if !ok {
		p = patterns(filepath.Join(g.dir, filepath.FromSlash(path)), append([]string{}, domain...))
		g.known[path] = p
	}
	return p
}

// file tells whether an absolute path in the folder is ignored.
func (g *ignores) file(path string, isDir bool) bool {
	rel, err := filepath.Rel(g.dir, path)
	return err == nil && g.has(filepath.ToSlash(rel), isDir)
}

// rootFS is what os.Root.FS gives.
type rootFS interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	fs.ReadLinkFS
}

// seen is a folder without what is ignored.
type seen struct {
	rootFS
	ignores *ignores
}

// ReadDir implements fs.ReadDirFS.
func (s seen) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := s.rootFS.ReadDir(name)
	kept := entries[:0]
	for _, e := range entries {
		path := e.Name()
		if name != "." {
			path = name + "/" + path
		}
		if !s.ignores.has(path, e.IsDir()) {
			kept = append(kept, e)
		}
	}
	return kept, err
}
