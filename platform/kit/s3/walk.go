package s3

import (
	"context"
	"io"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Walk calls each for every object below the prefix of the settings, by its key behind that. An error of
// each ends it.
func (b *Bucket) Walk(ctx context.Context, each func(key string, size int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.ListObjects(ctx, b.Config.Bucket, minio.ListObjectsOptions{Prefix: b.Config.Prefix, Recursive: true}) {
		if o.Err != nil {
			return b.Words(o.Err)
		}
		if err := each(strings.TrimPrefix(o.Key, b.Config.Prefix), o.Size); err != nil {
			return err
		}
	}
	return b.Words(ctx.Err())
}

// Read opens an object by its key behind the prefix.
func (b *Bucket) Read(ctx context.Context, key string) (io.ReadCloser, error) {
	o, err := b.GetObject(ctx, b.Config.Bucket, b.Config.Prefix+key, minio.GetObjectOptions{})
	return o, b.Words(err)
}

// Write makes an object of size bytes by its key behind the prefix; it is durable when Write returns.
func (b *Bucket) Write(ctx context.Context, key string, r io.Reader, size int64) error {
	_, err := b.PutObject(ctx, b.Config.Bucket, b.Config.Prefix+key, r, size, minio.PutObjectOptions{})
	return b.Words(err)
}

// Has tells whether there is an object.
func (b *Bucket) Has(ctx context.Context, key string) (bool, error) {
	_, err := b.StatObject(ctx, b.Config.Bucket, b.Config.Prefix+key, minio.StatObjectOptions{})
	if NotFound(err) {
		return false, nil
	}
	return err == nil, b.Words(err)
}

// Make makes the bucket if it is not there, and tells whether it did.
func (b *Bucket) Make(ctx context.Context) (bool, error) {
	there, err := b.BucketExists(ctx, b.Config.Bucket)
	if err != nil || there {
		return false, b.Words(err)
	}
	err = b.MakeBucket(ctx, b.Config.Bucket, minio.MakeBucketOptions{Region: b.Config.Region})
	if code := minio.ToErrorResponse(err).Code; code == "BucketAlreadyOwnedByYou" || code == "BucketAlreadyExists" {
		return false, nil
	}
	return err == nil, b.Words(err)
}

// Delete removes an object by its key behind the prefix; one that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.Words(b.RemoveObject(ctx, b.Config.Bucket, b.Config.Prefix+key, minio.RemoveObjectOptions{}))
}
