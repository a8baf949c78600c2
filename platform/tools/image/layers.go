package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// programs are those of the image, in the order of their layers: what changes least is lowest.
var programs = []string{"wrapper", "executor", "pelton-adm", "peltond"}

// certificates are where systems keep theirs.
var certificates = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// image is the platform's image: a layer of the base's few files, and one for each program, so that
// a program that did not change is not pushed again. The same files make the same digest.
func image(bin, ca, version string) (v1.Image, error) {
	base, err := ground(ca)
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{base}
	arch := ""
	for _, p := range programs {
		path := filepath.Join(bin, p)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if arch, err = static(path, data, arch); err != nil {
			return nil, err
		}
		l, err := layer([]entry{{name: "usr/local/bin/" + p, mode: 0o755, data: data}})
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, layers...); err != nil {
		return nil, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	c.Config = v1.Config{
		Entrypoint: []string{"/usr/local/bin/peltond"},
		User:       "65532:65532",
		WorkingDir: "/",
		Env:        []string{"PATH=/usr/local/bin:/usr/bin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels:     map[string]string{"org.opencontainers.image.title": "pelton", "org.opencontainers.image.version": version},
	}
	return mutate.ConfigFile(img, c)
}

// static tells the processor that a program is for, and refuses one that needs an interpreter, which
// the image does not have.
func static(path string, data []byte, others string) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("%s is no program for Linux: build it with GOOS=linux CGO_ENABLED=0", path)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s is not static: build it with CGO_ENABLED=0", path)
		}
	}
	arch, ok := map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}[f.Machine]
	if !ok {
		return "", fmt.Errorf("%s is for %s: the image is made for amd64 and arm64", path, f.Machine)
	}
	if others != "" && arch != others {
		return "", fmt.Errorf("%s is for %s, the programs before it are for %s", path, arch, others)
	}
	return arch, nil
}

// ground is what programs expect of a system: names of users, certificates, a folder for temporary files.
func ground(ca string) (v1.Layer, error) {
	if ca == "" {
		for _, p := range certificates {
			if _, err := os.Stat(p); err == nil {
				ca = p
				break
			}
		}
	}
	if ca == "" {
		return nil, fmt.Errorf("this machine has no CA certificates at %s: give -ca FILE", strings.Join(certificates, ", "))
	}
	trusted, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	if !bytes.Contains(trusted, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, fmt.Errorf("-ca: %s holds no certificate in PEM", ca)
	}
	return layer([]entry{
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: trusted},
		{name: "tmp/", mode: 0o1777},
	})
}

type entry struct {
	name string // a folder's ends in /
	mode int64
	data []byte
}

// layer is a layer of root's files without times, with the folders above them.
func layer(entries []entry) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{}
	for _, e := range entries {
		for i := range e.name {
			if dir := e.name[:i+1]; e.name[i] == '/' && dir != e.name && !made[dir] {
				made[dir] = true
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
					return nil, err
				}
			}
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.data))}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag, made[e.name] = tar.TypeDir, true
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}
