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
	if _, statErr := os.Stat(dest); statErr == nil {
		now := time.Now() // put again counts as a put: collectors spare what is young
		return digest, size, errors.Join(os.Remove(tmp), os.Chtimes(dest, now, now))
	}
	if err = errors.Join(f.Sync(), os.MkdirAll(filepath.Dir(dest), 0o700)); err != nil {
		return "", 0, err
	}
	if err = os.Rename(tmp, dest); err != nil {
		return "", 0, err
	}
	d, err := os.Open(filepath.Dir(dest))
	if err != nil {
		return "", 0, err
	}
	defer d.Close()
	return digest, size, d.Sync()
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

// Has implements app.Files.
func (s Store) Has(_ context.Context, project, digest string) (bool, error) {
	p, err := s.path(project, digest)
	if err != nil {
		return false, nil //nolint:nilerr // what is no digest is not there
	}
	_, err = os.Stat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
