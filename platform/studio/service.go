// Package studio is the service of the action library, of workflows, revisions and deployments.
package studio

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/studio/internal/app"
	"github.com/pelton-run/pelton/platform/studio/internal/infra/definition"
	"github.com/pelton-run/pelton/platform/studio/internal/infra/events"
	"github.com/pelton-run/pelton/platform/studio/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/studio/internal/infra/postgres"
)

//go:embed openapi.yaml
var document []byte

// The JSON Schemas of what authors write, for editors.
var (
	//go:embed schemas/action.json
	actionSchema []byte
	//go:embed schemas/workflow.json
	workflowSchema []byte
	//go:embed schemas/workflow-test.json
	workflowTestSchema []byte
)

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
	relay *outbox.Relay
	hub   *httpx.Hub[app.Event]
	doc   *openapi.Document
	deps  Deps
}

// New opens and migrates the database. Subscribe, then Run.
func New(ctx context.Context, deps Deps) (*Service, error) {
	doc, err := openapi.Parse("studio", document)
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
	s := &Service{pool: pool, relay: outbox.NewRelay(pool, deps.Publisher, deps.Log), hub: &httpx.Hub[app.Event]{}, doc: doc, deps: deps}
	s.app = &app.Service{Store: postgres.New(pool, s.relay.Notify), Definitions: definition.Maker{}, Publish: s.hub.Publish, Now: deps.Now, NewID: id.New, Log: deps.Log}
	return s, nil
}

// Queues are those that Subscribe declares.
func Queues() []bus.Queue { return events.Queues() }

// Subscribe declares the service's queues; every service does so before any runs.
func (s *Service) Subscribe(ctx context.Context) error {
	return events.Subscribe(ctx, s.deps.Subscriber, s.app)
}

// Handler serves /studio.
func (s *Service) Handler() http.Handler {
	return mount(s.doc, httpapi.API{Service: s.app, Hub: s.hub, Verify: s.deps.Verify}.Handler())
}

// mount adds what describes the interface and the formats to the routes.
func mount(doc *openapi.Document, mux *openapi.Mux) http.Handler {
	mux.Handle("GET /studio/v1/schemas/action.json", openapi.Static("application/json", actionSchema))
	mux.Handle("GET /studio/v1/schemas/workflow.json", openapi.Static("application/json", workflowSchema))
	mux.Handle("GET /studio/v1/schemas/workflow-test.json", openapi.Static("application/json", workflowTestSchema))
	return doc.Mount(mux)
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.relay.Run(ctx) }

// Close frees the database.
func (s *Service) Close() { s.pool.Close() }
