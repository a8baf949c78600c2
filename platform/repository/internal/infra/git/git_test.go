package git

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// forge writes objects directly, so that a repository may hold what no client would add.
type forge struct {
	t    *testing.T
	dir  string
	repo *gogit.Repository
}

func newForge(t *testing.T) *forge {
	t.Helper()
	dir := t.TempDir()
	repo, err := gogit.PlainInit(dir, true)
	require.NoError(t, err)
	return &forge{t, dir, repo}
}

func (f *forge) blob(text string) plumbing.Hash {
	f.t.Helper()
	o := f.repo.Storer.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	require.NoError(f.t, err)
	_, err = io.WriteString(w, text)
	require.NoError(f.t, err)
	require.NoError(f.t, w.Close())
	h, err := f.repo.Storer.SetEncodedObject(o)
	require.NoError(f.t, err)
	return h
}

func (f *forge) tree(entries ...object.TreeEntry) plumbing.Hash {
	f.t.Helper()
	o := f.repo.Storer.NewEncodedObject()
	o.SetType(plumbing.TreeObject)
	w, err := o.Writer()
	require.NoError(f.t, err)
	for _, e := range entries { // as git writes it, without its checks
		_, err = fmt.Fprintf(w, "%o %s\x00%s", e.Mode, e.Name, e.Hash[:])
		require.NoError(f.t, err)
	}
	require.NoError(f.t, w.Close())
	h, err := f.repo.Storer.SetEncodedObject(o)
	require.NoError(f.t, err)
	return h
}

func (f *forge) commit(tree plumbing.Hash) domain.Repository {
	f.t.Helper()
	who := object.Signature{Name: "test", When: time.Unix(1700000000, 0)}
	o := f.repo.Storer.NewEncodedObject()
	require.NoError(f.t, (&object.Commit{Author: who, Committer: who, TreeHash: tree}).Encode(o))
	h, err := f.repo.Storer.SetEncodedObject(o)
	require.NoError(f.t, err)
	require.NoError(f.t, f.repo.Storer.SetReference(plumbing.NewHashReference("refs/heads/master", h)))
	return domain.Repository{Name: "forged", URL: "file://" + f.dir}
}

func file(name string, h plumbing.Hash) object.TreeEntry {
	return object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: h}
}

func folder(name string, h plumbing.Hash) object.TreeEntry {
	return object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: h}
}

// TestLimits: a repository beyond a limit is refused in words, and nothing of it stays.
func TestLimits(t *testing.T) {
	small := Limits{Bytes: 4 << 20, File: 1 << 20, Files: 50, Depth: 8}
	for _, c := range []struct {
		name string
		make func(f *forge) plumbing.Hash
		says string
	}{
		{"large file", func(f *forge) plumbing.Hash { return f.tree(file("large", f.blob(strings.Repeat("x", 1<<20+1)))) }, "large is larger than 1 MiB"},
		{"one blob under many names", func(f *forge) plumbing.Hash {
			b := f.blob(strings.Repeat("x", 1<<20))
			var all []object.TreeEntry
			for i := range 10 {
				all = append(all, file(fmt.Sprintf("f%d", i), b))
			}
			return f.tree(all...)
		}, "files are larger than 4 MiB"},
		{"a tree that holds itself tenfold, ten times", func(f *forge) plumbing.Hash {
			h := f.tree(file("x", f.blob("x")))
			for range 7 {
				var all []object.TreeEntry
				for i := range 10 {
					all = append(all, folder(fmt.Sprintf("d%d", i), h))
				}
				h = f.tree(all...)
			}
			return h
		}, "more than 50 files"},
		{"deep", func(f *forge) plumbing.Hash {
			h := f.tree(file("x", f.blob("x")))
			for range 9 {
				h = f.tree(folder("d", h))
			}
			return h
		}, "more than 8 folders deep"},
		{"a name that leaves it", func(f *forge) plumbing.Hash {
			return f.tree(folder("..", f.tree(folder("..", f.tree(file("outside", f.blob("x")))))))
		}, ""},
		{"a path as a name", func(f *forge) plumbing.Hash { return f.tree(file("../../outside", f.blob("x"))) }, ""},
		{"an absolute name", func(f *forge) plumbing.Hash { return f.tree(file("/tmp/outside", f.blob("x"))) }, ""},
		{"a file and a folder of one name", func(f *forge) plumbing.Hash {
			return f.tree(file("a", f.blob("x")), folder("a", f.tree(file("b", f.blob("x")))))
		}, ""},
		{"a missing object", func(f *forge) plumbing.Hash { return f.tree(file("a", plumbing.NewHash(strings.Repeat("12", 20)))) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newForge(t)
			r := f.commit(c.make(f))
			dir := filepath.Join(t.TempDir(), "clones")
			co, err := Source{Dir: dir, AllowLocal: true, Limits: small}.Checkout(t.Context(), r)
			if err == nil {
				defer co.Close()
				t.Fatalf("accepted: %v", names(t, co.FS))
			}
			require.NotNil(t, fault.As(err), "%v", err)
			require.Contains(t, err.Error(), c.says)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
			outside, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "outside*"))
			require.NoError(t, err)
			require.Empty(t, outside)
			require.NoFileExists(t, "/tmp/outside")
		})
	}
}

func names(t *testing.T, fsys fs.FS) (all []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, p)
		}
		return err
	}))
	return all
}

// TestLinks: links and submodules are left out; hooks and settings of the repository do nothing.
func TestLinks(t *testing.T) {
	f := newForge(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	r := f.commit(f.tree(
		object.TreeEntry{Name: "absolute", Mode: filemode.Symlink, Hash: f.blob(secret)},
		file("good", f.blob("good")),
		object.TreeEntry{Name: "run", Mode: filemode.Executable, Hash: f.blob("#!/bin/sh\n")},
		object.TreeEntry{Name: "sub", Mode: filemode.Submodule, Hash: plumbing.NewHash(strings.Repeat("12", 20))},
		object.TreeEntry{Name: "up", Mode: filemode.Symlink, Hash: f.blob("../../..")},
	))
	dir := filepath.Join(t.TempDir(), "clones")
	co, err := Source{Dir: dir, AllowLocal: true}.Checkout(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, []string{"good", "run"}, names(t, co.FS))
	require.Len(t, co.Commit, 40)
	info, err := fs.Stat(co.FS, "run")
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o111)
	co.Close()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestWords: what is wrong with the address is told with the field.
func TestWords(t *testing.T) {
	f := newForge(t)
	r := f.commit(f.tree(file("a", f.blob("x"))))
	empty := newForge(t)
	for name, c := range map[string]struct {
		r     domain.Repository
		local bool
		field string
	}{
		"own disk":   {r, false, "url"},
		"nothing":    {domain.Repository{URL: "file:///no/such/repository"}, true, "url"},
		"no commits": {domain.Repository{URL: "file://" + empty.dir}, true, "url"},
		"no branch":  {domain.Repository{URL: r.URL, Branch: "nope"}, true, "branch"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Source{Dir: t.TempDir(), AllowLocal: c.local}.Checkout(t.Context(), c.r)
			e := fault.As(err)
			require.NotNil(t, e, "%v", err)
			require.Len(t, e.Fields, 1, "%v", err)
			require.Equal(t, c.field, e.Fields[0].Path)
			require.NotEmpty(t, e.Fields[0].Remedy)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Source{Dir: t.TempDir(), AllowLocal: true}.Checkout(ctx, r)
	require.Error(t, err)
}
