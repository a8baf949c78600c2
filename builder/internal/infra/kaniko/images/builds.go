package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// Labels of an action's image.
const (
	LabelBuild    = "org.pelton.build"
	LabelMetadata = "org.pelton.metadata"
	LabelLock     = "org.pelton.lock"
	LabelDeps     = "org.pelton.deps" // keys, with commas, of what it shares with other builds
	LabelRevision = "org.opencontainers.image.revision"
	LabelBase     = "org.opencontainers.image.base.digest"
	LabelBaseName = "org.opencontainers.image.base.name"
)

const foundAt = "org.pelton.found-unix-ms"

// Artifact is how a build's image is named in messages.
func Artifact(d name.Digest) string { return "image://" + d.Name() }

// Find is the image of a build, false when there is none. What was found counts as made again: the
// note is written before the image is named to anybody.
func (r *Registry) Find(ctx context.Context, project, build string, now time.Time) (name.Digest, bool, error) {
	tag, err := r.Tag(project, "build", build)
	if err != nil {
		return name.Digest{}, false, err
	}
	h, ok, err := r.Head(ctx, tag)
	if err != nil || !ok {
		return name.Digest{}, false, err
	}
	return tag.Digest(h.String()), true, r.note(ctx, project, build, now)
}

// Kept is an image to be kept, with what belongs to it.
type Kept struct {
	Project string
	Build   string // digest
	Image   v1.Image
	SBOM    []byte   // in CycloneDX
	Shares  []string // keys of dependencies that other builds may share
	Now     time.Time
}

// Keep pushes the image of a build. Its tag comes last: who finds the image finds all that belongs to it.
func (r *Registry) Keep(ctx context.Context, k Kept) (name.Digest, error) {
	tag, err := r.Tag(k.Project, "build", k.Build)
	if err != nil {
		return name.Digest{}, err
	}
	h, err := k.Image.Digest()
	if err != nil {
		return name.Digest{}, err
	}
	d := tag.Digest(h.String())
	layers, err := k.Image.Layers()
	if err != nil {
		return name.Digest{}, r.words(tag.Context(), err)
	}
	g, all := errgroup.WithContext(ctx)
	g.Go(func() error { return r.attach(all, d, k.Image, k.SBOM) })
	g.Go(func() error { return r.note(all, k.Project, k.Build, k.Now) }) // an image without one counts as old
	for _, key := range k.Shares {
		g.Go(func() error { return r.use(all, k.Project, key, k.Build) })
	}
	for _, l := range layers {
		g.Go(func() error { return r.words(tag.Context(), r.push.Upload(all, tag.Context(), l)) })
	}
	if err := g.Wait(); err != nil {
		return name.Digest{}, err
	}
	return d, r.Push(ctx, tag, k.Image)
}

