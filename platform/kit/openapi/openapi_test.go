package openapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/openapi"
)

const document = `
openapi: 3.0.3
info: {title: "Cups & <saucers>", version: '1', description: Keeps cups.}
tags: [{name: cups, description: What one drinks from.}]
paths:
  /cups/v1/cups/{id}:
    parameters: [{$ref: '#/components/parameters/id'}]
    put:
      operationId: putCup
      tags: [cups]
      description: Stores a cup.
      requestBody:
        content: {application/json: {schema: {$ref: '#/components/schemas/Cup'}, example: {of: "it's tea"}}}
      responses:
        '204': {description: Stored.}
components:
  parameters:
    id: {name: id, in: path, required: true, description: Which cup., schema: {type: string, example: c1}}
  schemas:
    Cup: {type: object, description: A cup., required: [of], properties: {of: {type: string, maxLength: 9, description: What is in it.}}}
`

func mounted(t *testing.T) *openapi.Mux {
	t.Helper()
	doc, err := openapi.Parse("cups", []byte(document))
	require.NoError(t, err)
	return doc.Mount(&openapi.Mux{})
}

func get(t *testing.T, h http.Handler, path, etag string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestJSON(t *testing.T) {
	mux := mounted(t)
	w := get(t, mux, "/cups/openapi.json", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var doc map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc))
	require.Equal(t, "3.0.3", doc["openapi"])
	require.NotEmpty(t, w.Header().Get("ETag"))
	again := get(t, mux, "/cups/openapi.json", w.Header().Get("ETag"))
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Empty(t, again.Body.String())
}

func TestPage(t *testing.T) {
	w := get(t, mounted(t), "/cups/docs", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	page := w.Body.String()
	for _, want := range []string{
		"<h1>Cups &amp; &lt;saucers&gt;</h1>", `id="putCup"`, "PUT /cups/v1/cups/{id}", "Which cup.", `<a href="#schema-Cup">Cup</a>`,
		`id="schema-Cup"`, "at most 9 characters", "$PELTON/cups/v1/cups/c1",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "<script")
	require.NotContains(t, page, "ZgotmplZ")
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no YAML":            "a: b: c",
		"a lost reference":   "tags: [{name: t}]\npaths: {/x: {get: {tags: [t], parameters: [{$ref: '#/components/parameters/none'}]}}}",
		"a list for a table": "paths: []",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openapi.Parse("cups", []byte(text))
			require.ErrorContains(t, err, "cups")
		})
	}
}

func TestRoutes(t *testing.T) {
	mux := mounted(t)
	mux.Handle("DELETE /cups/v1/cups/{id}", http.NotFoundHandler())
	require.Equal(t, []string{"DELETE /cups/v1/cups/{id}", "GET /cups/docs", "GET /cups/openapi.json"}, mux.Routes())
}
