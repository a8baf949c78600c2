package authn

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Remote is the authorization service over HTTP. Safe for concurrent use.
type Remote struct {
	url    string
	client *http.Client
	now    func() time.Time

	mu    sync.Mutex
	keys  map[string]ed25519.PublicKey
	asked time.Time
}

var _ Issuer = (*Remote)(nil)

// NewRemote makes an issuer of the address that the service's paths (/authorization/…) begin at.
func NewRemote(url string, now func() time.Time) *Remote {
	return &Remote{url: strings.TrimRight(url, "/"), client: &http.Client{Timeout: 10 * time.Second}, now: now}
}

// askAgain is how long an unknown key is not asked for again, so that made-up key ids cost nothing.
const askAgain = time.Second

// PublicKey implements Issuer.
func (r *Remote) PublicKey(ctx context.Context, keyID string) (ed25519.PublicKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := r.find(keyID); key != nil {
		return key, nil
	}
	if r.keys == nil || r.now().Sub(r.asked) > askAgain {
		if err := r.fetch(ctx); err != nil {
			return nil, err
		}
	}
	if key := r.find(keyID); key != nil {
		return key, nil
	}
	return nil, fault.New(fault.Unauthenticated, "the token was signed by a key that is not known")
}

func (r *Remote) find(keyID string) ed25519.PublicKey {
	if keyID != "" {
		return r.keys[keyID]
	}
	for _, key := range r.keys {
		return key
	}
	return nil
}

func (r *Remote) fetch(ctx context.Context) error {
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X string }
	}
	if err := r.call(ctx, http.MethodGet, "/authorization/v1/jwks.json", nil, &set); err != nil {
		return err
	}
	keys := map[string]ed25519.PublicKey{}
	for _, k := range set.Keys {
		raw, err := base64.RawURLEncoding.DecodeString(k.X)
		if k.Kty == "OKP" && k.Crv == "Ed25519" && err == nil && len(raw) == ed25519.PublicKeySize {
			keys[k.Kid] = raw
		}
	}
	r.keys, r.asked = keys, r.now()
	return nil
}

// Introspect implements Issuer.
func (r *Remote) Introspect(ctx context.Context, key string) (Principal, error) {
	var k struct {
		Active  bool   `json:"active"`
		KeyID   string `json:"key_id"`
		Name    string `json:"name"`
		Project string `json:"project"`
		Role    string `json:"role"`
	}
	if err := r.call(ctx, http.MethodPost, "/authorization/v1/introspect", map[string]string{"key": key}, &k); err != nil {
		return Principal{}, err
	}
	if !k.Active {
		return Principal{}, fault.New(fault.Unauthenticated, "the API key is not valid, was revoked or has expired: %s", remedy)
	}
	return Principal{Subject: k.KeyID, Name: k.Name, Key: true, Roles: map[string]Role{k.Project: ParseRole(k.Role)}}, nil
}

func (r *Remote) call(ctx context.Context, method, path string, in, out any) error {
	const away = "the authorization service does not answer just now"
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, away)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fault.Wrap(fmt.Errorf("%s %s: %s", method, r.url+path, resp.Status), fault.Unavailable, away)
	}
	return fault.Wrap(json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(out), fault.Unavailable, away)
}
