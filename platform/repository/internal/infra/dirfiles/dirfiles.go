// Package dirfiles puts source snapshots into a filestore that is a folder, at DIR/<project>/source/<2 hex>/<62 hex>:
// apart from the files of runs, whose collector knows nothing of builds.
package dirfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelton-run/pelton/platform/repository/internal/app"
)

// Store is a filestore at a folder.
type Store struct{ Dir string }

// PutTree implements app.Files: a tar of the folder's files in the order of their names.
func (s Store) PutTree(_ context.Context, project string, fsys fs.FS, dir string) (string, int64, error) {
	base := filepath.Join(s.Dir, project)
	if err := os.MkdirAll(filepath.Join(base, "tmp"), 0o700); err != nil {
		return "", 0, err
	}
	f, err := os.CreateTemp(filepath.Join(base, "tmp"), "source-")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	if err := app.Pack(io.MultiWriter(f, h), fsys, dir); err != nil {
		return "", 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	dest := filepath.Join(base, "source", sum[:2], sum[2:])
	if err := errors.Join(f.Sync(), os.MkdirAll(filepath.Dir(dest), 0o700)); err != nil {
		return "", 0, err
	}
	if err := os.Rename(f.Name(), dest); err != nil {
		return "", 0, err
	}
	d, err := os.Open(filepath.Dir(dest))
	if err != nil {
		return "", 0, err
	}
	defer d.Close()
	return "sha256:" + sum, info.Size(), d.Sync()
}
