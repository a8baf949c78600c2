// Package httpapi is the authorization service's HTTP interface; openapi.yaml describes it.
package httpapi

import (
	"crypto/ed25519"
	"encoding/base64"
	"net"
	"net/http"
	"time"

	"github.com/pelton-run/pelton/platform/authorization/internal/app"
	"github.com/pelton-run/pelton/platform/authorization/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/openapi"
)

// API serves the interface.
type API struct {
	Service *app.Service
	KeyID   string            // of the key that signs tokens
	Key     ed25519.PublicKey // its public half
	Verify  *authn.Verifier
	Now     func() time.Time
}

// Handler is the mux of the service's routes.
func (a API) Handler() *openapi.Mux {
	mux := &openapi.Mux{}
	open := func(pattern string, f httpx.HandlerFunc) { mux.Handle(pattern, httpx.Handle(f)) }
	route := func(pattern string, role authn.Role, f httpx.HandlerFunc) {
		mux.Handle(pattern, a.Verify.Require(role, httpx.Handle(f)))
	}
	open("POST /authorization/v1/login", a.login)
	open("POST /authorization/v1/login/code", a.loginCode)
	open("POST /authorization/v1/logout", a.logout)
	open("GET /authorization/v1/jwks.json", a.jwks)
	open("POST /authorization/v1/introspect", a.introspect)
	route("POST /authorization/v1/login/codes", authn.None, a.newCode)
	route("GET /authorization/v1/me", authn.None, a.me)
	route("GET /authorization/v1/projects", authn.None, a.projects)
	route("GET /authorization/v1/projects/{project}/keys", authn.Developer, a.listKeys)
	route("POST /authorization/v1/projects/{project}/keys", authn.Developer, a.createKey)
	route("DELETE /authorization/v1/projects/{project}/keys/{id}", authn.Developer, a.revokeKey)
	return mux
}

func (a API) answer(w http.ResponseWriter, r *http.Request, t app.Token, cookie bool) error {
	if cookie {
		http.SetCookie(w, &http.Cookie{Name: authn.CookieName, Value: t.Token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil, Expires: t.ExpiresAt})
	}
	w.Header().Set("Cache-Control", "no-store")
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"token": t.Token, "expires_at": t.ExpiresAt.UTC().Truncate(time.Millisecond)})
}

func (a API) login(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Cookie   bool   `json:"cookie"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	var bad []fault.Field
	if in.Username == "" {
		bad = append(bad, fault.Field{Path: "username", Message: "is missing", Remedy: "the first user is admin"})
	}
	if in.Password == "" {
		bad = append(bad, fault.Field{Path: "password", Message: "is missing", Remedy: "the first password was told at the first start"})
	}
	if len(bad) > 0 {
		return fault.InvalidFields(bad...)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	t, err := a.Service.Login(r.Context(), in.Username, in.Password, host)
	if err != nil {
		return err
	}
	return a.answer(w, r, t, in.Cookie)
}

func (a API) loginCode(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Code   string `json:"code"`
		Cookie bool   `json:"cookie"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	t, err := a.Service.LoginCode(r.Context(), in.Code)
	if err != nil {
		return err
	}
	return a.answer(w, r, t, in.Cookie)
}

func (a API) logout(w http.ResponseWriter, _ *http.Request) error {
	http.SetCookie(w, &http.Cookie{Name: authn.CookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a API) newCode(w http.ResponseWriter, r *http.Request) error {
	p := authn.From(r.Context())
	if p.Key {
		return fault.New(fault.Forbidden, "an API key cannot sign a person in: log in with a password")
	}
	code, err := a.Service.NewCode(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusCreated, map[string]any{"code": code, "expires_at": a.Now().Add(app.CodeTTL).UTC().Truncate(time.Millisecond)})
}

func (a API) jwks(w http.ResponseWriter, _ *http.Request) error {
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": a.KeyID, "x": base64.RawURLEncoding.EncodeToString(a.Key),
	}}})
}

func (a API) introspect(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Key string `json:"key"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	k, err := a.Service.Introspect(r.Context(), in.Key)
	if fault.Is(err, fault.Unauthenticated) {
		return httpx.WriteJSON(w, http.StatusOK, map[string]any{"active": false})
	}
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"active": true, "key_id": k.ID, "name": k.Name, "project": k.Project, "role": k.Role})
}

func (a API) me(w http.ResponseWriter, r *http.Request) error {
	p := authn.From(r.Context())
	roles := map[string]string{}
	for project, role := range p.Roles {
		roles[project] = role.String()
	}
	kind := "user"
	if p.Key {
		kind = "key"
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"id": p.Subject, "name": p.Name, "kind": kind, "admin": p.Admin, "roles": roles})
}

func (a API) projects(w http.ResponseWriter, r *http.Request) error {
	all, err := a.Service.Store.Projects(r.Context())
	if err != nil {
		return err
	}
	p := authn.From(r.Context())
	type item struct {
		Name      string    `json:"name"`
		Role      string    `json:"role"`
		CreatedAt time.Time `json:"created_at"`
	}
	var items []item
	for _, x := range all {
		if role := p.Role(x.Name); role != authn.None {
			items = append(items, item{x.Name, role.String(), x.CreatedAt.UTC().Truncate(time.Millisecond)})
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

type keyJSON struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix"`
	Role      string     `json:"role"`
	CreatedBy string     `json:"created_by"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	Key       string     `json:"key,omitempty"`
}

func keyOf(k domain.Key) keyJSON {
	return keyJSON{ID: k.ID, Name: k.Name, Prefix: "pk_" + k.ID, Role: k.Role, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.UTC().Truncate(time.Millisecond), ExpiresAt: k.ExpiresAt}
}

func (a API) listKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := a.Service.Store.Keys(r.Context(), r.PathValue("project"))
	if err != nil {
		return err
	}
	var items []keyJSON
	for _, k := range keys {
		items = append(items, keyOf(k))
	}
	return httpx.WriteJSON(w, http.StatusOK, httpx.NewList(items, ""))
}

func (a API) createKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name      string     `json:"name"`
		Role      string     `json:"role"`
		ExpiresAt *time.Time `json:"expires_at"`
	}
	if err := httpx.DecodeJSON(r, &in, 64<<10); err != nil {
		return err
	}
	if in.Role == "" {
		in.Role = "operator"
	}
	p := authn.From(r.Context())
	if authn.ParseRole(in.Role) > p.Role(r.PathValue("project")) {
		return fault.New(fault.Forbidden, "a key cannot have a higher role than you: you are %s", p.Role(r.PathValue("project")))
	}
	k, text, err := a.Service.CreateKey(r.Context(), domain.Key{Project: r.PathValue("project"), Name: in.Name, Role: in.Role, ExpiresAt: in.ExpiresAt, CreatedBy: p.Name})
	if err != nil {
		return err
	}
	j := keyOf(k)
	j.Key = text
	w.Header().Set("Cache-Control", "no-store")
	return httpx.WriteJSON(w, http.StatusCreated, j)
}

func (a API) revokeKey(w http.ResponseWriter, r *http.Request) error {
	if err := a.Service.Store.RevokeKey(r.Context(), r.PathValue("project"), r.PathValue("id"), a.Now()); err != nil {
		return err
	}
	a.Verify.Drop(r.PathValue("id"))
	w.WriteHeader(http.StatusNoContent)
	return nil
}
