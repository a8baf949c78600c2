// Package git clones repositories with go-git: one commit, no hooks, no filters, no submodules.
package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// Limits of a repository.
type Limits struct {
	Bytes    int64         // of the clone, and of the files at its newest commit. Defaults to 512 MiB
	File     int64         // of one file. Defaults to 64 MiB
	Files    int           // Defaults to 20000
	Depth    int           // of folders. Defaults to 32
	Duration time.Duration // of clone and export. Defaults to 2 min
}

func (l Limits) orDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	if l.File == 0 {
		l.File = 64 << 20
	}
	if l.Files == 0 {
		l.Files = 20000
	}
	if l.Depth == 0 {
		l.Depth = 32
	}
	if l.Duration == 0 {
		l.Duration = 2 * time.Minute
	}
	return l
}

// Source clones into a folder below Dir and removes it when the checkout is closed.
type Source struct {
	Dir        string
	AllowLocal bool // file:// repositories
	Limits     Limits
}

// Checkout implements app.Source.
func (s Source) Checkout(ctx context.Context, r domain.Repository) (app.Checkout, error) {
	if strings.HasPrefix(r.URL, "file://") && !s.AllowLocal {
		return app.Checkout{}, fault.InvalidField("url", "repositories of the server's own disk are not allowed", "give an https:// URL, or set repository.local: true")
	}
	s.Limits = s.Limits.orDefaults()
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Duration)
	defer cancel()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return app.Checkout{}, err
	}
	tmp, err := os.MkdirTemp(s.Dir, "clone-")
	if err != nil {
		return app.Checkout{}, err
	}
	closeAll := func() { os.RemoveAll(tmp) }
	watch, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go guardSize(watch, stop, tmp, s.Limits.Bytes)
	o := &gogit.CloneOptions{URL: r.URL, Depth: 1, SingleBranch: true, Tags: gogit.NoTags, RecurseSubmodules: gogit.NoRecurseSubmodules}
	if r.Branch != "" {
		o.ReferenceName = plumbing.NewBranchReferenceName(r.Branch)
	}
	repo, err := gogit.PlainCloneContext(watch, filepath.Join(tmp, "git"), true, o)
	if err != nil {
		closeAll()
		return app.Checkout{}, s.explain(ctx, watch, r, err)
	}
	commit, err := s.export(watch, repo, filepath.Join(tmp, "tree"))
	if err != nil {
		closeAll()
		return app.Checkout{}, s.explain(ctx, watch, r, err)
	}
	root, err := os.OpenRoot(filepath.Join(tmp, "tree"))
	if err != nil {
		closeAll()
		return app.Checkout{}, err
	}
	return app.Checkout{FS: root.FS(), Commit: commit, Close: func() { root.Close(); closeAll() }}, nil
}

var errTooLarge = errors.New("too large")

// guardSize ends a clone that fills the disk.
func guardSize(ctx context.Context, stop context.CancelCauseFunc, dir string, limit int64) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var total int64
		_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
			if err == nil {
				if info, err := d.Info(); err == nil {
					total += info.Size()
				}
			}
			return nil
		})
		if total > limit {
			stop(errTooLarge)
			return
		}
	}
}

func (s Source) explain(ctx, watch context.Context, r domain.Repository, err error) error {
	switch {
	case fault.As(err) != nil:
		return err
	case errors.Is(context.Cause(watch), errTooLarge):
		return fault.InvalidField("url", fmt.Sprintf("the repository is larger than %d MiB", s.Limits.Bytes>>20), "keep large data out of it")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.InvalidField("url", "the repository took longer than "+s.Limits.Duration.String(), "keep it small, or check the connection to its host")
	case errors.Is(err, transport.ErrRepositoryNotFound), errors.Is(err, gogit.ErrRepositoryNotExists):
		return fault.InvalidField("url", "there is no Git repository at "+r.URL, "check the URL")
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return fault.InvalidField("url", "the repository wants a login", "give a public repository, or one with credentials in the URL")
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return fault.InvalidField("url", "the repository has no commits", "commit something first")
	case errors.Is(err, gogit.NoMatchingRefSpecError{}), strings.Contains(err.Error(), "reference not found"), strings.Contains(err.Error(), "couldn't find remote ref"):
		return fault.InvalidField("branch", "there is no branch "+r.Branch, "check its name")
	}
	return fault.Wrap(err, fault.Invalid, "the repository %s cannot be read: %s", r.URL, err)
}

// export writes the files of the newest commit, without links, within the limits.
func (s Source) export(ctx context.Context, repo *gogit.Repository, dir string) (string, error) {
	head, err := repo.Head()
	if err != nil {
		return "", err
	}
	commit, err := repo.CommitObject(head.Hash())
	if err != nil {
		return "", err
	}
	tree, err := commit.Tree()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	var total int64
	count := 0
	err = tree.Files().ForEach(func(f *object.File) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.Mode == filemode.Symlink || f.Mode == filemode.Submodule {
			return nil
		}
		count++
		total += f.Size
		switch {
		case !filepath.IsLocal(f.Name):
			return fault.New(fault.Invalid, "the repository holds the name %q, which leaves it", f.Name)
		case count > s.Limits.Files:
			return fault.New(fault.Invalid, "the repository holds more than %d files", s.Limits.Files)
		case f.Size > s.Limits.File:
			return fault.New(fault.Invalid, "%s is larger than %d MiB", f.Name, s.Limits.File>>20)
		case total > s.Limits.Bytes:
			return fault.New(fault.Invalid, "the repository's files are larger than %d MiB", s.Limits.Bytes>>20)
		case strings.Count(f.Name, "/") > s.Limits.Depth:
			return fault.New(fault.Invalid, "%s lies more than %d folders deep", f.Name, s.Limits.Depth)
		}
		return write(root, f)
	})
	return head.Hash().String(), err
}

func write(root *os.Root, f *object.File) error {
	if err := root.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if f.Mode == filemode.Executable {
		mode = 0o755
	}
	out, err := root.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	in, err := f.Reader()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, in.Close(), out.Close())
}
