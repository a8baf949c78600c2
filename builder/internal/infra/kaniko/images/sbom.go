package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// SBOMType is the media type of a software bill of materials: CycloneDX 1.5 as JSON.
const SBOMType types.MediaType = "application/vnd.cyclonedx+json"

// maxSBOM bounds what is read back of one, in bytes.
const maxSBOM = 32 << 20

// Package is one thing that an image holds.
type Package struct {
	Type    string // of a package URL: pypi, npm, golang, deb, oci
	Name    string
	Version string
}

// URL is the package's address, https://github.com/package-url/purl-spec.
func (p Package) URL() string {
	parts := strings.Split(p.Name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	n := strings.ReplaceAll(strings.Join(parts, "/"), "@", "%40")
	switch p.Type {
	case "pypi":
		n = strings.ReplaceAll(strings.ToLower(n), "_", "-")
	case "deb":
		n = "debian/" + n
	}
	return "pkg:" + p.Type + "/" + n + "@" + url.PathEscape(p.Version)
}

type bom struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   bomMeta     `json:"metadata"`
	Components []component `json:"components"`
}

type bomMeta struct {
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref,omitempty"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	PURL    string `json:"purl,omitempty"`
}

// SBOM writes what an image holds, in CycloneDX. The same packages make the same text.
func SBOM(subject, version string, packages []Package) ([]byte, error) {
	seen := map[string]bool{}
	out := bom{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: bomMeta{component{Type: "application", Name: subject, Version: version}}, Components: []component{}}
	for _, p := range packages {
		purl := p.URL()
		if seen[purl] {
			continue
		}
		seen[purl] = true
		kind := "library"
		if p.Type == "oci" {
			kind = "container"
		}
		out.Components = append(out.Components, component{Type: kind, Ref: purl, Name: p.Name, Version: p.Version, PURL: purl})
	}
	sort.Slice(out.Components, func(i, j int) bool { return out.Components[i].Ref < out.Components[j].Ref })
	return json.MarshalIndent(out, "", " ")
}

// packagesOf reads an SBOM of ours back.
func packagesOf(data []byte) ([]Package, error) {
	var b bom
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, err
	}
	var out []Package
	for _, c := range b.Components {
		t, _, _ := strings.Cut(strings.TrimPrefix(c.PURL, "pkg:"), "/")
		out = append(out, Package{t, c.Name, c.Version})
	}
	return out, nil
}

// Attach attaches an SBOM to an image as an OCI referrer; registries without referrers get the tag
// that the OCI specification falls back to, sha256-<hex of the image>.
func (r *Registry) Attach(ctx context.Context, subject name.Digest, img v1.Image, sbom []byte) error {
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	mt, err := img.MediaType()
	if err != nil {
		return err
	}
	h, err := v1.NewHash(subject.DigestStr())
	if err != nil {
		return err
	}
	a := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), SBOMType)
	if a, err = mutate.Append(a, mutate.Addendum{Layer: static.NewLayer(sbom, SBOMType)}); err != nil {
		return err
	}
	a = mutate.Subject(a, v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(raw))}).(v1.Image)
	d, err := a.Digest()
	if err != nil {
		return err
	}
	return r.Push(ctx, subject.Context().Digest(d.String()), a)
}

// referrers are the manifests that say they are about an image.
func (r *Registry) referrers(ctx context.Context, subject name.Digest) ([]v1.Descriptor, error) {
	idx, err := remote.Referrers(subject, remote.WithContext(ctx), remote.Reuse(r.pull))
	if err != nil {
		return nil, r.words(subject.Context(), err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	return m.Manifests, nil
}

// Packages reads the SBOM that is attached to an image; none is no package.
func (r *Registry) Packages(ctx context.Context, subject name.Digest) ([]Package, error) {
	all, err := r.referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		img, err := r.Image(ctx, subject.Context().Digest(d.Digest.String()))
		if err != nil {
			return nil, err
		}
		if img == nil {
			continue
		}
		layers, err := img.Layers()
		if err != nil {
			return nil, err
		}
		if len(layers) != 1 {
			continue
		}
		if mt, err := layers[0].MediaType(); err != nil || mt != SBOMType {
			continue
		}
		rc, err := layers[0].Compressed()
		if err != nil {
			return nil, r.words(subject.Context(), err)
		}
		data, err := io.ReadAll(io.LimitReader(rc, maxSBOM))
		rc.Close()
		if err != nil {
			return nil, r.words(subject.Context(), err)
		}
		return packagesOf(bytes.TrimSpace(data))
	}
	return nil, nil
}

// detach deletes what is attached to an image.
func (r *Registry) detach(ctx context.Context, subject name.Digest) error {
	all, err := r.referrers(ctx, subject)
	if err != nil {
		return err
	}
	for _, d := range all {
		if err := r.delete(ctx, subject.Context().Digest(d.Digest.String())); err != nil {
			return fmt.Errorf("what is attached to %s: %w", subject, err)
		}
	}
	tag := subject.Context().Tag(strings.Replace(subject.DigestStr(), ":", "-", 1))
	h, ok, err := r.Head(ctx, tag)
	if err != nil || !ok {
		return err
	}
	return r.delete(ctx, tag.Digest(h.String()))
}
