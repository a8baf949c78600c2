package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var delivery = domain.Delivery{EventID: "0190-1", Event: []byte(`{"specversion":"1.0","id":"0190-1","source":"/projects/p/workflows/w","type":"io.pelton.run.completed.v1","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","project":"p","data":{"a":1}}`)}

// send sends the delivery to a handler.
func send(t *testing.T, kind string, private bool, h http.HandlerFunc) app.Outcome {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	return New(Config{Private: private, Version: "test", Now: time.Now})[kind].Send(t.Context(), domain.Sink{Kind: kind, URL: s.URL + "/hook"}, []byte(secret), delivery)
}

// TestSigned: the specification's own library accepts the signature, and no other body or secret.
func TestSigned(t *testing.T) {
	o := send(t, domain.SinkWebhook, true, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		wh, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		require.NoError(t, wh.Verify(body, r.Header))
		require.Error(t, wh.Verify(append(body, ' '), r.Header))
		other, err := standardwebhooks.NewWebhook("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		require.NoError(t, err)
		require.Error(t, other.Verify(body, r.Header))
		require.Equal(t, "0190-1", r.Header.Get("webhook-id"))
		require.Equal(t, "application/cloudevents+json; charset=utf-8", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusNoContent)
	})
	require.Equal(t, app.Outcome{}, o)
}

// TestBinary: the SDK reads the event.
func TestBinary(t *testing.T) {
	o := send(t, domain.SinkCloudEvents, true, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "io.pelton.run.completed.v1", r.Header.Get("Ce-Type"))
		e, err := cehttp.NewEventFromHTTPRequest(r)
		require.NoError(t, err)
		require.NoError(t, e.Validate())
		require.Equal(t, "p", e.Extensions()["project"])
		require.JSONEq(t, `{"a":1}`, string(e.Data()))
		w.WriteHeader(http.StatusAccepted)
	})
	require.Equal(t, app.Outcome{}, o)
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   app.Outcome
	}{
		"error":     {500, nil, "no\nmore", app.Outcome{Problem: "answered 500: no"}},
		"gone":      {410, nil, "", app.Outcome{Problem: "answered 410", Gone: true}},
		"throttled": {429, map[string]string{"Retry-After": "7"}, "", app.Outcome{Problem: "answered 429", RetryAfter: 7 * time.Second}},
		"redirect":  {302, map[string]string{"Location": "http://example.com"}, "", app.Outcome{Problem: "answered 302: redirects are not followed; give the address that it names"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, send(t, domain.SinkWebhook, true, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
		})
	}
	o := send(t, domain.SinkWebhook, false, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") })
	require.Equal(t, app.ErrPrivate.Error(), o.Problem)
	s := httptest.NewServer(nil)
	s.Close()
	o = New(Config{Private: true, Now: time.Now})[domain.SinkWebhook].Send(t.Context(), domain.Sink{URL: s.URL}, []byte(secret), delivery)
	require.Contains(t, o.Problem, "refused")
}
