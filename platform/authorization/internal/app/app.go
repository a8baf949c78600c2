// Package app holds the authorization service's use cases and the ports they need.
package app

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/platform/authorization/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Store keeps accounts, projects and keys; ProjectCreated and KeyRevoked are written with the change.
type Store interface {
	AccountByName(ctx context.Context, name string) (domain.Account, error)
	Account(ctx context.Context, id string) (domain.Account, error)
	// Bootstrap makes the first account and project where there is none; made tells whether it did.
	Bootstrap(ctx context.Context, a domain.Account, p domain.Project) (made bool, err error)
	Projects(ctx context.Context) ([]domain.Project, error)
	AddKey(ctx context.Context, k domain.Key) error
	Keys(ctx context.Context, project string) ([]domain.Key, error)
	Key(ctx context.Context, id string) (domain.Key, error)
	RevokeKey(ctx context.Context, project, id string, now time.Time) error
	AddCode(ctx context.Context, hash []byte, account string, expires time.Time) error
	// TakeCode removes the code and tells whose it was: it works once.
	TakeCode(ctx context.Context, hash []byte, now time.Time) (account string, err error)
}

// Crypto hashes and draws secrets.
type Crypto interface {
	HashPassword(password string) (string, error)
	CheckPassword(hash, password string) bool
	Secret(bytes int) string // base64url
	Short(chars int) string  // lower-case letters and digits
	Hash(secret string) []byte
	Equal(a, b []byte) bool
}

// Signer signs tokens.
type Signer interface {
	Sign(a domain.Account, now time.Time, ttl time.Duration) (string, error)
}

// TokenTTL is how long a login lasts.
const TokenTTL = 12 * time.Hour

// CodeTTL is how long a one-time code lasts.
const CodeTTL = 10 * time.Minute

// Service is the use cases. Safe for concurrent use.
type Service struct {
	Store  Store
	Crypto Crypto
	Signer Signer
	Now    func() time.Time
	NewID  func() string

	throttle throttle
}

// Start makes the first administrator, with the password given or else one of its own, and the first project;
// password is empty when they were there.
func (s *Service) Start(ctx context.Context, given string) (password string, err error) {
	if password = given; password == "" {
		password = s.Crypto.Secret(15)
	}
	hash, err := s.Crypto.HashPassword(password)
	if err != nil {
		return "", err
	}
	made, err := s.Store.Bootstrap(ctx, domain.Account{ID: s.NewID(), Name: "admin", Password: hash, Admin: true, CreatedAt: s.Now()},
		domain.Project{Name: "default", CreatedAt: s.Now()})
	if err != nil || !made {
		return "", err
	}
	return password, nil
}

// Token is a login.
type Token struct {
	Token     string
	ExpiresAt time.Time
}

// Login checks a name and password. address is the caller's, for the limit of failures.
func (s *Service) Login(ctx context.Context, name, password, address string) (Token, error) {
	succeeded, ok := s.throttle.attempt(s.Now(), "n:"+name, "a:"+address)
	if !ok {
		return Token{}, fault.New(fault.Exhausted, "too many failed logins: wait a minute")
	}
	a, err := s.Store.AccountByName(ctx, name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return Token{}, err
	}
	hash := a.Password
	if err != nil { // as slow as a real check, so that names cannot be found out
		hash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	}
	if ok := s.Crypto.CheckPassword(hash, password); !ok || err != nil {
		return Token{}, fault.New(fault.Unauthenticated, "the name or the password is wrong")
	}
	succeeded()
	return s.token(a)
}

func (s *Service) token(a domain.Account) (Token, error) {
	now := s.Now()
	t, err := s.Signer.Sign(a, now, TokenTTL)
	return Token{t, now.Add(TokenTTL)}, err
}

// NewCode makes a code that logs the account in once.
func (s *Service) NewCode(ctx context.Context, account string) (string, error) {
	code := s.Crypto.Secret(24)
	return code, s.Store.AddCode(ctx, s.Crypto.Hash(code), account, s.Now().Add(CodeTTL))
}

// LoginCode exchanges a one-time code.
func (s *Service) LoginCode(ctx context.Context, code string) (Token, error) {
	id, err := s.Store.TakeCode(ctx, s.Crypto.Hash(code), s.Now())
	if fault.Is(err, fault.NotFound) {
		return Token{}, fault.New(fault.Unauthenticated, "the code was used already or has expired: log in with the password, or start again for a new link")
	}
	if err != nil {
		return Token{}, err
	}
	a, err := s.Store.Account(ctx, id)
	if err != nil {
		return Token{}, err
	}
	return s.token(a)
}

// AdminToken is a token of the first administrator, for tools on this machine.
func (s *Service) AdminToken(ctx context.Context, ttl time.Duration) (string, error) {
	a, err := s.Store.AccountByName(ctx, "admin")
	if err != nil {
		return "", err
	}
	return s.Signer.Sign(a, s.Now(), ttl)
}

// CreateKey makes an API key; the text is told once.
func (s *Service) CreateKey(ctx context.Context, k domain.Key) (domain.Key, string, error) {
	if err := k.Validate(s.Now()); err != nil {
		return domain.Key{}, "", err
	}
	secret := s.Crypto.Secret(32)
	k.ID, k.CreatedAt, k.Hash = s.Crypto.Short(8), s.Now(), s.Crypto.Hash(secret)
	return k, "pk_" + k.ID + "_" + secret, s.Store.AddKey(ctx, k)
}

// Introspect tells whose an API key is.
func (s *Service) Introspect(ctx context.Context, text string) (domain.Key, error) {
	bad := fault.New(fault.Unauthenticated, "the API key is not valid, was revoked or has expired: make a new one with `pelton key create NAME`")
	if len(text) != len("pk_")+8+1+43 || text[:3] != "pk_" || text[11] != '_' {
		return domain.Key{}, bad
	}
	k, err := s.Store.Key(ctx, text[3:11])
	if fault.Is(err, fault.NotFound) {
		return domain.Key{}, bad
	}
	if err != nil {
		return domain.Key{}, err
	}
	if !s.Crypto.Equal(k.Hash, s.Crypto.Hash(text[12:])) || (k.ExpiresAt != nil && !k.ExpiresAt.After(s.Now())) {
		return domain.Key{}, bad
	}
	return k, nil
}
