package s3files

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/s3"
)

// Putting and removing the same blob meet without a lock (docs/adr/0019). Who removes one first writes a
// mark of its own beside it, then looks at the blob's age, then deletes it by a request that the store
// refuses after a moment, then takes the mark away. Who puts one puts it first, then waits until no mark
// is there, then looks whether it is still there, and if not puts it again. A mark that came after
// the put belongs to somebody who will see a young blob.

const (
	// fence is how long a request that deletes is good for.
	fence = 30 * time.Second
	// stale is the age, by the store's clock, from which a mark is of somebody whose request is void:
	// fence, the difference of clocks that Remove accepts, and some reserve.
	stale = 2 * time.Minute
	// maxSkew is by how much the clocks of this machine and of the store may differ for a removal.
	maxSkew = 30 * time.Second
)

// settle puts a blob by put and returns when it is there to stay.
func (s Store) settle(ctx context.Context, project, digest string, put func(key string) error) error {
	key, err := s.b.Blob(project, digest)
	if err != nil {
		return err
	}
	for {
		if there, err := s.Keep(ctx, project, digest); err != nil || there {
			return err
		}
		if err := put(key); err != nil {
			return s.b.Words(err)
		}
		if there, err := s.stays(ctx, project, digest, key); err != nil || there {
			return err
		}
	}
}

// stays tells whether a blob that has just been put stays; false: it was removed meanwhile.
func (s Store) stays(ctx context.Context, project, digest, key string) (bool, error) {
	base, err := s.b.Project(project)
	if err != nil {
		return false, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for put := (time.Time{}); ; {
		var newest time.Time
		err := s.each(ctx, base+"doomed/"+strings.TrimPrefix(digest, "sha256:")+"/", func(o minio.ObjectInfo) error {
			if o.LastModified.After(newest) {
				newest = o.LastModified
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		if newest.IsZero() {
			break
		}
		if put.IsZero() { // by the store's clock, whatever ours says
			info, err := s.b.StatObject(ctx, s.b.Config.Bucket, key, minio.StatObjectOptions{})
			if s3.NotFound(err) {
				return false, nil
			}
			if err != nil {
				return false, s.b.Words(err)
			}
			put = info.LastModified
		}
		if put.Add(time.Since(began)).Sub(newest) > stale {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	_, err = s.b.StatObject(ctx, s.b.Config.Bucket, key, minio.StatObjectOptions{})
	if s3.NotFound(err) {
		return false, nil
	}
	return err == nil, s.b.Words(err)
}

// Keep implements app.Files.
func (s Store) Keep(ctx context.Context, project, digest string) (bool, error) {
	key, err := s.b.Blob(project, digest)
	if err != nil {
		return false, nil //nolint:nilerr // what is no digest is not there
	}
	// A copy onto itself makes it young; the store moves no bytes for it.
	err = s.compose(ctx, key, piece{key: key})
	if s3.NotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, s.b.Words(err)
	}
	return s.stays(ctx, project, digest, key)
}

// Remove implements app.Files.
func (s Store) Remove(ctx context.Context, project, digest string, since time.Time) (size int64, gone bool, err error) {
	key, err := s.b.Blob(project, digest)
	if err != nil {
		return 0, false, err
	}
	base, err := s.b.Project(project)
	if err != nil {
		return 0, false, err
	}
	name, err := random()
	if err != nil {
		return 0, false, err
	}
	mark := base + "doomed/" + strings.TrimPrefix(digest, "sha256:") + "/" + name
	if _, err := s.b.PutObject(ctx, s.b.Config.Bucket, mark, strings.NewReader(""), 0, minio.PutObjectOptions{DisableMultipart: true}); err != nil {
		return 0, false, s.b.Words(err)
	}
	size, gone, sent, err := s.removeMarked(ctx, key, mark, since)
	if err == nil || !sent { // else the request may still be on its way: the mark stays until it is void
		s.drop(ctx, mark)
	}
	return size, gone, s.b.Words(err)
}

// removeMarked deletes a blob that is not young. sent tells that the store may have been asked to.
func (s Store) removeMarked(ctx context.Context, key, mark string, since time.Time) (size int64, gone, sent bool, err error) {
	bucket := s.b.Config.Bucket
	written, err := s.b.StatObject(ctx, bucket, mark, minio.StatObjectOptions{})
	if err != nil {
		return 0, false, false, err
	}
	if skew := time.Since(written.LastModified); skew.Abs() > maxSkew {
		return 0, false, false, fault.New(fault.Unavailable, "the clocks of this machine and of the store at %s differ by %s: set them. No file is removed until then", s.b.Config.Endpoint, skew.Abs().Round(time.Second))
	}
	request, err := s.b.Presign(ctx, http.MethodDelete, bucket, key, fence, nil)
	if err != nil {
		return 0, false, false, err
	}
	info, err := s.b.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if s3.NotFound(err) {
		return 0, false, false, nil
	}
	if err != nil || !old(info, since) {
		return 0, false, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, fence)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, request.String(), nil)
	if err != nil {
		return 0, false, false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, false, true, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusOK {
		return 0, false, true, fault.New(fault.Unavailable, "the store at %s answers %s to a removal", s.b.Config.Endpoint, resp.Status)
	}
	return info.Size, true, true, nil
}

// old tells whether an object was put before a time. Stores tell whole seconds, rounded down.
func old(o minio.ObjectInfo, before time.Time) bool {
	return o.LastModified.Add(time.Second).Before(before)
}
