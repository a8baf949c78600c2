// Package s3files is the filestore in a bucket. Blobs lie at <project>/sha256/<2 hex>/<62 hex>; what is on
// its way to become one at <project>/incoming/<upload>/<piece>; and <project>/doomed/<64 hex>/<name> tells
// that a blob is just being removed.
package s3files

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Store implements app.Files and app.Transfers.
type Store struct{ b *s3.Bucket }

var (
	_ app.Files     = Store{}
	_ app.Transfers = Store{}
)

// Open opens a bucket and makes sure that it can be used as a filestore.
func Open(ctx context.Context, c s3.Config) (Store, error) {
	b, err := s3.Open(c)
	if err != nil {
		return Store{}, err
	}
	if err := b.Check(ctx); err != nil {
		return Store{}, err
	}
	return Store{b}, b.Guard(ctx)
}

// Ready tells, at once, in words why the store cannot be used, nil if it can.
func (s Store) Ready() error { return s.b.Ready() }

const (
	small    = 1 << 20  // up to so many bytes are put in one piece, out of memory
	partSize = 16 << 20 // of what is streamed, times 10,000 = the largest file
)

// Put implements app.Files.
func (s Store) Put(ctx context.Context, project string, r io.Reader) (digest string, size int64, err error) {
	base, err := s.b.Project(project)
	if err != nil {
		return "", 0, err
	}
	head, err := io.ReadAll(io.LimitReader(r, small))
	if err != nil {
		return "", 0, err
	}
	if len(head) < small {
		digest = digestOf(sha256.Sum256(head))
		return digest, int64(len(head)), s.settle(ctx, project, digest, func(key string) error {
			_, err := s.b.PutObject(ctx, s.b.Config.Bucket, key, bytes.NewReader(head), int64(len(head)), minio.PutObjectOptions{DisableMultipart: true, AutoChecksum: minio.ChecksumSHA256})
			return err
		})
	}
	// Its name is known at its end.
	name, err := random()
	if err != nil {
		return "", 0, err
	}
	way := base + "incoming/" + name + "/0"
	defer s.drop(ctx, way)
	h := sha256.New()
	sender := &sender{r: io.MultiReader(bytes.NewReader(head), r)}
	info, err := s.b.PutObject(ctx, s.b.Config.Bucket, way, io.TeeReader(sender, h), -1, minio.PutObjectOptions{PartSize: partSize})
	if sender.err != nil { // whose fault it is decides what the caller is told
		return "", 0, sender.err
	}
	if err != nil {
		return "", 0, s.b.Words(err)
	}
	digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return digest, info.Size, s.settle(ctx, project, digest, func(key string) error { return s.compose(ctx, key, piece{way, info.ETag}) })
}

// sender keeps the error of who sends apart from those of the store.
type sender struct {
	r   io.Reader
	err error
}

func (s *sender) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

type piece struct{ key, etag string }

// compose makes an object of others, inside the store. They must be what they were.
func (s Store) compose(ctx context.Context, key string, pieces ...piece) error {
	src := make([]minio.CopySrcOptions, len(pieces))
	for i, p := range pieces {
		src[i] = minio.CopySrcOptions{Bucket: s.b.Config.Bucket, Object: p.key, MatchETag: p.etag}
	}
	_, err := s.b.ComposeObject(ctx, s.into(key), src...)
	return err
}

func (s Store) into(key string) minio.CopyDestOptions {
	return minio.CopyDestOptions{Bucket: s.b.Config.Bucket, Object: key, ReplaceMetadata: true, ContentType: "application/octet-stream"}
}

// drop removes what is not needed any more; if it cannot, Tidy does.
func (s Store) drop(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = s.b.RemoveObject(ctx, s.b.Config.Bucket, key, minio.RemoveObjectOptions{})
}

func digestOf(sum [sha256.Size]byte) string { return "sha256:" + hex.EncodeToString(sum[:]) }

func random() (string, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}

