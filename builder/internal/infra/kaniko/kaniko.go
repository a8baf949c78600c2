// Package kaniko builds actions as container images in a cluster. What needs an author's commands (system
// packages, dependencies, a compiler, a Dockerfile) is a Kubernetes Job that links kaniko; what does
// not, above all a change of the code alone, is put together by this process, in the registry.
package kaniko

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/local"
)

// Sources is where orders' sources are.
type Sources interface {
	// Open opens the packed source of an order.
	Open(ctx context.Context, project, digest string) (io.ReadCloser, error)
	// Address is a URL by which a Job gets the source, and nothing else, for a while.
	Address(ctx context.Context, project, digest string, expires time.Duration) (string, error)
}

// Builder is an app.Backend. Safe for concurrent use.
type Builder struct {
	s       Settings
	sources Sources
	reg     *images.Registry
	cluster *cluster
	now     func() time.Time
	log     *slog.Logger
	wrapper v1.Layer

	keys sync.Map // what is being made now: chan struct{} of one place

	mu       sync.Mutex
	env      environment
	kept     map[string]map[string][]byte // the secrets of Jobs as they are in the cluster
	packages map[string][]images.Package  // of dependencies, by digest
}

var _ app.Backend = (*Builder)(nil)

// New reads the settings and what they name; neither cluster nor registry is asked for anything.
func New(s Settings, sources Sources, now func() time.Time, log *slog.Logger) (*Builder, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	b := &Builder{s: s, sources: sources, now: now, log: log, packages: map[string][]images.Package{}}
	var err error
	if b.env, err = s.environment(); err != nil {
		return nil, err
	}
	if b.reg, err = images.Open(s.images()); err != nil {
		return nil, err
	}
	if b.cluster, err = connect(s.Kubeconfig, s.Namespace); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(s.Wrapper)
	if err != nil {
		return nil, fmt.Errorf("the wrapper that goes into images: %w", err)
	}
	b.wrapper, err = images.Layer([]images.File{{Path: images.Wrapper, Mode: 0o755, Data: program}})
	return b, err
}

// lock waits until nobody else has the key, or ctx ends.
func (b *Builder) lock(ctx context.Context, key string) (unlock func(), err error) {
	m, _ := b.keys.LoadOrStore(key, make(chan struct{}, 1))
	turn := m.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// build is one order under way.
type build struct {
	*Builder
	reg   *images.Registry
	clock *limit
	o     app.Order
	m     material
	r     app.Result
	base  name.Digest
	deps  []string // keys of what other builds may share with this one
}

// Build implements app.Backend.
func (b *Builder) Build(ctx context.Context, o app.Order) (app.Result, error) {
	limit, clock := limited(ctx, b.s.Timeout)
	defer clock.stop()
	reg, err := b.reg.Anew()
	if err != nil {
		return app.Result{}, err
	}
	j := &build{Builder: b, reg: reg, clock: clock, o: o, r: app.Result{Phases: map[string]time.Duration{}}}
	err = j.run(limit)
	if err == nil {
		return j.r, nil
	}
	var told *app.Error
	switch {
	case errors.Is(context.Cause(ctx), app.ErrCancelled):
		err = app.Cancelled()
	case ctx.Err() != nil:
		return j.r, err // this process stops; the Job goes on, and is found again
	case limit.Err() != nil:
		err = app.TimedOut()
	case !errors.As(err, &told):
		err = &app.Error{Kind: "internal", Message: err.Error()}
	}
	// Whatever Job there is, nobody waits for it any more.
	clean, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	if gone := b.cluster.removeOrder(clean, o.ID); gone != nil {
		b.log.Warn("a build's Jobs cannot be removed; they end by themselves", "order", o.ID, "err", gone)
	}
	return j.r, err
}

// lock is the builder's; while another build has the key, no time counts.
func (j *build) lock(ctx context.Context, key string) (unlock func(), err error) {
	defer j.clock.wait()()
	return j.Builder.lock(ctx, key)
}

func (j *build) phase(name string, f func() error) error {
	start := time.Now()
	err := f()
	j.r.Phases[name] += time.Since(start)
	return err
}

func (j *build) run(ctx context.Context) error {
	unlock, err := j.lock(ctx, j.o.Project+"/"+j.o.Build)
	if err != nil {
		return err
	}
	defer unlock()
	if !j.o.Force {
		d, found, err := j.reg.Find(ctx, j.o.Project, j.o.Build, j.now())
		if err != nil {
			return err
		}
		if found {
			j.r.Artifact, j.r.Cached = images.Artifact(d), true
			return nil
		}
	}
	dir := filepath.Join(j.s.Home, "cache", "src", j.o.ID)
	defer os.RemoveAll(dir)
	if err := j.phase("fetch", func() error { return j.fetch(ctx, dir) }); err != nil {
		return fmt.Errorf("source of the order: %w", err)
	}
	j.m = material{action: j.o.Action, files: os.DirFS(dir), source: j.o.Source}
	var ground v1.Image
	var at name.Digest
	err = j.phase("dependencies", func() (err error) { ground, at, err = j.ground(ctx); return err })
	if err != nil {
		return err
	}
	var code v1.Layer
	if j.o.Action.Runtime != "container" {
		phase := "code"
		if compiled(j.o.Action) {
			phase = "compile"
		}
		if err := j.phase(phase, func() (err error) { code, err = j.code(ctx); return err }); err != nil {
			return err
		}
	}
	return j.phase("pack", func() error { return j.keep(ctx, ground, at, code) })
}

func (j *build) fetch(ctx context.Context, dir string) error {
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o711), os.RemoveAll(dir)); err != nil {
		return err
	}
	f, err := j.sources.Open(ctx, j.o.Project, j.o.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	return local.Unpack(f, j.o.Source, dir)
}

