//go:build linux

package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/GoogleContainerTools/kaniko/pkg/config"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
)

// TestFetchBase: an image of a registry that wants credentials, with a certificate of a private authority, is handed to a
// build that has neither.
func TestFetchBase(t *testing.T) {
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "builder" || password != "word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	defer s.Close()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return file
	}
	host := strings.TrimPrefix(s.URL, "https://")
	ca := write("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	credentials := write("config.json", fmt.Appendf(nil, `{"auths": {%q: {"username": "builder", "password": "word"}}}`, host))

	img, err := random.Image(1000, 2)
	require.NoError(t, err)
	want, err := img.Digest()
	require.NoError(t, err)
	tag, err := name.NewTag(host + "/pelton/default:deps-1")
	require.NoError(t, err)
	require.NoError(t, remote.Write(tag, img, remote.WithTransport(s.Client().Transport), remote.WithAuth(&authn.Basic{Username: "builder", Password: "word"})))
	digest := tag.Digest(want.String()).Name()

	for says, c := range map[string]images.Config{
		"refuses the builder": {Registry: host + "/pelton", CA: ca},
		"answered 400":        {Registry: host + "/pelton", Credentials: credentials}, // its certificate is not trusted; one of this machine is then asked without
	} {
		reg, err := images.Open(c)
		require.NoError(t, err)
		require.ErrorContains(t, lay(t.Context(), reg, digest, t.TempDir()), says)
	}
	reg, err := images.Open(images.Config{Registry: host + "/pelton", Credentials: credentials, CA: ca})
	require.NoError(t, err)
	at := t.TempDir()
	require.NoError(t, lay(t.Context(), reg, digest, at))
	missing := tag.Digest("sha256:" + strings.Repeat("0", 64)).Name()
	require.ErrorContains(t, lay(t.Context(), reg, missing, t.TempDir()), "is not in its registry")

	pulled := errors.New("pulled")
	from := there(at, digest, func(string, config.RegistryOptions, string) (v1.Image, error) { return nil, pulled })
	got, err := from(digest, config.RegistryOptions{}, "")
	require.NoError(t, err, "without a look at the registry")
	h, err := got.Digest()
	require.NoError(t, err)
	require.Equal(t, want, h)
	layers, err := got.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 2)
	for _, l := range layers {
		rc, err := l.Uncompressed()
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, rc)
		require.NoError(t, err)
		require.NoError(t, rc.Close())
	}
	_, err = from("docker.io/library/debian:13", config.RegistryOptions{}, "")
	require.ErrorIs(t, err, pulled, "another image is")
	_, err = there(t.TempDir(), digest, nil)(digest, config.RegistryOptions{}, "")
	require.ErrorContains(t, err, "was not fetched")
}