// Open implements app.Files. A reading from start to end checks the digest.
func (s Store) Open(ctx context.Context, project, digest string) (io.ReadSeekCloser, int64, error) {
	key, err := s.b.Blob(project, digest)
	if err != nil {
		return nil, 0, err
	}
	// The reading may outlive the call, as a file's does.
	o, err := s.b.GetObject(context.WithoutCancel(ctx), s.b.Config.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, s.b.Words(err)
	}
	info, err := o.Stat()
	if err != nil {
		o.Close()
		if s3.NotFound(err) {
			return nil, 0, fault.New(fault.NotFound, "there is no file %q in this project", digest)
		}
		return nil, 0, s.b.Words(err)
	}
	return &reading{Object: o, words: s.b.Words, digest: digest, h: sha256.New()}, info.Size, nil
}

// reading checks what is read in one go. Used by one goroutine at a time.
type reading struct {
	*minio.Object

	words  func(error) error
	digest string
	h      hash.Hash // of what was read; nil once the reader has jumped
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Object.Read(p)
	if r.h != nil {
		r.h.Write(p[:n])
	}
	if !errors.Is(err, io.EOF) {
		return n, r.words(err)
	}
	if r.h != nil && "sha256:"+hex.EncodeToString(r.h.Sum(nil)) != r.digest {
		return n, fault.New(fault.Internal, "the file %s is damaged in the store", r.digest)
	}
	return n, err
}

func (r *reading) Seek(offset int64, whence int) (int64, error) {
	at, err := r.Object.Seek(offset, whence)
	if r.h = nil; err == nil && at == 0 {
		r.h = sha256.New()
	}
	return at, err
}

// Projects implements app.Files.
func (s Store) Projects(ctx context.Context) (out []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.b.ListObjects(ctx, s.b.Config.Bucket, minio.ListObjectsOptions{Prefix: s.b.Config.Prefix}) {
		if o.Err != nil {
			return nil, s.b.Words(o.Err)
		}
		if name, folder := strings.CutSuffix(strings.TrimPrefix(o.Key, s.b.Config.Prefix), "/"); folder {
			out = append(out, name)
		}
	}
	return out, ctx.Err()
}

// Old implements app.Files.
func (s Store) Old(ctx context.Context, project string, before time.Time, yield func(digest string, size int64) error) error {
	base, err := s.b.Project(project)
	if err != nil {
		return err
	}
	return s.each(ctx, base+"sha256/", func(o minio.ObjectInfo) error {
		if !old(o, before) {
			return nil
		}
		return yield("sha256:"+strings.ReplaceAll(strings.TrimPrefix(o.Key, base+"sha256/"), "/", ""), o.Size)
	})
}

// each calls f with every object below a prefix.
func (s Store) each(ctx context.Context, prefix string, f func(minio.ObjectInfo) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing
	for o := range s.b.ListObjects(ctx, s.b.Config.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s.b.Words(o.Err)
		}
		if err := f(o); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Tidy implements app.Files.
func (s Store) Tidy(ctx context.Context, project string, before time.Time) error {
	base, err := s.b.Project(project)
	if err != nil {
		return err
	}
	for _, kind := range []string{"incoming/", "doomed/"} {
		// A mark that is younger than stale may be in force, however short the grace is.
		limit := before
		if fresh := time.Now().Add(-2 * stale); kind == "doomed/" && fresh.Before(limit) {
			limit = fresh
		}
		err := s.each(ctx, base+kind, func(o minio.ObjectInfo) error {
			if !o.LastModified.Before(limit) {
				return nil
			}
			return s.b.Words(s.b.RemoveObject(ctx, s.b.Config.Bucket, o.Key, minio.RemoveObjectOptions{}))
		})
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for u := range s.b.ListIncompleteUploads(ctx, s.b.Config.Bucket, base, true) {
		if u.Err != nil {
			return s.b.Words(u.Err)
		}
		if !u.Initiated.Before(before) {
			continue
		}
		if err := s.b.RemoveIncompleteUpload(ctx, s.b.Config.Bucket, u.Key); err != nil {
			return s.b.Words(err)
		}
	}
	return nil
}
