package backup

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/s3"
)

// Files is a filestore as a backup sees it. Keys are <project>/{sha256,source}/<2 hex>/<62 hex>.
type Files interface {
	// Walk lists what is kept; what is under way or about to go is left out.
	Walk(ctx context.Context, each func(key string, size int64) error) error
	// Open gives a file's content; fs.ErrNotExist if it is not there (any more).
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	// Put makes a file; it is durable when Put returns. One that is there is left as it is.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	Has(ctx context.Context, key string) (bool, error)
}

// kept tells whether a key is one of a file that is kept.
func kept(key string) bool {
	p := strings.Split(key, "/")
	return len(p) == 4 && (p[1] == "sha256" || p[1] == "source") && len(p[2]) == 2 && len(p[3]) == 62
}

// Dir is a filestore in a folder.
type Dir string

// Walk implements Files.
func (d Dir) Walk(ctx context.Context, each func(string, int64) error) error {
	err := filepath.WalkDir(string(d), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return errors.Join(err, ctx.Err())
		}
		rel, err := filepath.Rel(string(d), path)
		if err != nil || !kept(filepath.ToSlash(rel)) {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return each(filepath.ToSlash(rel), info.Size())
	})
	return err
}

// Open implements Files.
func (d Dir) Open(_ context.Context, key string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(d), filepath.FromSlash(key)))
}

// Put implements Files.
func (d Dir) Put(ctx context.Context, key string, r io.Reader, _ int64) error {
	if there, err := d.Has(ctx, key); err != nil || there {
		return err
	}
	return writeFile(filepath.Join(string(d), filepath.FromSlash(key)), r, 0o600)
}

// Has implements Files.
func (d Dir) Has(_ context.Context, key string) (bool, error) {
	_, err := os.Stat(filepath.Join(string(d), filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Bucket is a filestore in a bucket.
type Bucket struct{ *s3.Bucket }

// Walk implements Files.
func (b Bucket) Walk(ctx context.Context, each func(string, int64) error) error {
	return b.Bucket.Walk(ctx, func(key string, size int64) error {
		if !kept(key) {
			return nil
		}
		return each(key, size)
	})
}

// Open implements Files.
func (b Bucket) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if there, err := b.Bucket.Has(ctx, key); err != nil || !there {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	return b.Read(ctx, key)
}

// Put implements Files.
func (b Bucket) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if there, err := b.Bucket.Has(ctx, key); err != nil || there {
		return err
	}
	return b.Write(ctx, key, r, size)
}

// writeFile makes a file that is whole and durable, or not there.
func writeFile(path string, r io.Reader, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
