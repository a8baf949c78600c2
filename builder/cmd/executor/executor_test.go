//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

func TestArguments(t *testing.T) {
	args := map[string]string{"HTTPS_PROXY": "http://proxy:1", "A": "1"}
	const declared = "ARG A\nARG HTTPS_PROXY\n"
	for name, c := range map[string]struct{ in, out string }{
		"one stage":      {"FROM a\nRUN b\n", "FROM a\n" + declared + "RUN b\n"},
		"two stages":     {"FROM a AS x\nRUN b\nfrom c\nRUN d\n", "FROM a AS x\n" + declared + "RUN b\nfrom c\n" + declared + "RUN d\n"},
		"a global one":   {"ARG V=1\nFROM a:$V\nRUN b\n", "ARG V=1\nFROM a:$V\n" + declared + "RUN b\n"},
		"over two lines": {"FROM \\\n  a\nRUN b\n", "FROM \\\n  a\n" + declared + "RUN b\n"},
		"the last line":  {"FROM a", "FROM a\n" + declared},
		"no FROM at all": {"RUN b\n", "RUN b\n"},
		"in a comment":   {"# FROM x\nFROM a\n", "# FROM x\nFROM a\n" + declared},
	} {
		require.Equal(t, c.out, string(withArguments([]byte(c.in), args)), name)
		require.Equal(t, c.in, string(withArguments([]byte(c.in), nil)), name)
	}
}

func TestProblem(t *testing.T) {
	require.Nil(t, problem(nil))
	for name, c := range map[string]struct {
		err        error
		kind, says string
	}{
		"disk":       {errors.New("write /x: no space left on device"), "limit", "builder.limits.disk"},
		"command":    {errors.New("error building stage: failed to execute command: waiting for process to exit: exit status 3"), "run", "exit status 3"},
		"killed":     {errors.New("waiting for process to exit: signal: killed"), "limit", "builder.limits.memory"},
		"image":      {errors.New("GET https://r/v2/x: MANIFEST_UNKNOWN: manifest unknown"), "network", "cannot be fetched"},
		"Dockerfile": {errors.New("parsing dockerfile: dockerfile parse error line 1: unknown instruction: FRM"), "compile", "Dockerfile: "},
		"a file":     {fmt.Errorf("copy: %w", &os.PathError{Op: "lstat", Path: spec.Context + "/gone.txt", Err: os.ErrNotExist}), "compile", "gone.txt, which is not in the action's folder"},
		"other":      {errors.New("odd"), "internal", "odd"},
	} {
		f := problem(c.err)
		require.Equal(t, c.kind, f.Kind, name)
		require.Contains(t, f.Message, c.says, name)
	}
}

func TestInstalled(t *testing.T) {
	layer := func(files ...images.File) []images.File { return files }
	img := empty.Image
	for _, files := range [][]images.File{
		layer(images.File{Path: "var/lib/dpkg/status", Data: []byte("Package: base\nVersion: 1\n")}),
		layer(images.File{Path: "var/lib/dpkg/status", Data: []byte("Package: base\nVersion: 1\n\nPackage: ffmpeg\nStatus: install ok installed\nVersion: 7:5.1\n")}),
		layer(
			images.File{Path: "pelton/deps/six-1.17.0.dist-info/METADATA", Data: []byte("Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n\nName: not this\n")},
			images.File{Path: "pelton/deps/node_modules/.package-lock.json", Data: []byte(`{"packages": {"node_modules/a": {"version": "1.0.0"}, "node_modules/a/node_modules/@b/c": {"version": "2.0.0"}}}`)},
			images.File{Path: "somewhere/else-1.dist-info/METADATA", Data: []byte("Name: else\nVersion: 1\n")},
		),
	} {
		l, err := images.Layer(files)
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, l)
		require.NoError(t, err)
	}
	got, err := installed(img, 1)
	require.NoError(t, err)
	require.ElementsMatch(t, []images.Package{{Type: "pypi", Name: "six", Version: "1.17.0"}, {Type: "npm", Name: "a", Version: "1.0.0"}, {Type: "npm", Name: "@b/c", Version: "2.0.0"},
		{Type: "deb", Name: "base", Version: "1"}, {Type: "deb", Name: "ffmpeg", Version: "7:5.1"}}, got)

	self, err := os.Executable()
	require.NoError(t, err)
	f, err := os.Open(self)
	require.NoError(t, err)
	defer f.Close()
	modules, err := golang(f)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(modules), "github.com/google/go-containerregistry")
}

func TestFetch(t *testing.T) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "a/b.txt", Mode: 0o644, Size: 2}))
	_, err := w.Write([]byte("hi"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	sum := sha256.Sum256(packed.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/source" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(packed.Bytes())
	}))
	defer s.Close()
	dir := filepath.Join(t.TempDir(), "x")
	require.NoError(t, fetch(t.Context(), s.URL+"/source?signature=hidden", digest, dir))
	data, err := os.ReadFile(filepath.Join(dir, "a", "b.txt"))
	require.NoError(t, err)
	require.Equal(t, "hi", string(data))
	require.ErrorContains(t, fetch(t.Context(), s.URL+"/source", "sha256:other", t.TempDir()), "damaged")
	require.ErrorContains(t, fetch(t.Context(), s.URL+"/gone", digest, t.TempDir()), "404")
	err = fetch(t.Context(), "http://127.0.0.1:1/?signature=hidden", digest, t.TempDir())
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.NotContains(t, err.Error(), "hidden")
}

func TestUsage(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	require.Equal(t, 2, run(t.Context(), nil, none))
	require.Equal(t, 2, run(t.Context(), []string{"other"}, none))
}
