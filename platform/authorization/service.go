// Package authorization is the service that knows users, projects and keys, and signs tokens.
package authorization

import (
	"context"
	"crypto/ed25519"
	_ "embed"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/authorization/internal/app"
	"github.com/pelton-run/pelton/platform/authorization/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/authorization/internal/infra/keyfile"
	"github.com/pelton-run/pelton/platform/authorization/internal/infra/postgres"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

//go:embed openapi.yaml
var document []byte

// Config of the service.
type Config struct {
	KeyDir string // of the signing key
	// FirstPassword is that of the first administrator. Defaults to one that is made and told once.
	FirstPassword string
}

// Deps of the service.
type Deps struct {
	Store     string // PostgreSQL URL
	Publisher bus.Publisher
	Now       func() time.Time
	Log       *slog.Logger
}

// Service is the running service. It is the authn.Issuer of its process.
type Service struct {
	pool     *pg.Pool
	app      *app.Service
	relay    *outbox.Relay
	key      *keyfile.Key
	now      func() time.Time
	doc      *openapi.Document
	password string
}

var _ authn.Issuer = (*Service)(nil)

// New opens and migrates the database, and makes the first administrator where there is none.
func New(ctx context.Context, cfg Config, deps Deps) (*Service, error) {
	doc, err := openapi.Parse("authorization", document)
	if err != nil {
		return nil, err
	}
	key, err := keyfile.Open(filepath.Join(cfg.KeyDir, "signing.pem"))
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
	s := &Service{pool: pool, key: key, now: deps.Now, doc: doc, relay: outbox.NewRelay(pool, deps.Publisher, deps.Log)}
	s.app = &app.Service{Store: postgres.New(pool, s.relay.Notify), Crypto: keyfile.Crypto{}, Signer: key, Now: deps.Now, NewID: id.New}
	if s.password, err = s.app.Start(ctx, cfg.FirstPassword); err != nil {
		pool.Close()
		return nil, err
	}
	if cfg.FirstPassword != "" {
		s.password = "" // known to whoever gave it
	}
	return s, nil
}

// FirstPassword is the administrator's password if this start made it, else empty. It is kept nowhere else.
func (s *Service) FirstPassword() string { return s.password }

// AdminToken is a token of the administrator for tools of this machine's owner.
func (s *Service) AdminToken(ctx context.Context, ttl time.Duration) (string, error) {
	return s.app.AdminToken(ctx, ttl)
}

// PublicKey implements authn.Issuer.
func (s *Service) PublicKey(_ context.Context, kid string) (ed25519.PublicKey, error) {
	if kid != s.key.ID {
		return nil, fault.New(fault.Unauthenticated, "the token was signed by a key that is not known")
	}
	return s.key.Public(), nil
}

// Introspect implements authn.Issuer.
func (s *Service) Introspect(ctx context.Context, key string) (authn.Principal, error) {
	k, err := s.app.Introspect(ctx, key)
	if err != nil {
		return authn.Principal{}, err
	}
	return authn.Principal{Subject: k.ID, Name: k.Name, Key: true, Roles: map[string]authn.Role{k.Project: authn.ParseRole(k.Role)}}, nil
}

// Handler serves /authorization.
func (s *Service) Handler(v *authn.Verifier) http.Handler {
	return s.doc.Mount(httpapi.API{Service: s.app, KeyID: s.key.ID, Key: s.key.Public(), Verify: v, Now: s.now}.Handler())
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error { return s.relay.Run(ctx) }

// Close frees the database.
func (s *Service) Close() { s.pool.Close() }
