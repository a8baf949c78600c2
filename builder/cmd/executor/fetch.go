//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/GoogleContainerTools/kaniko/pkg/config"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
)

// fetchBase fetches the image that the build starts from: the build itself has no credentials for it.
func fetchBase(ctx context.Context, env func(string) (string, bool)) (r spec.Result, err error) {
	var f spec.Fetch
	text, _ := env(spec.FetchVariable)
	if err := spec.Decode(text, &f); err != nil {
		return r, fmt.Errorf("%s: %w", spec.FetchVariable, err)
	}
	reg, err := f.Open()
	if err == nil {
		fmt.Printf("# fetching %s\n", f.Image)
		err = lay(ctx, reg, f.Image, spec.Base)
	}
	var told *app.Error
	if errors.As(err, &told) {
		r.Error = &spec.Failure{Kind: told.Kind, Message: told.Message, Host: told.Host, Setting: told.Setting}
	}
	return r, err
}

// lay writes an image as an OCI layout: its layers stay as they are, so that what is made of it shares them.
func lay(ctx context.Context, reg *images.Registry, digest, dir string) error {
	img, err := reg.Exactly(ctx, digest)
	if err != nil {
		return err
	}
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return p.AppendImage(img)
}

type retrieve = func(image string, opts config.RegistryOptions, platform string) (v1.Image, error)

// there takes the image of a digest from a folder that lay wrote, and others from where they were taken before.
func there(dir, digest string, others retrieve) retrieve {
	return func(image string, opts config.RegistryOptions, platform string) (v1.Image, error) {
		if image != digest {
			return others(image, opts, platform)
		}
		d, err := name.NewDigest(digest)
		if err != nil {
			return nil, err
		}
		h, err := v1.NewHash(d.DigestStr())
		if err != nil {
			return nil, err
		}
		p, err := layout.FromPath(dir)
		if err != nil {
			return nil, fmt.Errorf("the image that the build starts from was not fetched: %w", err)
		}
		return p.Image(h)
	}
}
