package images

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/platform/kit/registrytest"
)

func TestMain(m *testing.M) { registrytest.Main(m) }

func open(t *testing.T) *Registry {
	t.Helper()
	s := registrytest.Shared(t)
	r, err := Open(Config{Registry: s.Addr + "/" + strings.ToLower(t.Name()), Insecure: []string{s.Addr}})
	require.NoError(t, err)
	return r
}

func layer(t *testing.T, files ...File) v1.Layer {
	t.Helper()
	l, err := Layer(files)
	require.NoError(t, err)
	return l
}

func ground(t *testing.T) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layer(t, File{Path: "etc/os-release", Mode: 0o644, Data: []byte("ID=test\n")}))
	require.NoError(t, err)
	img, err = mutate.Config(img, v1.Config{Env: []string{"PATH=/bin", "HOME=/root"}, Cmd: []string{"sh"}, User: "root", Labels: map[string]string{"a": "b"}})
	require.NoError(t, err)
	return img
}

const build = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
const key = "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

func other(digest string, with byte) string {
	return "sha256:" + strings.Repeat(string(with), len(digest)-len("sha256:"))
}

func TestContract(t *testing.T) {
	bundle := layer(t, File{Path: Bundle + "/bundle.json", Mode: 0o644, Data: []byte("{}")}, File{Path: Bundle + "/code/run", Mode: 0o755, Data: []byte("x")}, File{Path: Bundle + "/deps", Link: "/pelton/deps"})
	img, err := Compose(Parts{Ground: ground(t), Wrapper: layer(t, File{Path: Wrapper, Mode: 0o755, Data: []byte("elf")}), Bundle: bundle, Labels: map[string]string{LabelBuild: build}})
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, []string{"/pelton/wrapper", "serve", "--bundle", "/pelton/bundle", "--state", "/tmp/pelton"}, c.Config.Entrypoint)
	require.Empty(t, c.Config.Cmd)
	require.Equal(t, "65532:65532", c.Config.User)
	require.Equal(t, []string{"PATH=/bin"}, c.Config.Env, "no HOME")
	require.Equal(t, map[string]string{"a": "b", LabelBuild: build}, c.Config.Labels)
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 3)
	var names []string
	rc, err := layers[2].Uncompressed()
	require.NoError(t, err)
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
	require.Equal(t, []string{"pelton/", "pelton/bundle/", "pelton/bundle/bundle.json", "pelton/bundle/code/", "pelton/bundle/code/run", "pelton/bundle/deps"}, names)
}

func TestOwnProgram(t *testing.T) {
	for in, out := range map[string]string{"": "65532:65532", "root": "65532:65532", "0": "65532:65532", "1000": "1000", "1000:1000": "1000:1000", "app": "65532:65532"} {
		img, err := mutate.Config(empty.Image, v1.Config{User: in, Entrypoint: []string{"/serve"}})
		require.NoError(t, err)
		img, err = Compose(Parts{Ground: img})
		require.NoError(t, err)
		c, err := img.ConfigFile()
		require.NoError(t, err)
		require.Equal(t, out, c.Config.User, in)
		require.Equal(t, []string{"/serve"}, c.Config.Entrypoint)
	}
}

// TestCodeChange: only the bundle's layer and the manifest differ.
func TestCodeChange(t *testing.T) {
	r := open(t)
	made := func(code string) v1.Image {
		img, err := Compose(Parts{Ground: ground(t), Wrapper: layer(t, File{Path: Wrapper, Mode: 0o755, Data: []byte("elf")}),
			Bundle: layer(t, File{Path: Bundle + "/code/handler.py", Mode: 0o644, Data: []byte(code)})})
		require.NoError(t, err)
		return img
	}
	one, two := made("one"), made("two")
	a, err := r.Keep(t.Context(), Kept{Project: "p", Build: build, Image: one, Now: time.Now()})
	require.NoError(t, err)
	b, err := r.Keep(t.Context(), Kept{Project: "p", Build: other(build, 'b'), Image: two, Now: time.Now()})
	require.NoError(t, err)
	require.NotEqual(t, a, b)
	of := func(d name.Digest) []v1.Descriptor {
		img, err := r.Image(t.Context(), d)
		require.NoError(t, err)
		m, err := img.Manifest()
		require.NoError(t, err)
		return m.Layers
	}
	la, lb := of(a), of(b)
	require.Equal(t, la[:len(la)-1], lb[:len(lb)-1])
	require.NotEqual(t, la[len(la)-1], lb[len(lb)-1])
	same, err := made("one").Digest()
	require.NoError(t, err)
	require.Equal(t, a.DigestStr(), same.String(), "the same build makes the same image")
}

