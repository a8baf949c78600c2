// Package s3files reads source snapshots from a bucket.
package s3files

import (
	"context"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/pelton-run/pelton/platform/kit/s3"
)

// Open opens the source of an order.
func Open(ctx context.Context, b *s3.Bucket, project, digest string) (io.ReadCloser, error) {
	key, err := b.Source(project, digest)
	if err != nil {
		return nil, err
	}
	o, err := b.GetObject(ctx, b.Config.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.Words(err)
	}
	if _, err := o.Stat(); err != nil {
		o.Close()
		return nil, b.Words(err)
	}
	return o, nil
}

// Address is a URL by which whoever has it may read the source of an order, and nothing else, until it expires.
func Address(ctx context.Context, b *s3.Bucket, project, digest string, expires time.Duration) (string, error) {
	key, err := b.Source(project, digest)
	if err != nil {
		return "", err
	}
	u, err := b.PresignedGetObject(ctx, b.Config.Bucket, key, expires, nil)
	if err != nil {
		return "", b.Words(err)
	}
	return u.String(), nil
}
