//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/GoogleContainerTools/kaniko/pkg/config"

	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
	"github.com/pelton-run/pelton/builder/local"
)

// prepare lays out the context, the Dockerfile and the tools, and what this program itself needs
// of the file system that kaniko takes away: certificates, credentials for pulling.
func prepare(ctx context.Context, b spec.Build) error {
	for _, dir := range []string{spec.Context, spec.Tools, spec.Cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// Whatever user a RUN line has, it may use the caches.
	if err := os.Chmod(spec.Cache, 0o1777); err != nil {
		return err
	}
	if err := trust(); err != nil {
		return err
	}
	dir := filepath.Join(spec.Context, filepath.FromSlash(b.Below))
	if err := fetch(ctx, b.Source, b.Digest, dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(spec.Context)
	if err != nil {
		return err
	}
	defer root.Close()
	for from, to := range b.Rename {
		if _, err := root.Stat(to); errors.Is(err, os.ErrNotExist) {
			if err := root.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for name, text := range b.Files {
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	text := []byte(b.Dockerfile)
	if len(text) == 0 {
		if text, err = root.ReadFile("Dockerfile"); err != nil {
			return err
		}
	}
	if err := os.WriteFile(config.DockerfilePath, withArguments(text, b.Args), 0o600); err != nil {
		return err
	}
	if b.Installer != "" {
		fmt.Println("# fetching uv, the installer of Python packages")
		return local.FetchUV(ctx, b.Installer, filepath.Join(spec.Tools, "uv"))
	}
	return nil
}

// trust keeps the certificates that this image brings, and those of builder.build_env and builder.registry_ca, where
// kaniko does not delete them.
func trust() error {
	var all []byte
	for _, p := range []string{"/etc/ssl/certs/ca-certificates.crt", spec.Settings + "/ca.crt", spec.Pull + "/ca.crt"} {
		pem, err := os.ReadFile(p)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		all = append(append(all, pem...), '\n')
	}
	bundle := filepath.Join(spec.Work, "trusted.crt")
	if err := os.WriteFile(bundle, all, 0o644); err != nil {
		return err
	}
	return errors.Join(os.Setenv("SSL_CERT_FILE", bundle), os.Setenv("PIP_CERT", bundle), os.Setenv("DOCKER_CONFIG", spec.Pull), os.Setenv("HOME", spec.Work))
}

// fetch unpacks the source, whose digest it checks, into a folder.
func fetch(ctx context.Context, address, digest, dir string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return errors.New("the source's address cannot be used")
	}
	// The filestore is the platform's own: it is never reached by way of the proxy for packages.
	c := &http.Client{Transport: &http.Transport{}}
	resp, err := c.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, which is good for the source
		}
		return fmt.Errorf("the source cannot be fetched from the filestore at %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the source cannot be fetched: the filestore at %s answered %s", req.URL.Host, resp.Status)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return local.Unpack(resp.Body, digest, dir)
}

// withArguments declares the build arguments after each FROM: kaniko gives RUN lines no others, and
// those of an author's Dockerfile reach the package hosts as ours do. They leave no trace in the image.
func withArguments(text []byte, args map[string]string) []byte {
	names := slices.Sorted(maps.Keys(args))
	lines := ""
	for _, name := range names {
		lines += "ARG " + name + "\n"
	}
	if len(lines) == 0 {
		return text
	}
	var out strings.Builder
	from := false
	for line := range strings.Lines(string(text)) {
		out.WriteString(line)
		bare := strings.TrimSpace(line)
		if word, _, _ := strings.Cut(bare, " "); strings.EqualFold(word, "FROM") {
			from = true
		}
		if from && !strings.HasSuffix(bare, "\\") && !strings.HasPrefix(bare, "#") {
			from = false
			if !strings.HasSuffix(line, "\n") {
				out.WriteString("\n")
			}
			out.WriteString(lines)
		}
	}
	return []byte(out.String())
}
