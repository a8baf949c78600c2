package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/registrytest"
)

func TestMain(m *testing.M) { registrytest.Main(m) }

// folder makes a folder of static programs of these names.
func folder(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(src, []byte("package main\n\nfunc main() { println(\"here\") }\n"), 0o600))
	built := filepath.Join(dir, "built")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", built, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(built)
	require.NoError(t, err)
	bin := t.TempDir()
	for _, n := range names {
		require.NoError(t, os.WriteFile(filepath.Join(bin, n), data, 0o600))
	}
	return bin
}

func TestImage(t *testing.T) {
	bin := folder(t, "peltond", "executor", "wrapper", "pelton-adm")
	img, err := image(bin, "", "1.2.3")
	require.NoError(t, err)
	c, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "65532:65532", c.Config.User)
	require.Equal(t, []string{"/usr/local/bin/peltond"}, c.Config.Entrypoint)
	require.Equal(t, "1.2.3", c.Config.Labels["org.opencontainers.image.version"])
	layers, err := img.Layers()
	require.NoError(t, err)
	modes := map[string]int64{}
	for _, l := range layers {
		rc, err := l.Uncompressed()
		require.NoError(t, err)
		for tr := tar.NewReader(rc); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			modes[h.Name] = h.Mode
			require.Zero(t, h.Uid)
		}
	}
	for name, mode := range map[string]int64{"usr/local/bin/peltond": 0o755, "usr/local/bin/executor": 0o755, "usr/local/bin/wrapper": 0o755, "usr/local/bin/pelton-adm": 0o755,
		"etc/ssl/certs/ca-certificates.crt": 0o644, "etc/passwd": 0o644, "tmp/": 0o1777} {
		require.Equal(t, mode, modes[name], name)
	}
	again, err := image(bin, "", "1.2.3")
	require.NoError(t, err)
	a, err := img.Digest()
	require.NoError(t, err)
	b, err := again.Digest()
	require.NoError(t, err)
	require.Equal(t, a, b, "the same files make the same image")
}

func TestRun(t *testing.T) {
	bin, registry := folder(t, "peltond", "executor", "wrapper", "pelton-adm"), registrytest.Shared(t)
	var out, said bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-bin", bin, "-insecure", "-push", registry.Addr + "/pelton:dev"}, &out, &said))
	require.Regexp(t, `^127\.0\.0\.1:\d+/pelton@sha256:[0-9a-f]{64}\n$`, out.String())

	file := filepath.Join(t.TempDir(), "pelton.tar")
	require.NoError(t, run(t.Context(), []string{"-bin", bin, "-tar", file, "-name", "pelton:1"}, &out, &said))
	img, err := tarball.ImageFromPath(file, nil)
	require.NoError(t, err)
	h, err := img.ConfigName()
	require.NoError(t, err)
	require.NotEmpty(t, h.Hex)
}

func TestRefused(t *testing.T) {
	bin := folder(t, "peltond", "executor", "wrapper", "pelton-adm")
	other := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(other, []byte("none"), 0o600))
	text := folder(t, "peltond", "executor", "pelton-adm")
	require.NoError(t, os.WriteFile(filepath.Join(text, "wrapper"), []byte("#!/bin/sh\n"), 0o600))
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"nowhere to put it": {[]string{"-bin", bin}, "give -push REFERENCE or -tar FILE"},
		"no program":        {[]string{"-bin", folder(t, "peltond", "executor", "pelton-adm"), "-tar", "x"}, "wrapper: no such file"},
		"no administrator":  {[]string{"-bin", folder(t, "peltond", "executor", "wrapper"), "-tar", "x"}, "pelton-adm: no such file"},
		"a script":          {[]string{"-bin", text, "-tar", "x"}, "is no program for Linux"},
		"no certificates":   {[]string{"-bin", bin, "-ca", other, "-tar", "x"}, "holds no certificate in PEM"},
		"a bad reference":   {[]string{"-bin", bin, "-push", "UPPER CASE"}, "-push: "},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), c.args, io.Discard, io.Discard)
			require.Error(t, err)
			require.True(t, strings.Contains(err.Error(), c.says), err.Error())
		})
	}
}