// setting and image are what a runtime's programs run on.
func (s *Settings) ground(runtime string) (setting, image string) {
	switch runtime {
	case "nodejs":
		return "builder.images.nodejs", s.Images.Nodejs
	case "go":
		return "builder.images.go", s.Images.Go
	}
	return "builder.images.python3", s.Images.Python3
}

// ground is the image that the code is put on, and where it is.
func (j *build) ground(ctx context.Context) (v1.Image, name.Digest, error) {
	var base v1.Image
	layers := 0
	if !ownDockerfile(j.m.files) {
		setting, image := j.s.ground(j.o.Action.Runtime)
		var err error
		if base, j.base, err = j.reg.Base(ctx, setting, image); err != nil {
			return nil, name.Digest{}, err
		}
		m, err := base.Manifest()
		if err != nil {
			return nil, name.Digest{}, err
		}
		j.m.ground, layers = j.base.Name(), len(m.Layers)
	}
	s, err := dependencies(j.m)
	if err != nil {
		return nil, name.Digest{}, err
	}
	if s == nil {
		return base, j.base, nil
	}
	j.r.Notes = append(j.r.Notes, unlocked(j.o.Action, j.m.files)...)
	j.deps = append(j.deps, s.Key)
	return j.made(ctx, s, layers)
}

// made is what a stage makes, made once for all builds of a project that need the same.
func (j *build) made(ctx context.Context, s *stage, layers int) (v1.Image, name.Digest, error) {
	unlock, err := j.lock(ctx, j.o.Project+"/"+s.Kind+"/"+s.Key)
	if err != nil {
		return nil, name.Digest{}, err
	}
	defer unlock()
	tag, err := j.reg.Tag(j.o.Project, s.Kind, s.Key)
	if err != nil {
		return nil, name.Digest{}, err
	}
	if !j.o.Force {
		img, err := j.reg.Image(ctx, tag)
		if err != nil {
			return nil, name.Digest{}, err
		}
		if img != nil {
			h, err := img.Digest()
			return img, tag.Digest(h.String()), err
		}
	}
	if s.Kind == "deps" {
		if err := j.reg.Use(ctx, j.o.Project, s.Key, j.o.Build); err != nil {
			return nil, name.Digest{}, err
		}
	}
	h, err := j.job(ctx, s, layers)
	if err != nil {
		return nil, name.Digest{}, err
	}
	d := tag.Digest(h)
	img, err := j.reg.Image(ctx, d)
	if err == nil && img == nil {
		err = fmt.Errorf("the image %s, which was just pushed, is not in the registry", d)
	}
	return img, d, err
}

// code is the layer of the bundle.
func (j *build) code(ctx context.Context) (v1.Layer, error) {
	if !compiled(j.o.Action) {
		files, err := bundle(j.m, j.o.Build)
		if err != nil {
			return nil, err
		}
		return images.Layer(files)
	}
	s, err := j.compile(ctx)
	if err != nil {
		return nil, err
	}
	img, _, err := j.made(ctx, s, 0)
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != 1 {
		return nil, fmt.Errorf("the compile left %d layers, one was wanted", len(layers))
	}
	return layers[0], nil
}

// compile is the stage that makes the bundle.
func (j *build) compile(ctx context.Context) (*stage, error) {
	if j.o.Action.Runtime != "go" {
		_, tools, err := j.reg.Base(ctx, "builder.images.nodejs", j.s.Images.Nodejs)
		if err != nil {
			return nil, err
		}
		j.m.tools = tools.Name()
		return typescript(j.m, j.o.Build)
	}
	_, tools, err := j.reg.Base(ctx, "builder.images.go_build", j.s.Images.GoBuild)
	if err != nil {
		return nil, err
	}
	j.m.tools = tools.Name()
	caches, err := goCaches(j.m)
	if err != nil {
		return nil, err
	}
	j.deps = append(j.deps, caches.Key)
	_, at, err := j.made(ctx, caches, 0)
	if err != nil {
		return nil, err
	}
	j.m.tools = at.Name()
	return goCompile(j.m, j.o.Build)
}
