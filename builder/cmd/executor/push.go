//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

// push pushes what kaniko made, by digest and with a tag, and attaches what is in it.
func push(ctx context.Context, env func(string) (string, bool)) (r spec.Result, err error) {
	var p spec.Push
	text, _ := env(spec.PushVariable)
	if err := spec.Decode(text, &p); err != nil {
		return r, fmt.Errorf("%s: %w", spec.PushVariable, err)
	}
	start := time.Now()
	err = func() error {
		img, err := tarball.ImageFromPath(spec.Image, nil)
		if err != nil {
			return fmt.Errorf("read the image that was built: %w", err)
		}
		reg, err := p.Open()
		if err != nil {
			return err
		}
		tag, err := reg.Tag(p.Project, p.Kind, p.Key)
		if err != nil {
			return err
		}
		packages, err := installed(img, p.Ground)
		if err != nil {
			return fmt.Errorf("read what was installed: %w", err)
		}
		sbom, err := images.SBOM(p.Subject, p.Key, packages)
		if err != nil {
			return err
		}
		fmt.Printf("# pushing to %s\n", tag)
		d, err := reg.PushWith(ctx, tag, img, sbom)
		r.Digest = d.DigestStr()
		return err
	}()
	r.Phases = map[string]int64{"push": time.Since(start).Milliseconds()}
	var told *app.Error
	if errors.As(err, &told) {
		r.Error = &spec.Failure{Kind: told.Kind, Message: told.Message, Host: told.Host, Setting: told.Setting}
	}
	return r, err
}

// maxList bounds what is read of one file that lists packages, and maxProgram of a program, in bytes.
const (
	maxList    = 64 << 20
	maxProgram = 512 << 20
)

// installed are the packages in the layers above the ground, read from what package managers leave
// behind: what is there, not what was asked for.
func installed(img v1.Image, ground int) (out []images.Package, err error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	var debian []images.Package
	for _, l := range layers[min(ground, len(layers)):] {
		err := images.EachFile(l, func(h *tar.Header, r io.Reader) error {
			var err error
			var found []images.Package
			dir, base := path.Split(h.Name)
			switch {
			case strings.HasPrefix(h.Name, images.Deps+"/") && base == "METADATA" && strings.HasSuffix(dir, ".dist-info/"):
				found, err = fields(r, "pypi", "Name:", "Version:")
			case h.Name == images.Deps+"/node_modules/.package-lock.json":
				found, err = npm(r)
			case strings.HasPrefix(h.Name, images.Bundle+"/bin/"):
				found, err = golang(r)
			case h.Name == "var/lib/dpkg/status":
				debian, err = fields(r, "deb", "Package:", "Version:")
			}
			out = append(out, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return append(out, debian...), nil
}

// fields reads stanzas of "Name: value" lines. Of Python's METADATA there is one, which ends where
// the description begins.
func fields(r io.Reader, kind, name, version string) (out []images.Package, err error) {
	var p images.Package
	done := func() {
		if p.Name != "" && p.Version != "" {
			out = append(out, p)
		}
		p = images.Package{Type: kind}
	}
	done()
	lines := bufio.NewScanner(io.LimitReader(r, maxList))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			done()
			if kind == "pypi" {
				return out, nil
			}
		case strings.HasPrefix(line, name):
			p.Name = strings.TrimSpace(line[len(name):])
		case strings.HasPrefix(line, version):
			p.Version = strings.TrimSpace(line[len(version):])
		}
	}
	done()
	return out, lines.Err()
}

// npm reads the lock that npm leaves in node_modules.
func npm(r io.Reader) (out []images.Package, err error) {
	var lock struct {
		Packages map[string]struct{ Name, Version string } `json:"packages"`
	}
	if err := json.NewDecoder(io.LimitReader(r, maxList)).Decode(&lock); err != nil {
		return nil, nil //nolint:nilerr // an author may have written it: then it lists nothing
	}
	for at, p := range lock.Packages {
		if i := strings.LastIndex(at, "node_modules/"); p.Name == "" && i >= 0 {
			p.Name = at[i+len("node_modules/"):]
		}
		out = append(out, images.Package{Type: "npm", Name: p.Name, Version: p.Version})
	}
	return out, nil
}

// golang reads the modules that a program says it is made of.
func golang(r io.Reader) (out []images.Package, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxProgram))
	if err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		return nil, nil //nolint:nilerr // no program of Go
	}
	out = append(out, images.Package{Type: "golang", Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		out = append(out, images.Package{Type: "golang", Name: m.Path, Version: m.Version})
	}
	return out, nil
}
