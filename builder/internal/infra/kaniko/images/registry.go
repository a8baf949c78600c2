// Package images puts action images together and keeps them in a registry: no container engine, and
// no code of an author, is run for it.
//
// A project has one repository. In it lie, by tag: build-<hex>, the image of a build;
// found-<hex>, a note of when that build was last made or asked for; deps-<hex>, the images of
// system packages and dependencies that builds are put on; code-<hex>, what a compile left, until
// it is part of its image. Everything else is named by digest.
package images

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Config of a Registry.
type Config struct {
	Registry    string   // HOST[:PORT]/PREFIX, below which each project has a repository
	Insecure    []string // registries (HOST[:PORT]) that speak plain HTTP
	Credentials string   // file of docker's config.json; "" = none
	CA          string   // file of CA certificates in PEM that registries may be signed by, beside the system's; "" = none
}

// Registry is where images are. Safe for concurrent use.
type Registry struct {
	config Config
	opts   []remote.Option
	keys   authn.Keychain
	bases  *bases
	pull   *remote.Puller
	push   *remote.Pusher
}

type bases struct {
	mu sync.Mutex
	of map[string]base // by reference
}

type base struct {
	img v1.Image
	at  time.Time
}

// freshBase is how long a base image's tag is believed to mean what it meant.
const freshBase = time.Minute

// maxSilence is how long a registry may take to begin its answer.
const maxSilence = 5 * time.Minute

// Open reads the settings; the registry is asked for nothing. The errors name the setting.
func Open(c Config) (*Registry, error) {
	host, prefix, _ := strings.Cut(c.Registry, "/")
	if _, err := name.NewRepository(host + "/" + strings.Trim(prefix+"/x", "/")); err != nil || host == "" {
		return nil, fault.InvalidField("builder.registry", fmt.Sprintf("is %q", c.Registry), "give HOST[:PORT]/PREFIX, such as registry.example.com/pelton")
	}
	c.Registry = strings.TrimRight(c.Registry, "/")
	t := remote.DefaultTransport.(*http.Transport).Clone()
	// Several builds at once talk to one host.
	t.MaxIdleConnsPerHost = 16
	// A registry may take its time for a large layer, but not for ever: see Base.
	t.ResponseHeaderTimeout = maxSilence
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fault.InvalidField("builder.registry_ca", err.Error(), "give the path of a file with CA certificates in PEM")
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fault.InvalidField("builder.registry_ca", c.CA+" holds no certificate in PEM", "give the path of a file with CA certificates in PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	keys, err := keychainOf(c.Credentials)
	if err != nil {
		return nil, err
	}
	opts := []remote.Option{remote.WithTransport(t), remote.WithAuthFromKeychain(keys), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}), remote.WithUserAgent("pelton-builder")}
	r := &Registry{config: c, opts: opts, keys: keys, bases: &bases{of: map[string]base{}}}
	return r.Anew()
}

// Anew is the same registry for one build or drop. Its clients remember to their end a first contact that failed,
// or that a caller gave up, and what they once uploaded, although it may be deleted meanwhile.
func (r *Registry) Anew() (*Registry, error) {
	n := &Registry{config: r.config, opts: r.opts, keys: r.keys, bases: r.bases}
	var err error
	if n.pull, err = remote.NewPuller(r.opts...); err != nil {
		return nil, err
	}
	n.push, err = remote.NewPusher(r.opts...)
	return n, err
}

// keychain are the credentials of a file, and nothing else that lies about on the machine. Whoever renews credentials
// replaces the file: it is read each time that a build first speaks to a registry.
type keychain struct{ file string }

func keychainOf(file string) (authn.Keychain, error) {
	k := keychain{file}
	_, err := k.read()
	return k, err
}

func (k keychain) read() (*configfile.ConfigFile, error) {
	file := k.file
	if file == "" {
		return configfile.New(""), nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.InvalidField("builder.registry_credentials", err.Error(), `give the path of a docker config.json: {"auths": {"HOST": {"auth": "…"}}}`)
	}
	defer f.Close()
	c, err := config.LoadFromReader(f)
	if err != nil {
		return nil, fault.InvalidField("builder.registry_credentials", file+" is no docker config.json: "+err.Error(), `give {"auths": {"HOST": {"auth": "…"}}}`)
	}
	return c, nil
}

// Resolve implements authn.Keychain.
func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	c, err := k.read()
	if err != nil {
		return nil, err
	}
	for _, key := range []string{r.RegistryStr(), r.String()} {
		if key == name.DefaultRegistry {
			key = authn.DefaultAuthKey
		}
		a, err := c.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		a.ServerAddress = ""
		if a != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}), nil
		}
	}
	return authn.Anonymous, nil
}

func (r *Registry) options(ref string) []name.Option {
	host, _, _ := strings.Cut(ref, "/")
	for _, h := range r.config.Insecure {
		if h == host {
			return []name.Option{name.Insecure}
		}
	}
	return nil
}

