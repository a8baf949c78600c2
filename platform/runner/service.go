// Package runner is the service that deploys actions and triggers, orchestrates runs, and keeps
// their history.
package runner

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/aead"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cel"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cron"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/events"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/jsonschema"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/process"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/sources"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/userapi"
)

//go:embed openapi.yaml
var document []byte

// Config of the service.
type Config struct {
	Home        string // registry, state and logs of wrappers, keys
	Wrapper     string // path of the wrapper's program
	SocketDir   string // short, 0700
	FilesDir    string // of the filestore
	Cap         int    // executions of one build at a time. Defaults to 4 for each processor
	Idle        time.Duration
	CancelGrace time.Duration
	PublicURL   string // for links in answers
	UserOf      func(project string) (uid, gid int, err error)
}

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
	proc  *process.Runner
	relay *outbox.Relay
	cron  *cron.Scheduler
	src   *sources.Manager
	api   http.Handler
	user  *userapi.API
	deps  Deps
}

// New opens and migrates the database and takes over the wrappers that an earlier process left.
// Subscribe, then Run.
func New(ctx context.Context, cfg Config, deps Deps) (*Service, error) {
	doc, err := openapi.Parse("runner", document)
	if err != nil {
		return nil, err
	}
	cipher, err := aead.Open(filepath.Join(cfg.Home, "keys", "secrets.key"))
	if err != nil {
		return nil, err
	}
	pool, err := pg.Open(ctx, deps.Store, pg.Options{MaxConns: 16})
	if err != nil {
		return nil, err
	}
	if err := pg.Migrate(ctx, pool, postgres.Migrations, "migrations"); err != nil {
		pool.Close()
		return nil, err
	}
	proc, err := process.Open(process.Config{
		Wrapper: cfg.Wrapper, SocketDir: cfg.SocketDir, RunDir: filepath.Join(cfg.Home, "run", "wrappers"), StateDir: filepath.Join(cfg.Home, "run", "x"),
		LogDir: filepath.Join(cfg.Home, "log"), FilesDir: cfg.FilesDir, KeyDir: filepath.Join(cfg.Home, "keys"), Cap: cfg.Cap, Idle: cfg.Idle, UserOf: cfg.UserOf, Log: deps.Log,
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	s := &Service{pool: pool, proc: proc, deps: deps, relay: outbox.NewRelay(pool, deps.Publisher, deps.Log)}
	store := postgres.New(pool, deps.Log, s.relay.Notify)
	files := dirfiles.Store{Dir: cfg.FilesDir}
	s.app = app.New(app.Config{CancelGrace: cfg.CancelGrace}, app.Deps{
		Store: store, Journal: func(fence int64) app.Journal { return store.NewJournal(fence, nil) },
		Compiler: cel.New(), Deployer: proc, Executor: proc, Files: files, Cipher: cipher, Announce: events.Announcer{}, Schemas: jsonschema.Schemas{},
		Now: deps.Now, NewID: id.New, Jitter: rand.Float64, Log: deps.Log,
	})
	publicURL := func() string { return cfg.PublicURL }
	s.api = doc.Mount(httpapi.New(httpapi.Config{UseCases: s.app, Files: files, Verify: deps.Verify, Now: deps.Now, PublicURL: publicURL}).Handler())
	s.user = userapi.New(userapi.Config{UseCases: s.app, Files: files, Verify: deps.Verify, Now: deps.Now, PublicURL: publicURL})
	s.cron = cron.New(s.app, deps.Now, deps.Log)
	s.src = sources.New(s.app, proc, deps.Log)
	return s, nil
}

// Subscribe declares the service's queues; every service does so before any runs.
func (s *Service) Subscribe(ctx context.Context) error {
	return events.Subscribe(ctx, s.deps.Subscriber, s.app, s.app.Ready(), s.deps.Verify.Drop)
}

// Handler serves /runner.
func (s *Service) Handler() http.Handler { return s.api }

// UserAPI serves /user-api.
func (s *Service) UserAPI() http.Handler { return s.user.Handler() }

// Ready tells why the service takes no runs yet, nil when it does.
func (s *Service) Ready() error {
	select {
	case <-s.app.Ready():
		return s.app.Stalled()
	default:
		return errors.New("recovering runs")
	}
}

// Run works until ctx ends; then triggers are closed first, and what is under way is left to the
// journal.
func (s *Service) Run(ctx context.Context) error {
	ended := make(chan error, 4)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- s.app.Run(ctx) }()
	go func() { ended <- s.relay.Run(ctx) }()
	go func() {
		select {
		case <-s.app.Ready():
			ended <- s.cron.Run(ctx)
		case <-ctx.Done():
			ended <- nil
		}
	}()
	go func() {
		select {
		case <-s.app.Ready():
			ended <- s.src.Run(ctx)
		case <-ctx.Done():
			ended <- nil
		}
	}()
	err := <-ended
	s.user.Drain()
	cancel()
	return errors.Join(err, <-ended, <-ended, <-ended)
}

// Close stops the wrappers and frees the database.
func (s *Service) Close() {
	s.proc.Close()
	s.pool.Close()
}
