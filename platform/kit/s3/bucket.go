package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Bucket is an open bucket. Safe for concurrent use.
type Bucket struct {
	*minio.Client

	Config Config

	uploads *minio.Client // signs URLs for uploads; Guard may change it, before anybody asks for one

	mu       sync.Mutex
	checking bool
	checked  time.Time
	last     error
}

// Open makes a Bucket without asking the store for anything. The errors are of the settings.
func Open(c Config) (*Bucket, error) {
	k, err := readKeys(c.Credentials)
	if err != nil {
		return nil, err
	}
	b := &Bucket{Config: c}
	if b.Client, err = client(c, credentials.NewStaticV4(k.AccessKey, k.SecretKey, "")); err != nil {
		return nil, fault.InvalidField("files", "names an endpoint that cannot be used: "+err.Error(), remedy)
	}
	scheme := "https://"
	if c.Insecure {
		scheme = "http://"
	}
	// What signs uploads may do nothing but put below incoming/: a signature covers neither every
	// header nor, at some stores, what a header asks for, such as a copy of another object.
	lesser := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::` + c.Bucket + "/" + c.Prefix + `*/incoming/*"]}]}`
	session, err := credentials.NewSTSAssumeRole(scheme+c.Endpoint, credentials.STSAssumeRoleOptions{
		AccessKey: k.AccessKey, SecretKey: k.SecretKey, Policy: lesser, Location: c.Region, DurationSeconds: int((12 * time.Hour).Seconds()),
	})
	if err != nil {
		return nil, err
	}
	b.uploads, err = client(c, session)
	return b, err
}

func client(c Config, creds *credentials.Credentials) (*minio.Client, error) {
	return minio.New(c.Endpoint, &minio.Options{Creds: creds, Secure: !c.Insecure, Region: c.Region, MaxRetries: 3})
}

// Check asks the store whether the bucket can be used; the error is in words.
func (b *Bucket) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A listing tells more than a question without a body can: what is wrong with the credentials.
	for o := range b.ListObjects(ctx, b.Config.Bucket, minio.ListObjectsOptions{Prefix: b.Config.Prefix, MaxKeys: 1}) {
		return b.Words(o.Err)
	}
	return b.Words(ctx.Err())
}

// Ready tells, at once, in words why the bucket could not be used some seconds ago, nil if it could.
func (b *Bucket) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.checking && time.Since(b.checked) > 3*time.Second {
		b.checking = true
		go func() {
			err := b.Check(context.Background())
			b.mu.Lock()
			defer b.mu.Unlock()
			b.last, b.checked, b.checking = err, time.Now(), false
		}()
	}
	return b.last
}

// NotFound tells whether an error means that there is no such object.
func NotFound(err error) bool {
	return err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey
}

// Words makes an error of the store one that people understand; nil stays nil.
func (b *Bucket) Words(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return err
	}
	c := b.Config
	switch code := minio.ToErrorResponse(err).Code; code {
	case minio.NoSuchKey:
		return fault.Wrap(err, fault.NotFound, "there is no such file")
	case minio.NoSuchBucket:
		return fault.Wrap(err, fault.Invalid, "files: the store at %s has no bucket %q: create it, or name another", c.Endpoint, c.Bucket)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return fault.Wrap(err, fault.Invalid, "s3.credentials: the store at %s does not know the access key, or the secret key is another (%s): see %s", c.Endpoint, code, c.Credentials)
	case minio.AccessDenied, "AllAccessDisabled":
		return fault.Wrap(err, fault.Invalid, "s3.credentials: the user may not use the bucket %q at %s: it needs to list, read, put and delete objects", c.Bucket, c.Endpoint)
	case "RequestTimeTooSkewed":
		return fault.Wrap(err, fault.Unavailable, "the clocks of this machine and of the store at %s differ by more than 15 minutes: set them", c.Endpoint)
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "XMinioServerNotInitialized":
		return fault.Wrap(err, fault.Unavailable, "the store at %s is overloaded or still starts (%s)", c.Endpoint, code)
	case "XMinioStorageFull":
		return fault.Wrap(err, fault.Unavailable, "the store at %s is full: free some space, then try again", c.Endpoint)
	}
	var netErr net.Error
	var urlErr *url.Error
	if errors.As(err, &netErr) || errors.As(err, &urlErr) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Wrap(err, fault.Unavailable, "the store at %s cannot be reached: %s", c.Endpoint, reason(err))
	}
	return fault.Wrap(err, fault.Unavailable, "the store at %s failed: %s", c.Endpoint, minio.ToErrorResponse(err).Code)
}

// reason is the last part of a network error, without the URL, which may hold a signature.
func reason(err error) string {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// Source is the key of a build's source.
func (b *Bucket) Source(project, digest string) (string, error) {
	return b.key(project, "source", digest)
}

// Blob is the key of a file of runs.
func (b *Bucket) Blob(project, digest string) (string, error) {
	return b.key(project, "sha256", digest)
}

// key is PREFIX<project>/<kind>/<2 hex>/<62 hex>.
func (b *Bucket) key(project, kind, digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if _, err := hex.DecodeString(h); !ok || err != nil || len(h) != 64 || strings.ToLower(h) != h {
		return "", fault.New(fault.NotFound, "there is no file %q", digest)
	}
	base, err := b.Project(project)
	return base + kind + "/" + h[:2] + "/" + h[2:], err
}

// Project is the prefix of a project's keys.
func (b *Bucket) Project(name string) (string, error) {
	if name == "" || strings.ContainsAny(name, "/*?") || name == "." || name == ".." {
		return "", fault.New(fault.Invalid, "%q is no project", name)
	}
	return b.Config.Prefix + name + "/", nil
}

const checksum = "X-Amz-Checksum-Sha256"

// Upload makes a URL by which whoever has it may put exactly one content at a key below incoming/, until
// it expires. The header that it has to send is given as well.
func (b *Bucket) Upload(ctx context.Context, key string, sum [sha256.Size]byte, expires time.Duration) (string, http.Header, error) {
	head := http.Header{checksum: {base64.StdEncoding.EncodeToString(sum[:])}}
	u, err := b.uploads.PresignHeader(ctx, http.MethodPut, b.Config.Bucket, key, expires, nil, head)
	if err != nil {
		return "", nil, b.Words(err)
	}
	return u.String(), head, nil
}
