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
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/aead"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/simulation"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cel"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cron"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/events"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/jsonschema"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/knative"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/peers"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/process"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/rabbitmq"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/s3files"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/sources"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/userapi"
)

//go:embed openapi.yaml
var document []byte

// Config of the service.
type Config struct {
	Home        string     // registry, state and logs of wrappers, keys
	Deployer    string     // what runs actions: "process:" or "knative:?…". Defaults to process:
	Wrapper     string     // path of the wrapper's program
	SocketDir   string     // short, 0700
	FilesDir    string     // of the filestore, when it is a folder
	S3          *s3.Config // of the filestore, when it is a bucket
	Cap         int        // executions of one build at a time. Defaults to 4 for each processor
	Idle        time.Duration
	CancelGrace time.Duration
	PublicURL   string // for links in answers
	// Replica is this process's name among those that share the store. Defaults to "runner".
	Replica string
	// Lease is how long it may be silent before others take over its runs, Beat how often it shows
	// that it lives (defaults to a fifth of Lease). Lease 0: it is the only one on its store.
	Lease, Beat time.Duration
	// PeerListen and PeerAddress are where other replicas reach it. Default to a free port of
	// 127.0.0.1, and to that address.
	PeerListen, PeerAddress string
	UserOf                  func(project string) (uid, gid int, err error)
	// Retention is how long ended runs are kept. Defaults to for ever.
	Retention Retention
}

// Retention is how long what nobody needs any more is kept.
type Retention = app.Retention

// Deps of the service.
type Deps struct {
	Store      string         // PostgreSQL URL
	Publisher  bus.Publisher  // nil: another process on the store carries its messages
	Subscriber bus.Subscriber // nil: another process on the store takes deployments
	Verify     *authn.Verifier
	Now        func() time.Time
	Metrics    prometheus.Registerer // nil: nothing is counted
	Log        *slog.Logger
}

// Service is the running service.
type Service struct {
	pool  *pg.Pool
	app   *app.Service
	proc  compute
	relay *outbox.Relay
	peers *peers.Peers
	cron  *cron.Scheduler
	src   *sources.Manager
	queue *rabbitmq.Manager
	files app.Files
	away  func() error // why the filestore cannot be used, nil = it can
	api   http.Handler
	user  *userapi.API
	deps  Deps
}

// compute is what runs actions.
type compute interface {
	app.Deployer
	app.Heir
	sources.Executor
	Close()
}

// CheckDeployer tells what is wrong with the setting "deployer", by field.
func CheckDeployer(text string) error {
	if text == "" || text == "process:" {
		return nil
	}
	if strings.HasPrefix(text, "knative:") {
		_, err := knative.Parse("deployer", text)
		return err
	}
	return fault.InvalidField("deployer", "is "+text, "this version knows process: and knative:")
}

// New opens and migrates the database. Subscribe, then Run.
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
	s := &Service{pool: pool, deps: deps}
	if err := s.open(ctx, cfg, cipher); err != nil {
		s.Close()
		return nil, err
	}
	s.mount(cfg, doc)
	return s, nil
}

// open opens what the use cases need.
func (s *Service) open(ctx context.Context, cfg Config, cipher *aead.Cipher) (err error) {
	deps := s.deps
	transfers, err := s.openFiles(ctx, cfg)
	if err != nil {
		return err
	}
	if err := s.openCompute(cfg, transfers); err != nil {
		return err
	}
	notify := func() {}
	if deps.Publisher != nil {
		s.relay = outbox.NewRelay(s.pool, deps.Publisher, deps.Log)
		notify = s.relay.Notify
	}
	store := postgres.New(s.pool, deps.Log, notify)
	var others app.Peers
	if cfg.Lease > 0 {
		key, err := store.PeerKey(ctx)
		if err != nil {
			return err
		}
		s.peers, err = peers.Open(ctx, peers.Config{Listen: cfg.PeerListen, Address: cfg.PeerAddress, Key: key, Now: deps.Now, Log: deps.Log})
		if err != nil {
			return err
		}
		others = s.peers
	}
	s.app = app.New(app.Config{Name: cfg.Replica, Lease: cfg.Lease, Beat: cfg.Beat, CancelGrace: cfg.CancelGrace, Retention: cfg.Retention,
		Ahead: !strings.HasPrefix(cfg.Deployer, "knative:")}, app.Deps{
		Store: store, Journal: func(fence int64) app.Journal { return store.NewJournal(fence, nil) },
		Compiler: cel.New(), Deployer: s.proc, Executor: s.proc, Heir: s.proc, Peers: others, Files: s.files, Cipher: cipher, Announce: events.Announcer{}, Schemas: jsonschema.Schemas{}, Calendar: cron.Calendar{},
		Now: deps.Now, NewID: id.New, Jitter: rand.Float64, Metrics: metrics(deps.Metrics), Log: deps.Log,
	})
	return nil
}

