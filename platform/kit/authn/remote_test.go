package authn_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

func TestRemote(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	fetched, down := 0, false
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authorization/v1/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		fetched++
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{
			map[string]string{"kty": "RSA", "kid": "other"},
			map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": base64.RawURLEncoding.EncodeToString(public)},
		}})
	})
	mux.HandleFunc("POST /authorization/v1/introspect", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Key string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		_ = json.NewEncoder(w).Encode(map[string]any{"active": in.Key == "pk_good", "key_id": "k", "name": "ci", "project": "default", "role": "operator"})
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	defer server.Close()
	now := time.Now()
	remote := authn.NewRemote(server.URL+"/", func() time.Time { return now })

	down = true
	_, err = remote.PublicKey(t.Context(), "one")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	down = false
	for _, kid := range []string{"one", ""} {
		key, err := remote.PublicKey(t.Context(), kid)
		require.NoError(t, err)
		require.Equal(t, public, key)
	}
	for range 10 {
		_, err = remote.PublicKey(t.Context(), "made up")
		require.True(t, fault.Is(err, fault.Unauthenticated), "%v", err)
	}
	require.Equal(t, 1, fetched, "made-up key ids cost nothing")
	now = now.Add(2 * time.Second)
	_, err = remote.PublicKey(t.Context(), "other")
	require.True(t, fault.Is(err, fault.Unauthenticated), "%v", err)
	require.Equal(t, 2, fetched, "a key may be new")

	p, err := remote.Introspect(t.Context(), "pk_good")
	require.NoError(t, err)
	require.Equal(t, authn.Principal{Subject: "k", Name: "ci", Key: true, Roles: map[string]authn.Role{"default": authn.Operator}}, p)
	_, err = remote.Introspect(t.Context(), "pk_bad")
	require.True(t, fault.Is(err, fault.Unauthenticated), "%v", err)
	down = true
	_, err = remote.Introspect(t.Context(), "pk_good")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
