package authn_test

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

var clock = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type issuer struct {
	public ed25519.PublicKey
	asked  int
	key    authn.Principal
	gone   bool
}

func (i *issuer) PublicKey(context.Context, string) (ed25519.PublicKey, error) {
	i.asked++
	return i.public, nil
}

func (i *issuer) Introspect(_ context.Context, key string) (authn.Principal, error) {
	i.asked++
	if key != "pk_good_x" || i.gone {
		return authn.Principal{}, fault.New(fault.Unauthenticated, "no such key")
	}
	return i.key, nil
}

type world struct {
	*testing.T
	issuer  *issuer
	private ed25519.PrivateKey
	v       *authn.Verifier
	now     time.Time
}

func begin(t *testing.T) *world {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	w := &world{T: t, issuer: &issuer{public: public, key: authn.Principal{Subject: "k1", Name: "till", Key: true, Roles: map[string]authn.Role{"p": authn.Operator}}}, private: private, now: clock}
	w.v = authn.NewVerifier(w.issuer, func() time.Time { return w.now })
	return w
}

func (w *world) token(change func(*authn.Claims)) string {
	w.Helper()
	c := authn.Claims{RegisteredClaims: jwt.RegisteredClaims{Subject: "u1", Audience: jwt.ClaimStrings{"pelton"}, ExpiresAt: jwt.NewNumericDate(clock.Add(time.Hour))}, Name: "ada", Roles: map[string]string{"p": "developer"}}
	if change != nil {
		change(&c)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c).SignedString(w.private)
	require.NoError(w, err)
	return text
}

func TestTokens(t *testing.T) {
	w := begin(t)
	p, err := w.v.Check(t.Context(), w.token(nil))
	require.NoError(t, err)
	require.Equal(t, "ada", p.Name)
	require.Equal(t, authn.Developer, p.Role("p"))
	require.Equal(t, authn.None, p.Role("other"))
	_, err = w.v.Check(t.Context(), w.token(nil))
	require.NoError(t, err)
	require.Equal(t, 1, w.issuer.asked, "the key is kept")

	_, other, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	forged, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Subject: "u1", Audience: jwt.ClaimStrings{"pelton"}, ExpiresAt: jwt.NewNumericDate(clock.Add(time.Hour))}).SignedString(other)
	require.NoError(t, err)
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.RegisteredClaims{Subject: "u1", Audience: jwt.ClaimStrings{"pelton"}, ExpiresAt: jwt.NewNumericDate(clock.Add(time.Hour))}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	for name, bad := range map[string]string{
		"nothing": "", "no token": "x.y.z", "another's": forged, "unsigned": unsigned,
		"too old":           w.token(func(c *authn.Claims) { c.ExpiresAt = jwt.NewNumericDate(clock.Add(-time.Second)) }),
		"for somebody else": w.token(func(c *authn.Claims) { c.Audience = jwt.ClaimStrings{"wrapper"} }),
		"without an end":    w.token(func(c *authn.Claims) { c.ExpiresAt = nil }),
	} {
		_, err := w.v.Check(t.Context(), bad)
		require.True(t, fault.Is(err, fault.Unauthenticated), "%s: %v", name, err)
	}
}

func TestKeysAreKeptForAMomentAndDropped(t *testing.T) {
	w := begin(t)
	for range 3 {
		p, err := w.v.Check(t.Context(), "pk_good_x")
		require.NoError(t, err)
		require.Equal(t, "till", p.Name)
	}
	require.Equal(t, 1, w.issuer.asked)
	w.issuer.gone = true
	_, err := w.v.Check(t.Context(), "pk_good_x")
	require.NoError(t, err, "within the moment")
	w.v.Drop("k1")
	_, err = w.v.Check(t.Context(), "pk_good_x")
	require.True(t, fault.Is(err, fault.Unauthenticated), "revoked at once where it is told")
	w.issuer.gone = false
	_, err = w.v.Check(t.Context(), "pk_good_x")
	require.NoError(t, err)
	w.issuer.gone = true
	w.now = clock.Add(time.Minute)
	_, err = w.v.Check(t.Context(), "pk_good_x")
	require.True(t, fault.Is(err, fault.Unauthenticated), "and after the moment elsewhere")
}

func TestRequire(t *testing.T) {
	w := begin(t)
	admin := w.token(func(c *authn.Claims) { c.Admin = true; c.Roles = nil })
	var seen authn.Principal
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = authn.From(r.Context()) })
	mux := http.NewServeMux()
	mux.Handle("/p/{project}/read", w.v.Require(authn.Viewer, next))
	mux.Handle("/p/{project}/rule", w.v.Require(authn.Admin, next))
	mux.Handle("/any", w.v.Require(authn.None, next))
	mux.Handle("/platform", w.v.Require(authn.Admin, next))
	for _, c := range []struct {
		path, credential string
		want             int
	}{
		{"/p/p/read", "", 401}, {"/p/p/read", w.token(nil), 200}, {"/p/p/rule", w.token(nil), 403}, {"/p/other/read", w.token(nil), 404},
		{"/p/p/rule", admin, 200}, {"/p/other/read", admin, 200}, {"/any", w.token(nil), 200}, {"/any", "", 401},
		{"/platform", w.token(nil), 403}, {"/platform", admin, 200}, {"/p/p/read", "pk_good_x", 200}, {"/p/p/read", "pk_bad_x", 401},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil)
		if c.credential != "" {
			r.Header.Set("Authorization", "Bearer "+c.credential)
		}
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		if c.want == 404 && rec.Code == 403 {
			continue // another's project may be told either way
		}
		require.Equal(t, c.want, rec.Code, "%s %s", c.path, rec.Body)
	}
	require.NotEmpty(t, seen.Subject)
}

// The cookie counts on requests of the page itself only.
func TestCookie(t *testing.T) {
	w := begin(t)
	for _, c := range []struct {
		method, site string
		ok           bool
	}{
		{"POST", "same-origin", true}, {"GET", "none", true}, {"POST", "none", false}, {"GET", "cross-site", false}, {"GET", "same-site", false}, {"GET", "", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, "/", nil)
		r.AddCookie(&http.Cookie{Name: authn.CookieName, Value: w.token(nil)})
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		_, err := w.v.Authenticate(r)
		require.Equal(t, c.ok, err == nil, "%s %q: %v", c.method, c.site, err)
	}
}
