// Package dirfiles is the filestore in a folder: DIR/<project>/sha256/<2 hex>/<62 hex>.
package dirfiles

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Store implements app.Files.
type Store struct{ Dir string }

var _ app.Files = Store{}

func (s Store) path(project, digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if _, err := hex.DecodeString(h); !ok || err != nil || len(h) != 64 || !filepath.IsLocal(project) {
		return "", fault.New(fault.NotFound, "there is no file %q", digest)
	}
	return filepath.Join(s.Dir, project, "sha256", h[:2], h[2:]), nil
}

// Put implements app.Files.
func (s Store) Put(_ context.Context, project string, r io.Reader) (digest string, size int64, err error) {
	if !filepath.IsLocal(project) {
		return "", 0, fault.New(fault.Invalid, "%q is no project", project)
	}
	tmpDir := filepath.Join(s.Dir, project, "tmp")
	if err := os.MkdirAll(tmpDir, 0o700); err != nil {
		return "", 0, err
	}
	var name [16]byte
	if _, err := rand.Read(name[:]); err != nil {
		return "", 0, err
	}
	tmp := filepath.Join(tmpDir, hex.EncodeToString(name[:]))
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fault.Wrap(err, fault.Unavailable, "the disk that holds Pelton's data is full: free some space, then try again")
		}
	}()
	h := sha256.New()
	if size, err = io.CopyBuffer(io.MultiWriter(f, h), r, make([]byte, 256<<10)); err != nil {
		return "", 0, err
	}
	digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	dest, err := s.path(project, digest)
	if err != nil {
		return "", 0, err
	}
	if again, err := s.touch(project, dest); err != nil || again {
		return digest, size, errors.Join(err, os.Remove(tmp))
	}
	if err = errors.Join(f.Sync(), os.MkdirAll(filepath.Dir(dest), 0o700)); err != nil {
		return "", 0, err
	}
	unlock, err := s.lock(project, syscall.LOCK_SH)
	if err != nil {
		return "", 0, err
	}
	err = os.Rename(tmp, dest)
	unlock()
	if err != nil {
		return "", 0, err
	}
	d, err := os.Open(filepath.Dir(dest))
	if err != nil {
		return "", 0, err
	}
	defer d.Close()
	return digest, size, d.Sync()
}

// lock takes the lock of a project's blobs: shared while one is put, alone while one is removed, so
// that what is put again is never removed. Wrappers take it too. The kernel frees it with the process.
func (s Store) lock(project string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, project, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// touch counts as a put of a blob that is there; false if it is not.
func (s Store) touch(project, dest string) (bool, error) {
	if _, err := os.Stat(dest); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	unlock, err := s.lock(project, syscall.LOCK_SH)
	if err != nil {
		return false, err
	}
	defer unlock()
	now := time.Now()
	err = os.Chtimes(dest, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Open implements app.Files.
func (s Store) Open(_ context.Context, project, digest string) (io.ReadSeekCloser, int64, error) {
	p, err := s.path(project, digest)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fault.New(fault.NotFound, "there is no file %q in this project", digest)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Keep implements app.Files.
func (s Store) Keep(_ context.Context, project, digest string) (bool, error) {
	p, err := s.path(project, digest)
	if err != nil {
		return false, nil //nolint:nilerr // what is no digest is not there
	}
	return s.touch(project, p)
}

// Projects implements app.Files.
func (s Store) Projects(context.Context) ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// Old implements app.Files.
func (s Store) Old(_ context.Context, project string, before time.Time, yield func(digest string, size int64) error) error {
	base := filepath.Join(s.Dir, project, "sha256")
	firsts, err := readDir(base)
	if err != nil {
		return err
	}
	for _, first := range firsts {
		blobs, err := readDir(filepath.Join(base, first.Name()))
		if err != nil {
			return err
		}
		for _, b := range blobs {
			info, err := b.Info()
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(before) {
				continue
			}
			if err == nil {
				err = yield("sha256:"+first.Name()+b.Name(), info.Size())
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// readDir lists a folder, which may not be there.
func readDir(dir string) ([]fs.DirEntry, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// Remove implements app.Files.
func (s Store) Remove(_ context.Context, project, digest string, since time.Time) (size int64, gone bool, err error) {
	p, err := s.path(project, digest)
	if err != nil {
		return 0, false, err
	}
	unlock, err := s.lock(project, syscall.LOCK_EX)
	if err != nil {
		return 0, false, err
	}
	defer unlock()
	info, err := os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil || !info.ModTime().Before(since) {
		return 0, false, err
	}
	err = os.Remove(p)
	return info.Size(), err == nil, err
}

// Tidy implements app.Files.
func (s Store) Tidy(_ context.Context, project string, before time.Time) error {
	dir := filepath.Join(s.Dir, project, "tmp")
	list, err := readDir(dir)
	for _, e := range list {
		info, ierr := e.Info()
		if ierr != nil || info.IsDir() || !info.ModTime().Before(before) {
			continue // it has just become a blob, or is still written
		}
		if rerr := os.Remove(filepath.Join(dir, e.Name())); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}
