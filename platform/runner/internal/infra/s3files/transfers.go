package s3files

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

const (
	pieceSize = 64 << 20
	maxPieces = 10000 // of S3
	// expires is how long a URL is good for: enough for all that are given at once.
	expires = time.Hour
)

// PieceSize implements app.Transfers.
func (s Store) PieceSize() int64 { return pieceSize }

// Fetch implements app.Transfers.
func (s Store) Fetch(ctx context.Context, project, digest string) (string, int64, error) {
	key, err := s.b.Blob(project, digest)
	if err != nil {
		return "", 0, err
	}
	info, err := s.b.StatObject(ctx, s.b.Config.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return "", 0, s.b.Words(err)
	}
	u, err := s.b.Presign(ctx, http.MethodGet, s.b.Config.Bucket, key, expires, nil)
	if err != nil {
		return "", 0, s.b.Words(err)
	}
	return u.String(), info.Size, nil
}

// incoming is the prefix of an upload's pieces.
func (s Store) incoming(project, upload string) (string, error) {
	if b, err := hex.DecodeString(upload); err != nil || len(b) != 16 {
		return "", fault.New(fault.Invalid, "%q is no name of an upload", upload)
	}
	base, err := s.b.Project(project)
	return base + "incoming/" + upload + "/", err
}

// Pieces implements app.Transfers.
func (s Store) Pieces(ctx context.Context, project, upload string, first int, sums []app.Sum) ([]app.PieceURL, error) {
	base, err := s.incoming(project, upload)
	if err != nil {
		return nil, err
	}
	if first < 0 || first+len(sums) > maxPieces {
		return nil, fault.New(fault.TooLarge, "a file has at most %d pieces of %d MiB", maxPieces, pieceSize>>20)
	}
	out := make([]app.PieceURL, len(sums))
	for i, sum := range sums {
		u, head, err := s.b.Upload(ctx, base+strconv.Itoa(first+i), sum, expires)
		if err != nil {
			return nil, err
		}
		out[i] = app.PieceURL{URL: u, Headers: map[string]string{}}
		for k := range head {
			out[i].Headers[k] = head.Get(k)
		}
	}
	return out, nil
}

// Finish implements app.Transfers.
func (s Store) Finish(ctx context.Context, project, upload, digest string, count int) error {
	base, err := s.incoming(project, upload)
	if err != nil {
		return err
	}
	if count < 1 || count > maxPieces {
		return fault.New(fault.Invalid, "a file has 1 to %d pieces", maxPieces)
	}
	pieces, err := s.check(ctx, base, digest, count)
	if s3.NotFound(err) {
		// Asked again after all was done, or there has never been such an upload.
		if there, kerr := s.Keep(ctx, project, digest); kerr != nil || there {
			return kerr
		}
		return fault.New(fault.Invalid, "a piece of the upload is missing")
	}
	if err != nil {
		return s.b.Words(err)
	}
	if err := s.settle(ctx, project, digest, func(key string) error { return s.compose(ctx, key, pieces...) }); err != nil {
		return err
	}
	for _, p := range pieces {
		s.drop(ctx, p.key)
	}
	return nil
}

// check makes sure that pieces together are what a digest says, and pins them. One piece has been
// checked by the store; of several it knows no sum of the whole, so that they are read.
func (s Store) check(ctx context.Context, base, digest string, count int) ([]piece, error) {
	pieces := make([]piece, count)
	h := sha256.New()
	for i := range pieces {
		key := base + strconv.Itoa(i)
		info, err := s.b.StatObject(ctx, s.b.Config.Bucket, key, minio.StatObjectOptions{Checksum: true})
		if err != nil {
			return nil, err
		}
		if pieces[i] = (piece{key, info.ETag}); count == 1 {
			if raw, err := base64.StdEncoding.DecodeString(info.ChecksumSHA256); err == nil && len(raw) == sha256.Size {
				return pieces, same("sha256:"+hex.EncodeToString(raw), digest)
			}
		}
		if i < count-1 && info.Size != pieceSize {
			return nil, fault.New(fault.Invalid, "piece %d of the upload has %d bytes instead of %d", i, info.Size, pieceSize)
		}
		if err := s.read(ctx, h, pieces[i]); err != nil {
			return nil, err
		}
	}
	return pieces, same("sha256:"+hex.EncodeToString(h.Sum(nil)), digest)
}

func same(is, digest string) error {
	if is != digest {
		return fault.New(fault.Invalid, "the upload is %s and not %s", is, digest)
	}
	return nil
}

func (s Store) read(ctx context.Context, w io.Writer, p piece) error {
	var o minio.GetObjectOptions
	if err := o.SetMatchETag(p.etag); err != nil {
		return err
	}
	r, err := s.b.GetObject(ctx, s.b.Config.Bucket, p.key, o)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, r, make([]byte, 256<<10))
	return errors.Join(err, r.Close())
}
