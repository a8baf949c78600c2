// Package repository is the service that scans repositories, orders builds and offers actions.
package repository

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/dirfiles"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/events"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/folder"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/git"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/postgres"
	"github.com/pelton-run/pelton/platform/repository/internal/infra/s3files"
)

//go:embed openapi.yaml
var document []byte

// Config of the service.
type Config struct {
	Home       string     // for clones
	FilesDir   string     // of the filestore, when it is a folder
	S3         *s3.Config // of the filestore, when it is a bucket
	AllowLocal bool       // file:// repositories and folders
	Retention  Retention
}

// Retention is how long what nobody needs is kept.
type Retention = app.Retention

// Deps of the service.
type Deps struct {
	Store      string // PostgreSQL URL
	Publisher  bus.Publisher
	Subscriber bus.Subscriber
	Verify     *authn.Verifier
	Now        func() time.Time
	Log        *slog.Logger
}

// Service is the running service.
type Service struct {
	pool  *pg.Pool
	app   *app.Service
	store *postgres.Store
	relay *outbox.Relay
	hub   *httpx.Hub[app.Event]
	api   httpapi.API
	doc   *openapi.Document
	deps  Deps
}

type hubEvents struct{ hub *httpx.Hub[app.Event] }

func (h hubEvents) Publish(project string, e app.Event) { h.hub.Publish(project, e) }

// New opens and migrates the database. Subscribe, then Run.
func New(ctx context.Context, cfg Config, deps Deps) (*Service, error) {
	doc, err := openapi.Parse("repository", document)
	if err != nil {
		return nil, err
	}
	files, err := openFiles(cfg)
	if err != nil {
		return nil, err
	}
	pool, err := pg.Open(ctx, deps.Store, pg.Options{})
	if err != nil {
		return nil, err
	}
	if err := pg.Migrate(ctx, pool, postgres.Migrations, "migrations"); err != nil {
		pool.Close()
		return nil, err
	}
	s := &Service{pool: pool, hub: &httpx.Hub[app.Event]{}, doc: doc, deps: deps}
	s.relay = outbox.NewRelay(pool, deps.Publisher, deps.Log)
	s.store = postgres.New(pool, s.relay.Notify, deps.Now)
	s.app = app.New(app.Deps{
		Store: s.store, Git: git.Source{Dir: filepath.Join(cfg.Home, "clones"), AllowLocal: cfg.AllowLocal}, Folder: folder.Source{}, Watcher: folder.Watcher{},
		Files: files, Events: hubEvents{s.hub}, Now: deps.Now, NewID: id.New, Log: deps.Log,
		Retention: cfg.Retention,
	})
	s.api = httpapi.API{Service: s.app, Store: s.store, Hub: s.hub, Verify: deps.Verify, Now: deps.Now}
	return s, nil
}

func openFiles(cfg Config) (app.Files, error) {
	if cfg.S3 == nil {
		return dirfiles.Store{Dir: cfg.FilesDir}, nil
	}
	b, err := s3.Open(*cfg.S3)
	return s3files.Store{Bucket: b}, err
}

// Queues are those that Subscribe declares.
func Queues() []bus.Queue { return events.Queues() }

// Subscribe declares the service's queues; every service does so before any runs.
func (s *Service) Subscribe(ctx context.Context) error {
	return events.Subscribe(ctx, s.deps.Subscriber, s.store, hubEvents{s.hub})
}

// Handler serves /repository.
func (s *Service) Handler() http.Handler { return s.doc.Mount(s.api.Handler()) }

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.relay.Run(ctx) }()
	err := s.app.Run(ctx)
	<-done
	return err
}

// Close frees the database.
func (s *Service) Close() { s.pool.Close() }
