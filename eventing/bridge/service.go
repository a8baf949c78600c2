// Package bridge is the service that carries events into and out of the platform as CloudEvents: what happens in a
// project to webhooks and brokers, and events from outside to workflows.
package bridge

import (
	"context"
	crand "crypto/rand"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/events"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/httpapi"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/knativebroker"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/postgres"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/rabbitmq"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/runnerapi"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/webhook"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/aead"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

//go:embed openapi.yaml
var document []byte

//go:embed schemas/*.json
var schemas embed.FS

// Config of the service.
type Config struct {
	Home      string // keys
	PublicURL string // for the addresses of schemas
	Runner    string // URL of the runner, without a slash at the end
	Version   string // of the platform, for User-Agent
	// PrivateTargets allows sinks at addresses of this machine and of private networks.
	PrivateTargets bool
	// Attempts is how often a delivery is tried. Defaults to 12.
	Attempts int
	// Backoff is how long it rests after the first try; each rest is four times the one before, up to BackoffCap.
	// They default to 5 s and 12 h.
	Backoff, BackoffCap time.Duration
	// Timeout is how long a receiver may take. Defaults to 20 s.
	Timeout time.Duration
	// Broker says in which cluster projects have Brokers, "knative:?…", "" = in none.
	Broker string
	// Sink is where events for Brokers go where there are none, "" = nowhere.
	Sink string
}

// CheckBroker tells what is wrong with Config.Broker.
func CheckBroker(path, text string) error {
	_, err := knativebroker.Parse(path, text, "")
	return err
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
	pool    *pg.Pool
	app     *app.Service
	relay   *outbox.Relay
	doc     *openapi.Document
	schemas map[string][]byte
	rabbit  *rabbitmq.Sender
	deps    Deps
}

// New opens and migrates the database. Subscribe, then Run.
func New(ctx context.Context, cfg Config, deps Deps) (*Service, error) {
	doc, err := openapi.Parse("bridge", document)
	if err != nil {
		return nil, err
	}
	texts, err := read(schemas)
	if err != nil {
		return nil, err
	}
	cipher, err := aead.Open(filepath.Join(cfg.Home, "keys", "secrets.key"))
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
	set, brokers, err := openBrokers(cfg)
	if err != nil {
		pool.Close()
		return nil, err
	}
	retry := domain.Retry{Attempts: or(cfg.Attempts, 12), First: or(cfg.Backoff, 5*time.Second), Cap: or(cfg.BackoffCap, 12*time.Hour)}
	s := &Service{pool: pool, relay: outbox.NewRelay(pool, deps.Publisher, deps.Log), doc: doc, schemas: texts, rabbit: rabbitmq.New(cfg.PrivateTargets), deps: deps}
	senders := webhook.New(webhook.Config{Private: cfg.PrivateTargets, Version: cfg.Version, Now: deps.Now})
	senders[domain.SinkRabbitMQ] = s.rabbit
	// Where Brokers are is the operator's word, not a user's.
	inside := webhook.New(webhook.Config{Private: true, Version: cfg.Version, Now: deps.Now})
	senders[domain.SinkBroker] = app.BrokerSender{Brokers: brokers, Sink: cfg.Sink, HTTP: inside[domain.SinkCloudEvents]}
	store := postgres.New(pool, s.relay.Notify)
	s.app = app.New(app.Service{
		Brokers: brokers, BrokerStore: store, BrokerSink: cfg.Sink, BrokerEvery: or(set.Every, 30*time.Second),
		Store: store, Announce: events.Announcer{}, Cipher: cipher, Retry: retry, Timeout: or(cfg.Timeout, 20*time.Second),
		Runner:  runnerapi.New(cfg.Runner),
		Senders: senders,
		Schemas: func() string { return cfg.PublicURL + "/bridge/v1/schemas" }, Now: deps.Now, NewID: id.New, NewKey: newKey, Jitter: rand.Float64, Log: deps.Log,
	})
	return s, nil
}

// openBrokers gives nil where projects have none.
func openBrokers(cfg Config) (knativebroker.Settings, app.Brokers, error) {
	if cfg.Broker == "" {
		return knativebroker.Settings{}, nil, nil
	}
	set, err := knativebroker.Parse("bridge.broker", cfg.Broker, cfg.PublicURL)
	if err != nil {
		return set, nil, err
	}
	b, err := knativebroker.Open(set)
	if err != nil {
		return set, nil, err
	}
	return set, b, nil
}

// newKey is what a webhook's secret is made of.
func newKey() []byte {
	key := make([]byte, 32)
	_, _ = crand.Read(key) // it never fails
	return key
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// read gives the schemas by file name.
func read(dir fs.FS) (map[string][]byte, error) {
	names, err := fs.Glob(dir, "schemas/*.json")
	out := make(map[string][]byte, len(names))
	for _, name := range names {
		text, rerr := fs.ReadFile(dir, name)
		err = errors.Join(err, rerr)
		out[filepath.Base(name)] = text
	}
	return out, err
}

// Queues are those that Subscribe declares.
func Queues() []bus.Queue { return events.Queues() }

// Subscribe declares the service's queues; every service does so before any runs.
func (s *Service) Subscribe(ctx context.Context) error {
	return events.Subscribe(ctx, s.deps.Subscriber, s.app)
}

// Handler serves /bridge.
func (s *Service) Handler() http.Handler {
	return s.doc.Mount(httpapi.API{Service: s.app, Verify: s.deps.Verify, Schemas: s.schemas}.Handler())
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 4)
	for _, part := range []func(context.Context) error{s.relay.Run, s.app.Run, s.app.Tidy, s.app.KeepBrokers} {
		go func() { ended <- part(ctx); cancel() }()
	}
	return errors.Join(<-ended, <-ended, <-ended, <-ended)
}

// Close ends connections and frees the database.
func (s *Service) Close() {
	s.rabbit.Close()
	s.pool.Close()
}
