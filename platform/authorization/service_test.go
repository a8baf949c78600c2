package authorization

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/membus"
	"github.com/pelton-run/pelton/platform/authorization/internal/infra/postgres"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is the service on a real database, with a clock of its own.
type bench struct {
	t    *testing.T
	svc  *Service
	http http.Handler

	mu  sync.Mutex
	now time.Time
}

func (b *bench) clock() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.now }
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	b := &bench{t: t, now: time.Now()}
	pool := pgtest.New(t, "authorization", postgres.Migrations, "migrations")
	var err error
	b.svc, err = New(t.Context(), Config{KeyDir: t.TempDir()}, Deps{Store: pool.Config().ConnString(), Publisher: membus.New(t.TempDir(), log), Now: b.clock, Log: log})
	require.NoError(t, err)
	t.Cleanup(b.svc.Close)
	b.http = b.svc.Handler(authn.NewVerifier(b.svc, b.clock))
	return b
}

type answer struct {
	Token, Code, Key, ID, Role, Detail, Kind string
	Active                                   bool
	Items                                    []struct{ ID, Name, Role, Key, Prefix string }
	Errors                                   []struct{ Field string }
}

func (b *bench) call(credential, method, path string, in any) (int, answer) {
	b.t.Helper()
	return b.from("192.0.2.1", credential, method, path, in)
}

func (b *bench) from(address, credential, method, path string, in any) (int, answer) {
	var body bytes.Buffer
	if in != nil {
		_ = json.NewEncoder(&body).Encode(in)
	}
	r := httptest.NewRequestWithContext(context.Background(), method, "/authorization/v1"+path, &body)
	r.RemoteAddr = address + ":4711"
	r.Header.Set("Content-Type", "application/json")
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	w := httptest.NewRecorder()
	b.http.ServeHTTP(w, r)
	var a answer
	_ = json.Unmarshal(w.Body.Bytes(), &a)
	return w.Code, a
}

type object = map[string]any

func (b *bench) login(password string) (int, answer) {
	b.t.Helper()
	return b.call("", "POST", "/login", object{"username": "admin", "password": password})
}

// admin is a token of the first administrator.
func (b *bench) admin() string {
	b.t.Helper()
	code, a := b.login(b.svc.FirstPassword())
	require.Equal(b.t, 200, code, "%+v", a)
	return a.Token
}

func TestLogin(t *testing.T) {
	b := newBench(t)
	token := b.admin()
	code, me := b.call(token, "GET", "/me", nil)
	require.Equal(t, 200, code)
	require.Equal(t, "user", me.Kind)
	b.pass(13 * time.Hour)
	code, _ = b.call(token, "GET", "/me", nil)
	require.Equal(t, 401, code, "a login ends")

	// A wrong name and a wrong password look the same.
	code, wrong := b.login("not the password")
	require.Equal(t, 401, code)
	code, nobody := b.call("", "POST", "/login", object{"username": "nobody", "password": "x"})
	require.Equal(t, 401, code)
	require.Equal(t, wrong.Detail, nobody.Detail)

	for name, forged := range map[string]string{
		"another's signature": token[:len(token)-6] + "AAAAAA",
		"no signature":        token[:strings.LastIndex(token, ".")+1],
		"no token":            "x.y.z",
		"no algorithm":        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsImFkbWluIjp0cnVlfQ.",
	} {
		code, _ := b.call(forged, "GET", "/me", nil)
		require.Equal(t, 401, code, name)
	}
}

// TestGuessing: after five failures within a minute even the right password is refused, from that
// address and for that name; success does not count.
func TestGuessing(t *testing.T) {
	b := newBench(t)
	for range 20 {
		b.admin()
	}
	for range 5 {
		code, _ := b.login("wrong")
		require.Equal(t, 401, code)
	}
	code, a := b.login(b.svc.FirstPassword())
	require.Equal(t, 429, code)
	require.Contains(t, a.Detail, "wait a minute")
	code, _ = b.from("192.0.2.2", "", "POST", "/login", object{"username": "admin", "password": b.svc.FirstPassword()})
	require.Equal(t, 429, code, "the name is guarded from everywhere")
	code, _ = b.call("", "POST", "/login", object{"username": "other", "password": "x"})
	require.Equal(t, 429, code, "the address is, whatever name it tries")
	code, _ = b.from("192.0.2.2", "", "POST", "/login", object{"username": "other", "password": "x"})
	require.Equal(t, 401, code)
	b.pass(time.Minute)
	b.admin()
}

// TestGuessingAtOnce: many guesses at the same moment get no further than one after the other.
func TestGuessingAtOnce(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	codes := map[int]int{}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			code, _ := b.from(fmt.Sprintf("192.0.2.%d", i), "", "POST", "/login", object{"username": "admin", "password": "wrong"})
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{401: 5, 429: 35}, codes)
}

