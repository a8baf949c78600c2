package httpapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
)

// issuer knows keys by the role that they have in project p.
type issuer struct{}

func (issuer) PublicKey(context.Context, string) (ed25519.PublicKey, error) {
	return nil, fault.New(fault.Unauthenticated, "no tokens here")
}

func (issuer) Introspect(_ context.Context, key string) (authn.Principal, error) {
	role := authn.ParseRole(strings.TrimPrefix(key, "pk_"))
	if role == authn.None {
		return authn.Principal{}, fault.New(fault.Unauthenticated, "no such key")
	}
	return authn.Principal{Subject: key, Key: true, Roles: map[string]authn.Role{"p": role}}, nil
}

// runner takes down what it is given.
type runner struct {
	mu     sync.Mutex
	events []string
	reply  *app.Reply
	err    error
}

func (r *runner) Receive(_ context.Context, credential, project string, text []byte, reply bool) (app.Received, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if credential != "Bearer pk_operator" || project != "p" {
		return app.Received{}, fault.New(fault.Internal, "%s %s", credential, project)
	}
	if r.err != nil {
		return app.Received{}, r.err
	}
	r.events = append(r.events, string(text))
	got := app.Received{Runs: []app.StartedRun{{Workflow: "w", Trigger: "t", Run: "r", Created: true}}}
	if reply {
		got.Reply = r.reply
	}
	return got, nil
}

func serve(t *testing.T, r *runner) string {
	t.Helper()
	s := httptest.NewServer(API{Service: app.New(app.Service{Runner: r, Schemas: func() string { return "" }}), Verify: authn.NewVerifier(issuer{}, time.Now)}.Handler())
	t.Cleanup(s.Close)
	return s.URL + "/bridge/v1/projects/p/events"
}

func sdk(t *testing.T, url string) client.Client {
	t.Helper()
	c, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(url), cloudevents.WithHeader("Authorization", "Bearer pk_operator"))
	require.NoError(t, err)
	return c
}

func sample(id, contentType string, data any) event.Event {
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/shop/eu")
	e.SetType("com.example.order.created")
	e.SetSubject("o-7")
	e.SetTime(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC))
	e.SetDataSchema("https://example.com/order.json")
	e.SetExtension("tenant", "acme")
	e.SetExtension("priority", 3)
	if data != nil {
		if err := e.SetData(contentType, data); err != nil {
			panic(err)
		}
	}
	return e
}

// TestRoundTrips: what the SDK's own client sends, in every mode and with every kind of data, arrives as it was.
func TestRoundTrips(t *testing.T) {
	for name, e := range map[string]event.Event{
		"json":    sample("1", "application/json", map[string]any{"total": 12.5, "lines": []int{1, 2}}),
		"+json":   sample("2", "application/vnd.example+json", map[string]any{"a": nil}),
		"text":    sample("3", "text/plain", "größer\n"),
		"bytes":   sample("4", "application/octet-stream", []byte{0, 0xff, 1}),
		"xml":     sample("5", "application/xml", []byte("<a/>")),
		"no data": sample("6", "", nil),
	} {
		for mode, with := range map[string]func(context.Context) context.Context{"binary": binding.WithForceBinary, "structured": binding.WithForceStructured} {
			t.Run(name+" "+mode, func(t *testing.T) {
				r := &runner{}
				result := sdk(t, serve(t, r)).Send(with(t.Context()), e)
				require.True(t, cloudevents.IsACK(result), "%v", result)
				var status *cehttp.Result
				require.True(t, cloudevents.ResultAs(result, &status))
				require.Equal(t, http.StatusAccepted, status.StatusCode)
				require.Len(t, r.events, 1)
				var got event.Event
				require.NoError(t, json.Unmarshal([]byte(r.events[0]), &got))
				require.NoError(t, got.Validate())
				require.Equal(t, e.Data(), got.Data())
				require.Equal(t, []any{e.ID(), e.Source(), e.Type(), e.Subject(), e.Time(), e.DataSchema(), e.DataContentType()},
					[]any{got.ID(), got.Source(), got.Type(), got.Subject(), got.Time(), got.DataSchema(), got.DataContentType()})
				require.Equal(t, "acme", got.Extensions()["tenant"])
				if strings.Contains(name, "text") {
					require.Contains(t, r.events[0], `"data":"größer\n"`, "it is readable")
				}
			})
		}
	}
	t.Run("batch", func(t *testing.T) {
		r := &runner{}
		req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), serve(t, r), []event.Event{sample("1", "application/json", 1), sample("2", "text/plain", "x")})
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer pk_operator")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusAccepted, resp.StatusCode)
		var out struct {
			Events int
			Runs   []startedJSON
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
		require.Equal(t, 2, out.Events)
		require.Equal(t, startedJSON{"2", "w", "t", "r", true}, out.Runs[1])
	})
	t.Run("reply", func(t *testing.T) {
		r := &runner{reply: &app.Reply{ID: "r", Source: "/checks", Type: "com.example.checked", Time: time.Now(), Data: []byte(`{"ok":true}`)}}
		got, result := sdk(t, serve(t, r)).Request(t.Context(), sample("1", "application/json", 1))
		require.True(t, cloudevents.IsACK(result), "%v", result)
		require.NotNil(t, got)
		require.Equal(t, []any{"r", "/checks", "com.example.checked", `{"ok":true}`}, []any{got.ID(), got.Source(), got.Type(), string(got.Data())})
	})
}

