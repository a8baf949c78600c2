package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/id"
)

// patient asks again while the process that answers is gone or not ready, as a careful client does:
// only where asking twice does no harm. Calls of triggers get a key for that.
type patient struct{ base http.RoundTripper }

// repeatable marks requests that may be sent twice.
func repeatable(ctx context.Context) context.Context { return context.WithValue(ctx, repeat{}, true) }

type repeat struct{}

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	twice := r.Body == nil || r.GetBody != nil // a body that is streamed is sent once
	if twice && strings.HasPrefix(r.URL.Path, "/user-api/") && r.Method == http.MethodPost && r.Header.Get("Idempotency-Key") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Idempotency-Key", id.New())
	}
	if r.URL.Path == "/readyz" { // whose 503 is an answer
		return p.base.RoundTrip(r)
	}
	again := mayRepeat(r) || r.Context().Value(repeat{}) != nil
	for {
		resp, err := p.base.RoundTrip(r)
		gone := err != nil || resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable && !meant(resp)
		if !gone || !again || !twice {
			return resp, err
		}
		if err == nil {
			resp.Body.Close()
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(20 * time.Millisecond):
		}
		if r = r.Clone(r.Context()); r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// meant tells whether a 503 is what the platform has to say, and not that a service is away. The body can be read after it.
func meant(resp *http.Response) bool {
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var problem struct{ Code string }
	return err == nil && json.Unmarshal(body, &problem) == nil && problem.Code == "workflow_paused"
}
