package s3

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Guard makes sure, by trying, that the store holds whoever has a URL of Upload to what it is for: it
// refuses other content, and a copy of another object. A store that cannot give lesser credentials
// signs with the bucket's own, as long as it refuses both.
func (b *Bucket) Guard(ctx context.Context) error {
	var name [8]byte
	if _, err := rand.Read(name[:]); err != nil {
		return err
	}
	probe := b.Config.Prefix + "pelton-probe/"
	target, secret := probe+"incoming/"+hex.EncodeToString(name[:]), probe+"secret/"+hex.EncodeToString(name[:])
	defer func() {
		for _, key := range []string{target, secret} {
			_ = b.RemoveObject(context.WithoutCancel(ctx), b.Config.Bucket, key, minio.RemoveObjectOptions{})
		}
	}()
	if _, err := b.PutObject(ctx, b.Config.Bucket, secret, strings.NewReader("z"), 1, minio.PutObjectOptions{DisableMultipart: true}); err != nil {
		return b.Words(err)
	}
	sum := sha256.Sum256([]byte("x"))
	if _, err := b.uploads.PresignHeader(ctx, http.MethodPut, b.Config.Bucket, target, time.Minute, nil, nil); err != nil {
		answer := credentials.ErrorResponse{}
		if !errors.As(err, &answer) {
			return b.Words(err)
		}
		// MinIO answers so before it has read its users.
		if busy := answer.STSError; busy.Code == "InternalError" || busy.Code == "ServiceUnavailable" || strings.Contains(busy.Message, "not initialized") {
			return fault.Wrap(err, fault.Unavailable, "the store at %s still starts", b.Config.Endpoint)
		}
		b.uploads = b.Client // the store knows no such sessions
	}
	good, err := b.try(ctx, target, sum, "x", nil)
	if err != nil {
		return err
	}
	if !good {
		return fault.New(fault.Invalid, "files: the store at %s refuses an upload by a signed URL with a checksum (SHA-256): use a store that knows them", b.Config.Endpoint)
	}
	if good, err = b.try(ctx, target, sum, "y", nil); err != nil {
		return err
	}
	if good {
		return fault.New(fault.Invalid, "files: the store at %s takes other content than a signed checksum (SHA-256) allows: actions could spoil files. Use a store that checks them", b.Config.Endpoint)
	}
	if good, err = b.try(ctx, target, sum, "x", http.Header{"X-Amz-Copy-Source": {url.PathEscape("/" + b.Config.Bucket + "/" + secret)}}); err != nil {
		return err
	}
	copied := false
	if good {
		if copied, err = b.copied(ctx, target); err != nil {
			return err
		}
	}
	if copied {
		return fault.New(fault.Invalid, "files: the store at %s lets a signed upload copy any object: actions could read files of other projects. Let it give temporary credentials (STS AssumeRole with a policy); MinIO does so to a user, not to a service account", b.Config.Endpoint)
	}
	return nil
}

// copied tells whether an object is the other one: a store may as well ignore the header.
func (b *Bucket) copied(ctx context.Context, key string) (bool, error) {
	o, err := b.GetObject(ctx, b.Config.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return false, b.Words(err)
	}
	defer o.Close()
	text, err := io.ReadAll(o)
	return string(text) == "z", b.Words(err)
}

func (b *Bucket) try(ctx context.Context, key string, sum [sha256.Size]byte, body string, more http.Header) (bool, error) {
	u, head, err := b.Upload(ctx, key, sum, time.Minute)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u, strings.NewReader(body))
	if err != nil {
		return false, err
	}
	for _, h := range []http.Header{head, more} {
		for k, v := range h {
			req.Header[k] = v
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, b.Words(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return false, fault.New(fault.Unavailable, "the store at %s answers %s", b.Config.Endpoint, resp.Status)
	}
	return resp.StatusCode == http.StatusOK, nil
}
