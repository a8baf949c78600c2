package adm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/server"
)

// imageStore is where the images of actions are, as the builder's settings say.
type imageStore struct {
	address  string   // HOST[:PORT]/PREFIX
	insecure []string // hosts that speak plain HTTP
	options  []remote.Option
}

// registryOf gives the registry of the settings, nil if builds are no images.
func registryOf(cfg server.Config) (*imageStore, error) {
	b := cfg.Builder
	if !strings.HasPrefix(b.Backend, "kaniko:") {
		return nil, nil //nolint:nilnil // see above
	}
	r := &imageStore{address: b.Registry, insecure: b.RegistryInsecure, options: []remote.Option{remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Steps: 3})}}
	if b.RegistryCredentials != "" {
		chain, err := keychain(b.RegistryCredentials)
		if err != nil {
			return nil, err
		}
		r.options = append(r.options, remote.WithAuthFromKeychain(chain))
	}
	if b.RegistryCA != "" {
		pem, err := os.ReadFile(b.RegistryCA)
		if err != nil {
			return nil, fault.New(fault.Invalid, "builder.registry_ca cannot be read: %s", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Invalid, "builder.registry_ca: %s holds no certificate", b.RegistryCA)
		}
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		r.options = append(r.options, remote.WithTransport(t))
	}
	return r, nil
}

func (r *imageStore) named(ref string) []name.Option {
	host, _, _ := strings.Cut(ref, "/")
	if slices.Contains(r.insecure, host) {
		return []name.Option{name.Insecure}
	}
	return nil
}

// pushAndPull pushes a tiny image below the prefix and reads it back.
func (r *imageStore) pushAndPull(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ref, err := name.NewTag(r.address+"/doctor:probe", r.named(r.address)...)
	if err != nil {
		return "", fault.New(fault.Invalid, "registry.address is %s: %s", r.address, err)
	}
	img, err := mutate.Config(empty.Image, v1.Config{Labels: map[string]string{"org.pelton.probe": "doctor"}})
	if err != nil {
		return "", err
	}
	o := append(slices.Clip(r.options), remote.WithContext(ctx))
	if err := remote.Write(ref, img, o...); err != nil {
		return "", registryWords("push", ref.String(), err)
	}
	want, err := img.Digest()
	if err != nil {
		return "", err
	}
	got, err := remote.Get(ref, o...)
	if err != nil {
		return "", registryWords("pull", ref.String(), err)
	}
	if got.Digest != want {
		return "", fault.New(fault.Conflict, "%s is %s after %s was pushed", ref, got.Digest, want)
	}
	return ref.String() + "@" + want.String(), nil
}

// missing tells which of the images (image://…) are not there, in their order. An error tells that one could not be looked for.
func (r *imageStore) missing(ctx context.Context, artifacts []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	found := make([]error, len(artifacts))
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i, a := range artifacts {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			text := strings.TrimPrefix(a, "image://")
			ref, err := name.NewDigest(text, r.named(text)...)
			if err != nil {
				found[i] = fault.New(fault.Invalid, "%s is no image by digest: %s", text, err)
				return
			}
			_, found[i] = remote.Head(ref, append(slices.Clip(r.options), remote.WithContext(ctx))...)
		})
	}
	wg.Wait()
	var gone []string
	for i, err := range found {
		var answer *transport.Error
		switch {
		case err == nil:
		case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
			gone = append(gone, strings.TrimPrefix(artifacts[i], "image://"))
		default:
			return gone, registryWords("look for", strings.TrimPrefix(artifacts[i], "image://"), err)
		}
	}
	return gone, nil
}

// registryWords makes an error of a registry one that says what to do.
func registryWords(verb, ref string, err error) error {
	var answer *transport.Error
	host, _, _ := strings.Cut(ref, "/")
	switch {
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fault.Wrap(err, fault.Forbidden, "%s %s: the registry does not take the credentials of registry.credentialsSecret (%d)", verb, ref, answer.StatusCode)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fault.Wrap(err, fault.Invalid, "%s %s: the registry speaks plain HTTP: name %s in registry.insecure", verb, ref, host)
	case strings.Contains(err.Error(), "x509:"):
		return fault.Wrap(err, fault.Invalid, "%s %s: the registry's certificate is not trusted: give caBundle, or builder.registry_ca among settings", verb, ref)
	}
	return fault.Wrap(err, fault.Unavailable, "%s %s: %s", verb, ref, err)
}

// keychain reads a docker config.json.
func keychain(file string) (authn.Keychain, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the registry's credentials cannot be read: %s", err)
	}
	var c struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fault.New(fault.Invalid, "%s is no docker config.json: %s", file, err)
	}
	return chain(c.Auths), nil
}

type chain map[string]authn.AuthConfig

// Resolve implements authn.Keychain.
func (c chain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for host, a := range c {
		host = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://"), "/")
		if host == r.RegistryStr() || strings.HasPrefix(host, r.RegistryStr()+"/") {
			return authn.FromConfig(a), nil
		}
	}
	return authn.Anonymous, nil
}

// builtThere tells of images what live deployments and unfinished runs need and is not there.
func (r *imageStore) builtThere(ctx context.Context, artifacts []string) error {
	gone, err := r.missing(ctx, artifacts)
	if err == nil && len(gone) > 0 {
		err = fault.New(fault.NotFound, "%d builds that live deployments or unfinished runs need are not in the registry: %s", len(gone), few(gone))
	}
	return err
}