func TestDrop(t *testing.T) {
	r := open(t)
	ctx, now := t.Context(), time.Now()
	dependencies, err := r.Tag("p", "deps", key)
	require.NoError(t, err)
	require.NoError(t, r.Push(ctx, dependencies, ground(t)))
	keep := func(build string) name.Digest {
		img, err := Compose(Parts{Ground: ground(t), Labels: map[string]string{LabelBuild: build, LabelDeps: key}})
		require.NoError(t, err)
		sbom, err := SBOM("x", "1", []Package{{"npm", "@a/b", "1.0"}})
		require.NoError(t, err)
		d, err := r.Keep(ctx, Kept{Project: "p", Build: build, Image: img, SBOM: sbom, Shares: []string{key}, Now: now})
		require.NoError(t, err)
		return d
	}
	second := other(build, 'b')
	first, d2 := keep(build), keep(second)
	pkgs, err := r.Packages(ctx, first)
	require.NoError(t, err)
	require.Equal(t, []Package{{"npm", "@a/b", "1.0"}}, pkgs)

	gone, err := r.Drop(ctx, "p", build, now)
	require.NoError(t, err)
	require.False(t, gone, "made at that time")
	later := now.Add(time.Minute)
	_, found, err := r.Find(ctx, "p", build, later)
	require.NoError(t, err)
	require.True(t, found)
	gone, err = r.Drop(ctx, "p", build, later)
	require.NoError(t, err)
	require.False(t, gone, "asked for again at that time")
	gone, err = r.Drop(ctx, "p", build, later.Add(time.Minute))
	require.NoError(t, err)
	require.True(t, gone)
	_, found, err = r.Find(ctx, "p", build, later)
	require.NoError(t, err)
	require.False(t, found)
	pkgs, err = r.Packages(ctx, first)
	require.NoError(t, err)
	require.Empty(t, pkgs)
	_, there, err := r.Head(ctx, dependencies)
	require.NoError(t, err)
	require.True(t, there, "the second build is put on them")
	gone, err = r.Drop(ctx, "p", second, later.Add(time.Minute))
	require.NoError(t, err)
	require.True(t, gone)
	for _, ref := range []name.Reference{d2, dependencies} {
		_, there, err = r.Head(ctx, ref)
		require.NoError(t, err)
		require.False(t, there, ref.String())
	}
	gone, err = r.Drop(ctx, "p", second, later.Add(time.Minute))
	require.NoError(t, err)
	require.True(t, gone, "again")
}

// TestDropFailed: a build that made dependencies and then failed has no image, and releases them all the same, unless
// another build uses them.
func TestDropFailed(t *testing.T) {
	r := open(t)
	ctx, now, second := t.Context(), time.Now(), other(build, 'b')
	dependencies, err := r.Tag("p", "deps", key)
	require.NoError(t, err)
	require.NoError(t, r.Push(ctx, dependencies, ground(t)))
	require.NoError(t, r.Use(ctx, "p", key, build))
	require.NoError(t, r.Use(ctx, "p", key, second))
	for _, b := range []string{build, second} {
		_, there, err := r.Head(ctx, dependencies)
		require.NoError(t, err)
		require.True(t, there)
		gone, err := r.Drop(ctx, "p", b, now)
		require.NoError(t, err)
		require.True(t, gone)
	}
	_, there, err := r.Head(ctx, dependencies)
	require.NoError(t, err)
	require.False(t, there)
	gone, err := r.Drop(ctx, "without-images", build, now)
	require.NoError(t, err)
	require.True(t, gone)
}

// TestBase: a base image that is kept for others outlives the build that asked for it first.
func TestBase(t *testing.T) {
	r := open(t)
	tag, err := r.Tag("base", "build", build)
	require.NoError(t, err)
	require.NoError(t, r.Push(t.Context(), tag, ground(t)))
	first, end := context.WithCancel(t.Context())
	_, want, err := r.Base(first, "builder.images.python3", tag.Name())
	require.NoError(t, err)
	end()
	next, err := r.Anew()
	require.NoError(t, err)
	img, at, err := next.Base(t.Context(), "builder.images.python3", tag.Name())
	require.NoError(t, err)
	require.Equal(t, want, at)
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	require.NoError(t, EachFile(layers[0], func(_ *tar.Header, in io.Reader) error { _, err := io.Copy(io.Discard, in); return err }))

	_, _, err = next.Base(first, "builder.images.python3", tag.Context().Name()+"@"+at.DigestStr())
	require.ErrorIs(t, err, context.Canceled, "one that nobody waits for")
}

