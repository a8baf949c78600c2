package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko"
	"github.com/pelton-run/pelton/builder/internal/infra/s3files"
	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Kaniko are the settings of the backend that builds in a cluster.
type Kaniko = kaniko.Settings

// KanikoImages and KanikoLimits are parts of them.
type (
	KanikoImages = kaniko.Images
	KanikoLimits = kaniko.Limits
)

// newBackend is the backend that the settings choose.
func newBackend(cfg Config, deps Deps) (app.Backend, error) {
	sources := sources{cfg}
	if cfg.Kaniko != nil {
		if cfg.S3 == nil {
			return nil, fault.InvalidField("files", "is a folder of this machine while builder.backend is kaniko:", "give files: s3://HOST:PORT/BUCKET, which build Jobs reach")
		}
		s := *cfg.Kaniko
		s.Home, s.Timeout = cfg.Home, cfg.Timeout
		return kaniko.New(s, sources, deps.Now, deps.Log)
	}
	b := &localBackend{home: cfg.Home, sources: sources,
		builder: local.New(local.Options{Home: cfg.Home, Timeout: cfg.Timeout, UID: firstUser, GID: firstUser, Limits: cfg.Limits})}
	b.tidy(deps.Log)
	return b, nil
}

// firstUser is the first of the users that builds run as where we are root, far from those of
// people, of the system, and of the processes that run actions.
const firstUser = 260000

// localBackend builds on this machine.
type localBackend struct {
	home    string
	sources sources
	builder *local.Builder
}

// tidy removes what earlier processes left. The home is this process's: sources that an earlier one
// unpacked are nobody's.
func (b *localBackend) tidy(log *slog.Logger) {
	if err := errors.Join(os.RemoveAll(b.shelf()), b.builder.Tidy()); err != nil {
		log.Warn("what builds of earlier processes left cannot be removed", "err", err)
	}
}

// shelf is where the sources of orders under way lie, which others cannot list.
func (b *localBackend) shelf() string { return filepath.Join(b.home, "cache", "src") }

// Build implements app.Backend.
func (b *localBackend) Build(ctx context.Context, o app.Order) (app.Result, error) {
	src := filepath.Join(b.shelf(), o.ID)
	if err := os.MkdirAll(b.shelf(), 0o711); err != nil {
		return app.Result{}, err
	}
	defer os.RemoveAll(src)
	if err := b.unpack(ctx, o, src); err != nil {
		return app.Result{}, fmt.Errorf("source of the order: %w", err)
	}
	r, err := b.builder.Build(ctx, local.Order{Project: o.Project, Build: o.Build, Action: o.Action, Source: src, Force: o.Force, Log: o.Log})
	return app.Result{Artifact: "file://" + r.Dir, Cached: r.Cached, Phases: r.Phases, Notes: r.Notes}, err
}

func (b *localBackend) unpack(ctx context.Context, o app.Order, dir string) error {
	f, err := b.sources.Open(ctx, o.Project, o.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	return local.Unpack(f, o.Source, dir)
}

// Drop implements app.Backend.
func (b *localBackend) Drop(_ context.Context, project, build string, before time.Time) (bool, error) {
	return b.builder.Drop(project, build, before)
}

// Abandon implements app.Backend: builds on this machine end with the process.
func (b *localBackend) Abandon(context.Context, string) error { return nil }

// sources are orders' sources in the filestore.
type sources struct{ cfg Config }

// Open implements kaniko.Sources.
func (s sources) Open(ctx context.Context, project, digest string) (io.ReadCloser, error) {
	if s.cfg.S3 != nil {
		return s3files.Open(ctx, s.cfg.S3, project, digest)
	}
	sum := strings.TrimPrefix(digest, "sha256:")
	if len(sum) != 64 || !filepath.IsLocal(project) {
		return nil, fmt.Errorf("%q is no digest", digest)
	}
	f, err := os.Open(filepath.Join(s.cfg.FilesDir, project, "source", sum[:2], sum[2:]))
	if errors.Is(err, os.ErrNotExist) { // ordered before sources lay apart from the files of runs
		f, err = os.Open(filepath.Join(s.cfg.FilesDir, project, "sha256", sum[:2], sum[2:]))
	}
	return f, err
}

// Address implements kaniko.Sources.
func (s sources) Address(ctx context.Context, project, digest string, expires time.Duration) (string, error) {
	return s3files.Address(ctx, s.cfg.S3, project, digest, expires)
}
