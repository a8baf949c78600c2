// Package runnerapi asks the runner over its HTTP interface to start runs.
package runnerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Client implements app.Runner. Safe for concurrent use.
type Client struct {
	url    string
	client *http.Client
}

var _ app.Runner = (*Client)(nil)

// New makes a client of the runner at a URL.
func New(url string) *Client {
	return &Client{url, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}}}
}

const away = "the runner does not answer just now: send the event again; it starts its runs once"

// Receive implements app.Runner.
func (c *Client) Receive(ctx context.Context, credential, project string, event []byte, reply bool) (app.Received, error) {
	body, err := json.Marshal(map[string]any{"event": json.RawMessage(event), "no_reply": !reply})
	if err != nil {
		return app.Received{}, fault.Wrap(err, fault.Internal, "encode the event")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/runner/v1/projects/"+url.PathEscape(project)+"/cloudevents", bytes.NewReader(body))
	if err != nil {
		return app.Received{}, fault.Wrap(err, fault.Internal, "call the runner")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", credential)
	resp, err := c.client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return app.Received{}, fault.Wrap(ctx.Err(), fault.Cancelled, "the sender left")
		}
		return app.Received{}, fault.Wrap(err, fault.Unavailable, away)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return app.Received{}, fault.Wrap(err, fault.Unavailable, away)
	}
	if resp.StatusCode != http.StatusOK {
		return app.Received{}, problem(resp.StatusCode, data)
	}
	var out struct {
		Runs  []app.StartedRun
		Reply *struct {
			ID, Source, Type string
			Time             time.Time
			Data             json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return app.Received{}, fault.Wrap(err, fault.Unavailable, away)
	}
	got := app.Received{Runs: out.Runs}
	if p := out.Reply; p != nil {
		got.Reply = &app.Reply{ID: p.ID, Source: p.Source, Type: p.Type, Time: p.Time, Data: p.Data}
	}
	return got, nil
}

var kinds = map[int]fault.Kind{
	400: fault.Invalid, 401: fault.Unauthenticated, 403: fault.Forbidden, 404: fault.NotFound, 409: fault.Conflict, 413: fault.TooLarge, 415: fault.Unsupported,
	422: fault.Unprocessable, 429: fault.Exhausted, 503: fault.Unavailable,
}

// problem is the runner's answer as a fault.
func problem(status int, data []byte) error {
	var p struct {
		Detail string
		Code   string
		Errors []struct{ Field, Message, Remedy string }
	}
	kind, ok := kinds[status]
	if !ok || json.Unmarshal(data, &p) != nil || p.Detail == "" && p.Errors == nil {
		return fault.New(fault.Unavailable, away)
	}
	f := fault.New(kind, "%s", p.Detail).WithCode(p.Code)
	for _, e := range p.Errors {
		f.Fields = append(f.Fields, fault.Field{Path: e.Field, Message: e.Message, Remedy: e.Remedy})
	}
	return f
}
