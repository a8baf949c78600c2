// Package authn tells who calls: it checks bearer tokens (JWT, EdDSA) against the issuer's keys
// on this side, and API keys by asking the issuer, with a short cache.
package authn

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

// Role is what somebody may do in a project; each holds what those before it do.
type Role int

// The roles.
const (
	None Role = iota
	Viewer
	Operator
	Developer
	Admin
)

var roleNames = []string{"", "viewer", "operator", "developer", "admin"}

func (r Role) String() string { return roleNames[r] }

// ParseRole is the role of a name, None for others.
func ParseRole(name string) Role {
	for i, n := range roleNames {
		if n == name {
			return Role(i)
		}
	}
	return None
}

// Principal is an authenticated caller.
type Principal struct {
	Subject string // user or key id
	Name    string
	Key     bool            // an API key, not a person
	Admin   bool            // of the platform: admin in every project
	Roles   map[string]Role // by project
}

// Role is what the principal may do in a project.
func (p Principal) Role(project string) Role {
	if p.Admin {
		return Admin
	}
	return p.Roles[project]
}

// Claims are a token's contents.
type Claims struct {
	jwt.RegisteredClaims
	Name  string            `json:"name"`
	Admin bool              `json:"admin,omitempty"`
	Roles map[string]string `json:"roles,omitempty"`
}

// Issuer is where keys come from: the authorization service, over HTTP or in the same process.
type Issuer interface {
	// PublicKey is the key that signs tokens; "" asks for any.
	PublicKey(ctx context.Context, keyID string) (ed25519.PublicKey, error)
	// Introspect tells whose an API key is; a key that is not valid is fault.Unauthenticated.
	Introspect(ctx context.Context, key string) (Principal, error)
}

// Verifier checks credentials. Safe for concurrent use.
type Verifier struct {
	issuer Issuer
	now    func() time.Time

	mu    sync.Mutex
	keys  map[string]ed25519.PublicKey
	cache map[string]cached
}

type cached struct {
	p     Principal
	until time.Time
}

const cacheFor = 5 * time.Second

// NewVerifier makes a verifier.
func NewVerifier(issuer Issuer, now func() time.Time) *Verifier {
	return &Verifier{issuer: issuer, now: now, keys: map[string]ed25519.PublicKey{}, cache: map[string]cached{}}
}

// CookieName is the cookie of the web page.
const CookieName = "pelton_session"

const remedy = "log in with `pelton login`, or send Authorization: Bearer TOKEN or an API key (`pelton key create NAME`)"

// Authenticate tells who sent the request: Authorization: Bearer, or the page's cookie on
// requests of the page itself (Sec-Fetch-Site: same-origin, or none for a typed address).
func (v *Verifier) Authenticate(r *http.Request) (Principal, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		token, ok := strings.CutPrefix(h, "Bearer ")
		if !ok {
			return Principal{}, fault.New(fault.Unauthenticated, "the Authorization header is not a bearer token: %s", remedy)
		}
		return v.Check(r.Context(), strings.TrimSpace(token))
	}
	if c, err := r.Cookie(CookieName); err == nil && sameOrigin(r) {
		return v.Check(r.Context(), c.Value)
	}
	return Principal{}, fault.New(fault.Unauthenticated, "no credential: %s", remedy)
}

func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "none":
		return r.Method == http.MethodGet || r.Method == http.MethodHead
	}
	return false
}

// Check tells whose a token or API key is.
func (v *Verifier) Check(ctx context.Context, credential string) (Principal, error) {
	if strings.HasPrefix(credential, "pk_") {
		return v.checkKey(ctx, credential)
	}
	var claims Claims
	_, err := jwt.ParseWithClaims(credential, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		return v.publicKey(ctx, kid)
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(v.now), jwt.WithAudience("pelton"))
	if err != nil {
		if fault.Is(err, fault.Unavailable) {
			return Principal{}, err
		}
		return Principal{}, fault.Wrap(err, fault.Unauthenticated, "the token is not valid or has expired: %s", remedy)
	}
	p := Principal{Subject: claims.Subject, Name: claims.Name, Admin: claims.Admin, Roles: map[string]Role{}}
	for project, role := range claims.Roles {
		p.Roles[project] = ParseRole(role)
	}
	return p, nil
}

func (v *Verifier) publicKey(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	v.mu.Lock()
	key, ok := v.keys[kid]
	v.mu.Unlock()
	if ok {
		return key, nil
	}
	key, err := v.issuer.PublicKey(ctx, kid)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.keys[kid] = key
	v.mu.Unlock()
	return key, nil
}

func (v *Verifier) checkKey(ctx context.Context, key string) (Principal, error) {
	now := v.now()
	v.mu.Lock()
	c, ok := v.cache[key]
	v.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.p, nil
	}
	p, err := v.issuer.Introspect(ctx, key)
	if err != nil {
		return Principal{}, err
	}
	v.mu.Lock()
	if len(v.cache) > 10000 {
		clear(v.cache)
	}
	v.cache[key] = cached{p, now.Add(cacheFor)}
	v.mu.Unlock()
	return p, nil
}

// Drop forgets a revoked key at once.
func (v *Verifier) Drop(keyID string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, c := range v.cache {
		if c.p.Subject == keyID {
			delete(v.cache, k)
		}
	}
}

type contextKey struct{}

// From is the caller that Require let through.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(contextKey{}).(Principal)
	return p
}

// Require lets callers through who have at least the role in the project that the path names as
// {project}. Without such a part None lets any authenticated caller through, any other role the
// platform's admin alone.
func (v *Verifier) Require(role Role, next http.Handler) http.Handler {
	return httpx.Handle(func(w http.ResponseWriter, r *http.Request) error {
		p, err := v.Authenticate(r)
		if err != nil {
			return err
		}
		if r.PathValue("project") == "" && role > None && !p.Admin {
			return fault.New(fault.Forbidden, "this is for the platform's admin")
		}
		if project := r.PathValue("project"); project != "" && p.Role(project) < role {
			if p.Role(project) == None {
				return fault.New(fault.NotFound, "there is no project %q, or none that you may see", project)
			}
			return fault.New(fault.Forbidden, "this needs the role %s in project %s, and you are %s: ask an admin of the project", role, project, p.Role(project))
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, p)))
		return nil
	})
}