// TestCodes: a code signs in once, for ten minutes, whoever is first.
func TestCodes(t *testing.T) {
	b := newBench(t)
	token := b.admin()
	draw := func() string {
		code, a := b.call(token, "POST", "/login/codes", object{})
		require.Equal(t, 201, code, "%+v", a)
		return a.Code
	}
	use := func(code string) int {
		status, _ := b.call("", "POST", "/login/code", object{"code": code})
		return status
	}
	first := draw()
	require.NotEqual(t, first, draw())
	require.Equal(t, 200, use(first))
	require.Equal(t, 401, use(first), "a second time")
	late := draw()
	b.pass(11 * time.Minute)
	require.Equal(t, 401, use(late), "too late")
	require.Equal(t, 401, use(""), "none")
	require.Equal(t, 401, use("made up"))

	raced := draw()
	var mu sync.Mutex
	codes := map[int]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			code, _ := b.from("192.0.2.1", "", "POST", "/login/code", object{"code": raced})
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{200: 1, 401: 19}, codes)
}

func (b *bench) key(by string, in object) (int, answer) {
	b.t.Helper()
	return b.call(by, "POST", "/projects/default/keys", in)
}

// TestKeyRoles: a key may do what its role may, in its project; nobody makes one that may more.
func TestKeyRoles(t *testing.T) {
	b := newBench(t)
	admin := b.admin()
	keys := map[string]string{}
	for _, role := range []string{"viewer", "operator", "developer", "admin"} {
		code, a := b.key(admin, object{"name": role, "role": role})
		require.Equal(t, 201, code, "%+v", a)
		keys[role] = a.Key
	}
	code, a := b.key(admin, object{"name": "usual"})
	require.Equal(t, 201, code)
	require.Equal(t, "operator", a.Role, "without a role")
	for _, c := range []struct {
		by, role string
		code     int
	}{
		{"viewer", "viewer", 403}, {"operator", "viewer", 403},
		{"developer", "viewer", 201}, {"developer", "developer", 201}, {"developer", "admin", 403},
		{"admin", "admin", 201},
	} {
		code, a := b.key(keys[c.by], object{"name": c.by + " makes " + c.role, "role": c.role})
		require.Equal(t, c.code, code, "%+v: %+v", c, a)
	}
	for role, key := range keys {
		code, _ := b.call(key, "GET", "/projects/default/keys", nil)
		require.Equal(t, role == "developer" || role == "admin", code == 200, role)
		code, _ = b.call(key, "GET", "/projects/other/keys", nil)
		require.Equal(t, 404, code, "%s: of another project a key learns nothing", role)
		code, a := b.call(key, "POST", "/login/codes", object{})
		require.Equal(t, 403, code, "a key signs nobody in: %+v", a)
		code, me := b.call(key, "GET", "/me", nil)
		require.Equal(t, 200, code)
		require.Equal(t, "key", me.Kind)
	}
	// A list tells no secrets.
	_, list := b.call(admin, "GET", "/projects/default/keys", nil)
	require.Len(t, list.Items, 8)
	for _, k := range list.Items {
		require.Empty(t, k.Key)
		require.Len(t, k.Prefix, len("pk_")+8)
	}
	for name, in := range map[string]object{
		"role":       {"name": "x", "role": "king"},
		"name":       {"name": "", "role": "viewer"},
		"expires_at": {"name": "x", "expires_at": b.clock().Add(-time.Second)},
	} {
		code, a := b.key(admin, in)
		require.Equal(t, 400, code, name)
		require.Equal(t, name, a.Errors[0].Field)
	}
}

// TestKeyEnds: a key ends when it expires and at once when it is revoked.
func TestKeyEnds(t *testing.T) {
	b := newBench(t)
	admin := b.admin()
	works := func(key string) bool {
		code, _ := b.call(key, "GET", "/me", nil)
		_, told := b.call("", "POST", "/introspect", object{"key": key})
		require.Equal(t, code == 200, told.Active)
		return code == 200
	}
	_, a := b.key(admin, object{"name": "short", "expires_at": b.clock().Add(time.Hour)})
	require.True(t, works(a.Key))
	b.pass(time.Hour + 10*time.Second) // longer than a verifier remembers
	require.False(t, works(a.Key))

	_, a = b.key(admin, object{"name": "revoked", "role": "developer"})
	require.True(t, works(a.Key))
	other := "pk_" + a.ID + "_" + strings.Repeat("A", 43)
	require.False(t, works(other), "the name of a key is not the key")
	for _, bad := range []string{"pk_", "pk_x", a.Key + "x", a.Key[:len(a.Key)-1], strings.ToUpper(a.Key)} {
		require.False(t, works(bad), bad)
	}
	code, _ := b.call(admin, "DELETE", "/projects/other/keys/"+a.ID, nil)
	require.Equal(t, 404, code, "a key of another project")
	require.True(t, works(a.Key))
	code, _ = b.call(admin, "DELETE", "/projects/default/keys/"+a.ID, nil)
	require.Equal(t, 204, code)
	require.False(t, works(a.Key), "at once")
	code, _ = b.call(admin, "DELETE", "/projects/default/keys/"+a.ID, nil)
	require.Equal(t, 404, code)
}
