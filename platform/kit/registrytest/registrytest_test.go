package registrytest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecured: the server lets in who has its credentials, and is trusted by its authority alone.
func TestSecured(t *testing.T) {
	s := Secured(t, "127.0.0.1")
	var login struct {
		Auths map[string]struct{ Auth string }
	}
	require.NoError(t, json.Unmarshal(s.Login(s.Password), &login))
	text, err := os.ReadFile(s.CA)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	for auth, want := range map[string]int{"": http.StatusUnauthorized, "Basic " + login.Auths[s.Addr].Auth: http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr+"/v2/", http.NoBody)
		require.NoError(t, err)
		req.Header.Set("Authorization", auth)
		resp, err := c.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr+"/v2/", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	require.ErrorContains(t, err, "x509")

	certs := t.TempDir()
	t.Run("trusted", func(t *testing.T) {
		s.Trusted(t, certs)
		hosts, err := os.ReadFile(filepath.Join(certs, s.Addr, "hosts.toml"))
		require.NoError(t, err)
		require.Contains(t, string(hosts), s.CA)
	})
	left, err := os.ReadDir(certs)
	require.NoError(t, err)
	require.Empty(t, left)
}
