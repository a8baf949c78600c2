package e2e

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
)

// known are parameters that have to name something.
var known = strings.NewReplacer("{project}", "default", "{type}", "io.pelton.run.completed.v1.json")

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// TestDocuments: every service serves its document to anybody, as JSON and as a page, and every
// route that it describes is there and wants the credential that the document says.
func TestDocuments(t *testing.T) {
	p := start(t)
	ask := func(t *testing.T, method, path, etag string) (status int, newTag, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(deadline(t, 30*time.Second), method, p.URL+path, nil)
		require.NoError(t, err)
		if etag != "" {
			req.Header.Set("If-None-Match", etag)
		}
		resp, err := p.HTTP.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header.Get("ETag"), string(data)
	}
	for _, service := range harness.Services {
		t.Run(service, func(t *testing.T) {
			status, etag, text := ask(t, http.MethodGet, "/"+service+"/openapi.json", "")
			require.Equal(t, http.StatusOK, status)
			status, _, _ = ask(t, http.MethodGet, "/"+service+"/openapi.json", etag)
			require.Equal(t, http.StatusNotModified, status)
			doc, err := contract.Load([]byte(text))
			require.NoError(t, err)
			status, _, page := ask(t, http.MethodGet, "/"+service+"/docs", "")
			require.Equal(t, http.StatusOK, status)
			require.NotContains(t, page, "<script")
			for _, o := range doc.Operations() {
				require.Contains(t, page, `id="`+o.OperationID+`"`)
				path := parameter.ReplaceAllString(known.Replace(o.Path), "1")
				status, _, body := ask(t, o.Method, path, "")
				require.NotContains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed}, status, "%s: %s", o.Route(), body)
				require.Equal(t, !o.Open(), status == http.StatusUnauthorized, "%s: %s", o.Route(), body)
			}
		})
	}
}