// TestMalformed: every malformed event is answered with a problem that names what is wrong and what would be right.
func TestMalformed(t *testing.T) {
	const structuredType, batchType = "application/cloudevents+json", "application/cloudevents-batch+json"
	good := map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
	with := func(changes ...string) map[string]string {
		out := map[string]string{}
		for k, v := range good {
			out[k] = v
		}
		for i := 0; i < len(changes); i += 2 {
			if out[changes[i]] = changes[i+1]; changes[i+1] == "" {
				delete(out, changes[i])
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		contentType string
		header      map[string]string
		body        string
		status      int
		says        string
	}{
		"nothing":                {"", nil, "", 415, "the request holds no CloudEvent: send an event in binary mode"},
		"plain JSON":             {"application/json", nil, "{}", 415, "the request holds no CloudEvent"},
		"odd type":               {"a/b; c", good, "", 415, `the Content-Type "a/b; c" cannot be read`},
		"other format":           {"application/cloudevents+avro", nil, "x", 415, "the format application/cloudevents+avro is not supported"},
		"no version":             {"", with("ce-specversion", ""), "", 400, "ce-specversion: is missing (give 1.0)"},
		"version":                {"", with("ce-specversion", "0.3"), "", 400, `ce-specversion: is "0.3" (give "1.0"`},
		"no id":                  {"", with("ce-id", ""), "", 400, "ce-id: "},
		"no source":              {"", with("ce-source", ""), "", 400, "ce-source: "},
		"no type":                {"", with("ce-type", ""), "", 400, "ce-type: "},
		"time":                   {"", with("ce-time", "yesterday"), "", 400, "ce-time: "},
		"schema":                 {"", with("ce-dataschema", "%zz"), "", 400, "ce-dataschema: "},
		"attribute":              {"", with("ce-my-field", "x"), "", 400, "ce-my-field: is no name of an attribute (use a-z and 0-9 alone)"},
		"data is no JSON":        {"application/json", good, "{", 400, "data: is no JSON, as the Content-Type says"},
		"structured no JSON":     {structuredType, nil, "{", 400, "is no JSON object"},
		"structured list":        {structuredType, nil, "[]", 400, "is no JSON object"},
		"structured empty":       {structuredType, nil, "", 400, "is no JSON object"},
		"structured version":     {structuredType, nil, `{"id":"1","source":"/s","type":"t"}`, 400, "specversion: is missing"},
		"structured version 2":   {structuredType, nil, `{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, 400, "specversion: is 1.0"},
		"structured id":          {structuredType, nil, `{"specversion":"1.0","source":"/s","type":"t"}`, 400, "id: "},
		"structured empty id":    {structuredType, nil, `{"specversion":"1.0","id":"","source":"/s","type":"t"}`, 400, "id: "},
		"structured source":      {structuredType, nil, `{"specversion":"1.0","id":"1","type":"t"}`, 400, "source: "},
		"structured type":        {structuredType, nil, `{"specversion":"1.0","id":"1","source":"/s"}`, 400, "type: "},
		"structured number":      {structuredType, nil, `{"specversion":"1.0","id":7,"source":"/s","type":"t"}`, 400, "id: "},
		"structured time":        {structuredType, nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"x"}`, 400, "time: "},
		"structured attribute":   {structuredType, nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","My_Field":"x"}`, 400, "My_Field: is no name of an attribute"},
		"structured object":      {structuredType, nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","ext":{}}`, 400, "ext: is an object or a list"},
		"structured both":        {structuredType, nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}`, 400, "data_base64: is given beside data"},
		"structured base64":      {structuredType, nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"!"}`, 400, ""},
		"batch no array":         {batchType, nil, `{}`, 400, "the body is no JSON array of events"},
		"batch, all told":        {batchType, nil, `[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"specversion":"1.0","id":"2","source":"/s"},7]`, 400, "[1].type: "},
		"batch, all told at end": {batchType, nil, `[{"specversion":"1.0","id":"2","source":"/s"},7]`, 400, "[1]: is no JSON object"},
		"batch too long":         {batchType, nil, "[" + strings.Repeat("1,", 1000) + "1]", 413, "the batch has 1001 events"},
		"too large":              {"text/plain", good, strings.Repeat("x", maxEvent+1), 413, "the body is larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &runner{}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, serve(t, r), strings.NewReader(c.body))
			require.NoError(t, err)
			for k, v := range c.header {
				req.Header.Set(k, v)
			}
			if c.contentType != "" {
				req.Header.Set("Content-Type", c.contentType)
			}
			req.Header.Set("Authorization", "Bearer pk_operator")
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", data)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			var p httpx.Problem
			require.NoError(t, json.Unmarshal(data, &p))
			text := p.Detail
			for _, f := range p.Errors {
				require.NotEmpty(t, f.Remedy, "%s", data)
				text += "; " + f.Field + ": " + f.Message + " (" + f.Remedy + ")"
			}
			require.Contains(t, text, c.says)
			require.Empty(t, r.events, "nothing of it starts anything")
		})
	}
}

// TestWhoMaySend: a key with the role, in the header or the URL; the handshake of web hooks.
func TestWhoMaySend(t *testing.T) {
	r := &runner{}
	url := serve(t, r)
	send := func(method, url string, header ...string) (int, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(nil))
		require.NoError(t, err)
		for _, h := range append([]string{"Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: /s", "Ce-Type: t"}, header...) {
			k, v, _ := strings.Cut(h, ": ")
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode, resp.Header
	}
	status := func(url string, header ...string) int {
		code, _ := send("POST", url, header...)
		return code
	}
	require.Equal(t, 401, status(url))
	require.Equal(t, 401, status(url+"?access_token=pk_wrong"))
	require.Equal(t, 403, status(url+"?access_token=pk_viewer"))
	require.Equal(t, 202, status(url+"?access_token=pk_operator"))
	require.Equal(t, 202, status(url, "Authorization: Bearer pk_operator"))
	require.Equal(t, 204, status(url, "Authorization: Bearer pk_operator", "Prefer: respond-async, Reply"), "Knative takes a body that is no event for a failure")
	require.Equal(t, 403, status(strings.Replace(url, "/p/", "/q/", 1), "Authorization: Bearer pk_operator"))
	_, h := send("OPTIONS", url, "WebHook-Request-Origin: example.com", "WebHook-Request-Rate: 120")
	require.Equal(t, []string{"*", "*", "POST, OPTIONS"}, []string{h.Get("WebHook-Allowed-Origin"), h.Get("WebHook-Allowed-Rate"), h.Get("Allow")})
	_, h = send("OPTIONS", url)
	require.Empty(t, h.Get("WebHook-Allowed-Origin"))

	r.err = fault.New(fault.Unprocessable, "it does not fit")
	require.Equal(t, 422, status(url+"?access_token=pk_operator"))
	r.err = fault.New(fault.Unavailable, "away")
	code, h := send("POST", url+"?access_token=pk_operator")
	require.Equal(t, 503, code)
	require.NotEmpty(t, h.Get("Retry-After"))
}

// TestConnectBroker: what is no key for this is told, before anything else is looked at.
func TestConnectBroker(t *testing.T) {
	url := strings.TrimSuffix(serve(t, &runner{}), "/events") + "/broker"
	put := func(token, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(data)
	}
	code, _ := put("pk_operator", `{"key":"pk_operator"}`)
	require.Equal(t, 403, code)
	for body, says := range map[string]string{
		`{}`:                    "is missing",
		`{"key":"pk_wrong"}`:    "is not valid",
		`{"key":"pk_viewer"}`:   "does not have the role operator in project p",
		`{"key":"pk_operator"}`: "this platform manages no Brokers: set bridge.broker",
	} {
		code, text := put("pk_admin", body)
		require.Contains(t, []int{400, 409}, code, text)
		require.Contains(t, text, says)
	}
}