// openCompute opens what runs actions.
func (s *Service) openCompute(cfg Config, transfers app.Transfers) error {
	held, keys := func() bool { return s.app.Held() }, filepath.Join(cfg.Home, "keys")
	if strings.HasPrefix(cfg.Deployer, "knative:") {
		set, err := knative.Parse("deployer", cfg.Deployer)
		if err != nil {
			return err
		}
		if transfers == nil {
			return fault.InvalidField("files", "is a folder, which pods do not reach", "give files: s3://HOST:PORT/BUCKET with deployer: knative:")
		}
		named := func(ctx context.Context) (app.Named, error) { return s.app.Named(ctx) }
		k, err := knative.Open(knative.Config{Settings: set, Files: s.files, Transfers: transfers, KeyDir: keys, Held: held, Named: named, Log: s.deps.Log})
		if err == nil {
			s.proc = k
		}
		return err
	}
	p, err := process.Open(process.Config{
		Wrapper: cfg.Wrapper, SocketDir: cfg.SocketDir, RunDir: filepath.Join(cfg.Home, "run", "wrappers"), StateDir: filepath.Join(cfg.Home, "run", "x"),
		LogDir: filepath.Join(cfg.Home, "log"), FilesDir: cfg.FilesDir, Files: s.files, Transfers: transfers, Bundles: filepath.Join(cfg.Home, "bundles"), KeyDir: keys, Cap: cfg.Cap, Idle: cfg.Idle, UserOf: cfg.UserOf, Log: s.deps.Log,
		Held: held,
	})
	if err == nil {
		s.proc = p
	}
	return err
}

// openFiles opens the filestore. The transfers are nil where wrappers use its folder.
func (s *Service) openFiles(ctx context.Context, cfg Config) (app.Transfers, error) {
	s.away = func() error { return nil }
	if cfg.S3 == nil {
		s.files = dirfiles.Store{Dir: cfg.FilesDir}
		return nil, nil //nolint:nilnil // see above
	}
	store, err := s3files.Open(ctx, *cfg.S3)
	if err != nil {
		return nil, err
	}
	s.files, s.away = store, store.Ready
	return store, nil
}

// mount makes the edges.
func (s *Service) mount(cfg Config, doc *openapi.Document) {
	deps := s.deps
	publicURL := func() string { return cfg.PublicURL }
	sim := simulation.New(simulation.Deps{Compiler: cel.New(), Deployer: s.proc, Executor: s.proc, Files: s.files, Schemas: jsonschema.Schemas{}, Live: s.app.Live,
		NewID: id.New, Now: deps.Now, Grace: cfg.CancelGrace})
	s.api = doc.Mount(httpapi.New(httpapi.Config{UseCases: s.app, Files: s.files, Verify: deps.Verify, Now: deps.Now, PublicURL: publicURL,
		Simulator: sim, Definition: events.Definition}).Handler())
	s.user = userapi.New(userapi.Config{UseCases: s.app, Files: s.files, Verify: deps.Verify, Now: deps.Now, PublicURL: publicURL})
	s.cron = cron.New(s.app, deps.Now, deps.Log)
	s.src = sources.New(s.app, s.proc, deps.Log)
	s.queue = rabbitmq.New(s.app, deps.Log)
}

// Queues are those that Subscribe declares.
func Queues() []bus.Queue { return events.Queues() }

// Subscribe declares the service's queues; every service does so before any runs.
func (s *Service) Subscribe(ctx context.Context) error {
	if s.deps.Subscriber == nil {
		return nil
	}
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
		if err := s.app.Stalled(); err != nil {
			return err
		}
		return s.away()
	default:
		return errors.New("recovering runs")
	}
}

// Run works until ctx ends; then triggers are closed first, and what is under way is left to the
// journal.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{s.app.Run, s.afterReady(s.cron.Run), s.afterReady(s.src.Run), s.afterReady(s.queue.Run)}
	if s.relay != nil {
		parts = append(parts, s.relay.Run)
	}
	if c, ok := s.proc.(app.Collector); ok {
		parts = append(parts, s.afterReady(func(ctx context.Context) error { return s.collect(ctx, c) }))
	}
	if s.peers != nil {
		parts = append(parts, func(ctx context.Context) error { return s.peers.Run(ctx, s.app.Answer) })
	}
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	err := <-ended
	s.user.Drain()
	cancel()
	errs := []error{err}
	for range len(parts) - 1 {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// collectEvery is how often builds that nothing names are looked for.
const collectEvery = 5 * time.Minute

// collect lets go of builds that nothing names any more, until ctx ends.
func (s *Service) collect(ctx context.Context, c app.Collector) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.Collect(ctx, s.app.Named); err != nil && ctx.Err() == nil {
			s.deps.Log.Warn("builds that nothing names could not be removed", "err", err)
		}
	}
}

// afterReady lets a part wait until runs can be started.
func (s *Service) afterReady(part func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-s.app.Ready():
			return part(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// Close stops the wrappers and frees the database.
func (s *Service) Close() {
	if s.peers != nil {
		s.peers.Close()
	}
	if s.proc != nil {
		s.proc.Close()
	}
	s.pool.Close()
}