// note writes when a build was made or asked for. An image cannot carry it: its digest would change.
func (r *Registry) note(ctx context.Context, project, build string, now time.Time) error {
	tag, err := r.Tag(project, "found", build)
	if err != nil {
		return err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.pelton.found.v1+json")
	return r.Push(ctx, tag, mutate.Annotations(img, map[string]string{foundAt: strconv.FormatInt(now.UnixMilli(), 10), LabelBuild: build}).(v1.Image))
}

func (r *Registry) noted(ctx context.Context, tag name.Tag) (at time.Time, err error) {
	img, err := r.Image(ctx, tag)
	if err != nil || img == nil {
		return time.Time{}, err
	}
	m, err := img.Manifest()
	if err != nil {
		return time.Time{}, err
	}
	ms, err := strconv.ParseInt(m.Annotations[foundAt], 10, 64)
	if err != nil {
		return time.Time{}, nil //nolint:nilerr // no note of ours: old
	}
	return time.UnixMilli(ms), nil
}

// Drop deletes a build's image, what is attached to it, and the dependencies that no other build of
// the project is put on, unless the build was made or asked for at or after a time. It reports
// whether the image is gone. The registry's own collector frees the space.
func (r *Registry) Drop(ctx context.Context, project, build string, before time.Time) (bool, error) {
	tag, err := r.Tag(project, "build", build)
	if err != nil {
		return false, err
	}
	note, err := r.Tag(project, "found", build)
	if err != nil {
		return false, err
	}
	at, err := r.noted(ctx, note)
	if err != nil {
		return false, err
	}
	if !at.IsZero() && at.UnixMilli() >= before.UnixMilli() {
		return false, nil
	}
	img, err := r.Image(ctx, tag)
	if err != nil {
		return false, err
	}
	var keys []string
	if keys, err = r.uses(ctx, project, build); err != nil {
		return false, err
	}
	if img != nil {
		c, err := img.ConfigFile()
		if err != nil {
			return false, r.words(tag.Context(), err)
		}
		if of := c.Config.Labels[LabelDeps]; of != "" {
			for _, key := range strings.Split(of, ",") {
				if !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
		}
		h, err := img.Digest()
		if err != nil {
			return false, err
		}
		// What is attached goes first: it can only be found by way of the image.
		if err := r.detach(ctx, tag.Digest(h.String())); err != nil {
			return false, err
		}
		if err := r.delete(ctx, tag.Digest(h.String())); err != nil {
			return false, err
		}
	}
	var errs []error
	for _, key := range keys {
		errs = append(errs, r.release(ctx, project, key, build))
	}
	// Last the note: an interrupted drop begins again with it.
	h, ok, err := r.Head(ctx, note)
	if err == nil && ok {
		err = r.delete(ctx, note.Digest(h.String()))
	}
	return true, errors.Join(append(errs, err)...)
}

// Use notes that a build is about to make dependencies: should it fail, they are released when it is dropped.
func (r *Registry) Use(ctx context.Context, project, key, build string) error {
	return r.use(ctx, project, key, build)
}

// uses are the keys of dependencies that notes of a build name. A build that failed has no image that would tell.
func (r *Registry) uses(ctx context.Context, project, build string) (keys []string, err error) {
	repo, err := r.Repository(project)
	if err != nil {
		return nil, err
	}
	b, err := hexOf(build)
	if err != nil {
		return nil, err
	}
	tags, err := r.pull.List(ctx, repo)
	if err != nil && !gone(err) { // a project without images
		return nil, r.words(repo, err)
	}
	for _, t := range tags {
		if !strings.HasPrefix(t, "use-") || !strings.HasSuffix(t, "-"+b) {
			continue
		}
		img, err := r.Image(ctx, repo.Tag(t))
		if err != nil {
			return nil, err
		}
		if img == nil {
			continue
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, r.words(repo, err)
		}
		if key := m.Annotations[LabelDeps]; key != "" {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// use notes that a build shares dependencies with others. It is noted before the image is kept: at worst a note
// is too many. Without it they may be taken away, which costs the time to make them again.
func (r *Registry) use(ctx context.Context, project, key, build string) error {
	tag, err := r.useTag(project, key, build)
	if err != nil {
		return err
	}
	if _, ok, err := r.Head(ctx, tag); err != nil || ok {
		return err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.pelton.use.v1+json")
	return r.Push(ctx, tag, mutate.Annotations(img, map[string]string{LabelDeps: key, LabelBuild: build}).(v1.Image))
}

// useTag is use-<16 hex of the dependencies>-<build's hex>: the uses of one kind have a common beginning.
func (r *Registry) useTag(project, key, build string) (name.Tag, error) {
	repo, err := r.Repository(project)
	if err != nil {
		return name.Tag{}, err
	}
	k, err := hexOf(key)
	if err != nil {
		return name.Tag{}, err
	}
	b, err := hexOf(build)
	return repo.Tag(fmt.Sprintf("use-%s-%s", k[:16], b)), err
}

// release takes a build's note of use away, and with the last one the dependencies. A build that is
// about to use them loses nothing: it has their layers, or makes them again.
func (r *Registry) release(ctx context.Context, project, key, build string) error {
	tag, err := r.useTag(project, key, build)
	if err != nil {
		return err
	}
	if h, ok, err := r.Head(ctx, tag); err != nil {
		return err
	} else if ok {
		if err := r.delete(ctx, tag.Digest(h.String())); err != nil {
			return err
		}
	}
	tags, err := r.pull.List(ctx, tag.Context())
	if err != nil {
		return r.words(tag.Context(), err)
	}
	prefix := tag.TagStr()[:len("use-")+16+1]
	for _, t := range tags {
		if len(t) > len(prefix) && t[:len(prefix)] == prefix {
			return nil
		}
	}
	deps, err := r.Tag(project, "deps", key)
	if err != nil {
		return err
	}
	h, ok, err := r.Head(ctx, deps)
	if err != nil || !ok {
		return err
	}
	if err := r.detach(ctx, deps.Digest(h.String())); err != nil {
		return err
	}
	return r.delete(ctx, deps.Digest(h.String()))
}

// Forget deletes the image of a tag that is no longer needed.
func (r *Registry) Forget(ctx context.Context, tag name.Tag) error {
	h, ok, err := r.Head(ctx, tag)
	if err != nil || !ok {
		return err
	}
	d := tag.Digest(h.String())
	return errors.Join(r.detach(ctx, d), r.delete(ctx, d))
}