var plainProject = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// Repository is the repository of a project.
func (r *Registry) Repository(project string) (name.Repository, error) {
	part := project
	if !plainProject.MatchString(part) || len(part) > 64 {
		sum := sha256.Sum256([]byte(project))
		part = "p-" + hex.EncodeToString(sum[:12])
	}
	full := r.config.Registry + "/" + part
	return name.NewRepository(full, r.options(full)...)
}

// hexOf is the bare digest, which tags are made of.
func hexOf(digest string) (string, error) {
	h := strings.TrimPrefix(digest, "sha256:")
	if b, err := hex.DecodeString(h); err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("%q is no digest", digest)
	}
	return h, nil
}

// Tag names an image of a project: kind is build, deps, code or found.
func (r *Registry) Tag(project, kind, digest string) (name.Tag, error) {
	repo, err := r.Repository(project)
	if err != nil {
		return name.Tag{}, err
	}
	h, err := hexOf(digest)
	return repo.Tag(kind + "-" + h), err
}

// Head is the digest of an image, false when there is none of that name.
func (r *Registry) Head(ctx context.Context, ref name.Reference) (v1.Hash, bool, error) {
	d, err := r.pull.Head(ctx, ref)
	if gone(err) {
		return v1.Hash{}, false, nil
	}
	if err != nil {
		return v1.Hash{}, false, r.words(ref.Context(), err)
	}
	return d.Digest, true, nil
}

// Image is the image of a name, nil when there is none.
func (r *Registry) Image(ctx context.Context, ref name.Reference) (v1.Image, error) {
	d, err := r.pull.Get(ctx, ref)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, r.words(ref.Context(), err)
	}
	img, err := d.Image()
	if err != nil {
		return nil, r.words(ref.Context(), err)
	}
	return img, nil
}

// Exactly is the image of a digest; that there is none is an error.
func (r *Registry) Exactly(ctx context.Context, digest string) (v1.Image, error) {
	ref, err := name.NewDigest(digest, r.options(digest)...)
	if err != nil {
		return nil, err
	}
	img, err := r.Image(ctx, ref)
	if err == nil && img == nil {
		err = fmt.Errorf("the image %s is not in its registry any more", digest)
	}
	return img, err
}

// Guarded tells whether an image lies where only this registry's credentials or authority lead.
func (r *Registry) Guarded(image string) bool {
	ref, err := name.ParseReference(image)
	if image == "" || err != nil {
		return false
	}
	if own, _, _ := strings.Cut(r.config.Registry, "/"); r.config.CA != "" && own == ref.Context().RegistryStr() {
		return true
	}
	a, err := r.keys.Resolve(ref.Context())
	return err == nil && a != authn.Anonymous
}

// Base is a base image, for this builder's processor. setting is where its name comes from.
func (r *Registry) Base(ctx context.Context, setting, reference string) (v1.Image, name.Digest, error) {
	ref, err := name.ParseReference(reference, r.options(reference)...)
	if err != nil {
		return nil, name.Digest{}, fault.InvalidField(setting, fmt.Sprintf("is %q", reference), "give an image, such as docker.io/library/python:3.12-slim")
	}
	r.bases.mu.Lock()
	b, ok := r.bases.of[reference]
	r.bases.mu.Unlock()
	if !ok || time.Since(b.at) > freshBase {
		img, err := r.lasting(ctx, ref)
		if err != nil {
			return nil, name.Digest{}, err
		}
		if img == nil {
			return nil, name.Digest{}, fault.InvalidField(setting, "names the image "+reference+", which does not exist or may not be seen", "give one that does, or put credentials for "+ref.Context().RegistryStr()+" into builder.registry_credentials")
		}
		b = base{img, time.Now()}
		r.bases.mu.Lock()
		r.bases.of[reference] = b
		r.bases.mu.Unlock()
	}
	d, err := b.img.Digest()
	return b.img, ref.Context().Digest(d.String()), err
}

// lasting is Image for more than one caller: an image keeps the context that it was asked for with, and
// fetches layers with it. It is ended by ctx only until it is there.
func (r *Registry) lasting(ctx context.Context, ref name.Reference) (v1.Image, error) {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	stay := context.AfterFunc(ctx, end)
	img, err := r.Image(own, ref)
	if img != nil && err == nil {
		_, err = img.ConfigFile()
		err = r.words(ref.Context(), err)
	}
	if !stay() {
		err = ctx.Err()
	}
	if err != nil {
		end()
		return nil, err
	}
	return img, nil
}

// Push puts an image under a name, layers before the manifest: nobody sees it unless it is whole.
func (r *Registry) Push(ctx context.Context, ref name.Reference, img remote.Taggable) error {
	return r.words(ref.Context(), r.push.Push(ctx, ref, img))
}

// delete removes a manifest and with it every tag that names it; what is not there is gone.
func (r *Registry) delete(ctx context.Context, d name.Digest) error {
	if err := r.push.Delete(ctx, d); err != nil && !gone(err) {
		return r.words(d.Context(), err)
	}
	return nil
}

func gone(err error) bool {
	var t *transport.Error
	return errors.As(err, &t) && t.StatusCode == http.StatusNotFound
}
