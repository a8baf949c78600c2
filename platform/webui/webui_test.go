package webui

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func get(t *testing.T, h http.Handler, path string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	resp := w.Result()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func TestFilesAndPages(t *testing.T) {
	h := handler("/app/", fstest.MapFS{
		"index.html":       {Data: []byte("<html>page</html>")},
		"assets/a-1234.js": {Data: []byte("code")},
		".keep":            {},
	})
	for path, want := range map[string]struct {
		status int
		body   string
		cache  string
	}{
		"/app/":                  {200, "<html>page</html>", "no-cache"},
		"/app/default/runs/abc":  {200, "<html>page</html>", "no-cache"},
		"/app/assets/a-1234.js":  {200, "code", "public, max-age=31536000, immutable"},
		"/app/assets/gone.js":    {404, "404 page not found\n", ""},
		"/app/../../etc/passwd":  {200, "<html>page</html>", "no-cache"},
		"/app/.keep":             {200, "<html>page</html>", "no-cache"},
		"/app/assets/../.keep":   {200, "<html>page</html>", "no-cache"},
		"/app/default/a.b/c.yml": {200, "<html>page</html>", "no-cache"},
	} {
		r, body := get(t, h, path) //nolint:bodyclose // get has closed it
		require.Equal(t, want.status, r.StatusCode, path)
		require.Equal(t, want.body, body, path)
		require.Equal(t, want.cache, r.Header.Get("Cache-Control"), path)
		require.Contains(t, r.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'", path)
	}
}

func TestWithoutPage(t *testing.T) {
	r, body := get(t, handler("/app/", fstest.MapFS{}), "/app/") //nolint:bodyclose // get has closed it
	require.Equal(t, 404, r.StatusCode)
	require.Contains(t, body, "make build")
}
