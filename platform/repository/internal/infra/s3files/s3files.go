// Package s3files puts source snapshots into a bucket, at <project>/source/<2 hex>/<62 hex>: apart from the
// files of runs, whose collector knows nothing of builds.
package s3files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"

	"github.com/minio/minio-go/v7"

	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
)

// Store implements app.Files.
type Store struct{ Bucket *s3.Bucket }

var _ app.Files = Store{}

// PutTree implements app.Files: a tar of the folder's files in the order of their names.
func (s Store) PutTree(ctx context.Context, project string, fsys fs.FS, dir string) (string, int64, error) {
	f, err := os.CreateTemp("", "pelton-source-")
	if err != nil {
		return "", 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	if err := app.Pack(io.MultiWriter(f, h), fsys, dir); err != nil {
		return "", 0, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", 0, err
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	key, err := s.Bucket.Source(project, digest)
	if err != nil {
		return "", 0, err
	}
	if _, err = s.Bucket.StatObject(ctx, s.Bucket.Config.Bucket, key, minio.StatObjectOptions{}); err == nil {
		return digest, size, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	_, err = s.Bucket.PutObject(ctx, s.Bucket.Config.Bucket, key, f, size, minio.PutObjectOptions{})
	return digest, size, s.Bucket.Words(err)
}