func TestWords(t *testing.T) {
	guarded := registrytest.Guarded(t)
	plain := registrytest.Shared(t)
	use := func(c Config) error {
		r, err := Open(c)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, _, err = r.Find(ctx, "p", build, time.Now())
		if err == nil {
			_, err = r.Keep(ctx, Kept{Project: "p", Build: build, Image: empty.Image, Now: time.Now()})
		}
		return err
	}
	for name, c := range map[string]struct {
		config  Config
		setting string
		says    string
	}{
		"no credentials":      {Config{Registry: guarded.Addr + "/p", Insecure: []string{guarded.Addr}}, "builder.registry_credentials", "refuses the builder"},
		"wrong password":      {Config{Registry: guarded.Addr + "/p", Insecure: []string{guarded.Addr}, Credentials: guarded.Credentials(t, "wrong")}, "builder.registry_credentials", "refuses the builder"},
		"not there":           {Config{Registry: "127.0.0.1:1/p", Insecure: []string{"127.0.0.1:1"}}, "builder.registry", "cannot be reached"},
		"no credentials file": {Config{Registry: plain.Addr + "/p", Credentials: "/nonexistent"}, "", "builder.registry_credentials"},
		"no CA file":          {Config{Registry: plain.Addr + "/p", CA: "/nonexistent"}, "", "builder.registry_ca"},
		"no registry":         {Config{Registry: ""}, "", "builder.registry"},
		"no name":             {Config{Registry: "host/UPPER CASE"}, "", "builder.registry"},
	} {
		t.Run(name, func(t *testing.T) {
			err := use(c.config)
			require.ErrorContains(t, err, c.says)
			var e *app.Error
			if c.setting != "" {
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.setting, e.Setting)
				require.Equal(t, "network", e.Kind)
			}
		})
	}
	require.NoError(t, use(Config{Registry: guarded.Addr + "/p", Insecure: []string{guarded.Addr}, Credentials: guarded.Credentials(t, "")}))
}

// TestRenewed: credentials that were replaced count for the next build.
func TestRenewed(t *testing.T) {
	s := registrytest.Guarded(t)
	file := s.Credentials(t, "of another time")
	r, err := Open(Config{Registry: s.Addr + "/p", Insecure: []string{s.Addr}, Credentials: file})
	require.NoError(t, err)
	_, _, err = r.Find(t.Context(), "p", build, time.Now())
	require.ErrorContains(t, err, "refuses the builder")
	good, err := os.ReadFile(s.Credentials(t, ""))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, good, 0o600))
	next, err := r.Anew()
	require.NoError(t, err)
	_, _, err = next.Find(t.Context(), "p", build, time.Now())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
	next, err = r.Anew()
	require.NoError(t, err)
	_, _, err = next.Find(t.Context(), "p", build, time.Now())
	require.ErrorContains(t, err, "is no docker config.json")
}

func TestProjects(t *testing.T) {
	r, err := Open(Config{Registry: "registry.example.com/pelton/"})
	require.NoError(t, err)
	for project, want := range map[string]string{"default": "pelton/default", "a-b.c_1": "pelton/a-b.c_1", "Größe 1": "pelton/p-", "../x": "pelton/p-", "a--b": "pelton/p-"} {
		repo, err := r.Repository(project)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(repo.RepositoryStr(), want), "%s: %s", project, repo)
	}
}

func TestSBOM(t *testing.T) {
	text, err := SBOM("words@1.0", build, []Package{{"pypi", "Charset_Normalizer", "3.4"}, {"npm", "@types/node", "20.1"}, {"golang", "github.com/a/b", "v1.2.3"}, {"npm", "@types/node", "20.1"}})
	require.NoError(t, err)
	require.Contains(t, string(text), `"purl": "pkg:pypi/charset-normalizer@3.4"`)
	require.Contains(t, string(text), `"purl": "pkg:npm/%40types/node@20.1"`)
	require.Contains(t, string(text), `"purl": "pkg:golang/github.com/a/b@v1.2.3"`)
	back, err := packagesOf(text)
	require.NoError(t, err)
	require.Len(t, back, 3)
}
