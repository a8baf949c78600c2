package contract_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
)

const document = `
openapi: 3.0.3
info: {title: Cups, version: '1'}
tags: [{name: cups}]
paths:
  /cups/{id}:
    parameters: [{name: id, in: path, required: true, description: Which., schema: {type: string}}]
    get:
      operationId: getCup
      tags: [cups]
      summary: Get
      description: Returns a cup.
      security: []
      parameters: [{name: size, in: query, description: How large., schema: {type: integer, maximum: 5}}]
      responses:
        '200': {description: A cup., content: {application/json: {schema: {$ref: '#/components/schemas/Cup'}}}}
        '204': {description: No cup.}
  /cups/events:
    get:
      operationId: watchCups
      tags: [cups]
      summary: Watch
      description: Streams cups.
      security: []
      responses:
        '200': {description: Cups., content: {text/event-stream: {schema: {$ref: '#/components/schemas/Cup'}}}}
components:
  schemas:
    Cup:
      type: object
      description: A cup.
      additionalProperties: false
      required: [id]
      properties:
        id: {type: string, format: uuid, description: Which.}
        full: {type: boolean, description: Whether it is full.}
`

func TestTransport(t *testing.T) {
	const cup = `"id":"0190b5c0-7c3e-7000-8000-000000000000"`
	for _, c := range []struct{ name, path, kind, body, want string }{
		{"as described", "/cups/1", "application/json", `{` + cup + `,"full":true}`, ""},
		{"a field that is not described", "/cups/1", "application/json", `{` + cup + `,"empty":true}`, "empty"},
		{"a wrong type", "/cups/1", "application/json", `{` + cup + `,"full":"yes"}`, "at /full"},
		{"a wrong format", "/cups/1", "application/json", `{"id":"1"}`, "at /id"},
		{"a missing field", "/cups/1", "application/json", `{}`, `"id" is missing`},
		{"another type", "/cups/1", "text/plain", `cup`, "is not described"},
		{"another status", "/cups/1?status=202", "application/json", `{}`, "status"},
		{"no body where none is described", "/cups/1?status=204", "", "", ""},
		{"a route that is not described", "/saucers", "application/json", `{}`, "does not describe this route"},
		{"a parameter that is forbidden and taken", "/cups/1?size=9", "application/json", `{` + cup + `}`, "forbids this request"},
		{"events", "/cups/events", "text/event-stream", "event: x\ndata: {" + cup + "}\n\n: \n\n", ""},
		{"a wrong event", "/cups/events", "text/event-stream", "data: {" + cup + "}\n\ndata: {\"full\":1}\n\n", "value must be a boolean"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status := http.StatusOK
				if text := r.URL.Query().Get("status"); text != "" {
					_, err := fmt.Sscan(text, &status)
					require.NoError(t, err)
				}
				if c.kind != "" {
					w.Header().Set("Content-Type", c.kind)
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer s.Close()
			doc, err := contract.Load([]byte(document))
			require.NoError(t, err)
			var told []string
			client := http.Client{Transport: &contract.Transport{Base: http.DefaultTransport,
				Find:   func(string) (*contract.Contract, error) { return doc, nil },
				Report: func(err error) { told = append(told, err.Error()) }}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+c.path, nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.body, string(body), "the answer passes unchanged")
			if c.want == "" {
				require.Empty(t, told)
				return
			}
			require.Contains(t, strings.Join(told, "\n"), c.want)
		})
	}
}

func TestRoutes(t *testing.T) {
	doc, err := contract.Load([]byte(document))
	require.NoError(t, err)
	require.NoError(t, doc.Lint())
	require.NoError(t, doc.Routes([]string{"GET /cups/{id}", "GET /cups/events"}))
	err = doc.Routes([]string{"GET /cups/events", "PUT /cups/{id}"})
	require.ErrorContains(t, err, "GET /cups/{id} is described and not registered")
	require.ErrorContains(t, err, "PUT /cups/{id} is registered and not described")
}

func TestLint(t *testing.T) {
	loose := strings.NewReplacer("additionalProperties: false\n", "\n", "operationId: getCup", "operationId: Get_Cup", "description: Which.}\n        full", "description: x}\n        full").Replace(document)
	doc, err := contract.Load([]byte(loose))
	require.NoError(t, err)
	err = doc.Lint()
	require.ErrorContains(t, err, "additionalProperties")
	require.ErrorContains(t, err, "lowerCamelCase")
	require.ErrorContains(t, err, `Cup.id: is described as "x"`)
}
