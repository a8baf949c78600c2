package e2e

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/rabbitbus"
	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestTrace: a trace that a request belongs to goes with all messages that it brings about, from
// process to process, seen by a queue of our own beside those of the services.
func TestTrace(t *testing.T) {
	home, err := os.MkdirTemp("", "pelton-e2e-") //nolint:usetesting // short, and reachable for other users
	require.NoError(t, err)
	backends := split(t)
	p := startWith(t, harness.Options{Home: home, Split: backends})
	deploy(t, p, workspace(t, merge(python("actions/same", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n"),
		map[string]string{"workflows/same.yaml": workflowYAML("same", "  inputs: [{name: n, type: integer}]\n  steps: [{id: a, uses: ./actions/same, with: {n: \"${inputs.n}\"}}]\n")})), "same")

	watcher, err := rabbitbus.New(t.Context(), rabbitbus.Config{URL: backends.Bus("watcher"), Name: "watcher", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer watcher.Close()
	seen := make(chan bus.Message, 1000)
	for exchange, keys := range map[string][]string{
		"repository.v1": {"BuildOrdered", "ActionOffered"}, "builder.v1": {"BuildStarted", "BuildSucceeded"}, "studio.v1": {"WorkflowDeployed"}, "runner.v1": {"DeploymentChanged"},
	} {
		q := bus.Queue{Name: "watcher." + strings.TrimSuffix(exchange, ".v1"), Exchange: exchange, Keys: keys}
		require.NoError(t, watcher.Subscribe(t.Context(), q, func(_ context.Context, m bus.Message) error { seen <- m; return nil }))
	}
	ctx := deadline(t, time.Minute)
	require.NoError(t, harness.Until(ctx, "the watcher's queues are there", func() (bool, error) { err := watcher.Ready(); return err == nil, err }))

	follow := func(path, body, trace string, keys ...string) {
		t.Helper()
		traceparent := "00-" + trace + "-00f067aa0ba902b7-01"
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header = http.Header{"Authorization": {"Bearer " + p.Token}, "Content-Type": {"application/json"}, "Traceparent": {traceparent}}
		resp, err := p.HTTP.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Less(t, resp.StatusCode, 300)
		left := map[string]bool{}
		for _, k := range keys {
			left[k] = true
		}
		for len(left) > 0 {
			select {
			case m := <-seen:
				if m.Headers["traceparent"] == traceparent {
					delete(left, m.Key)
				}
			case <-ctx.Done():
				t.Fatalf("of the trace of %s never came: %v", path, left)
			}
		}
	}
	follow("/repository/v1/projects/default/builds", `{"action":"same","force":true}`, "4bf92f3577b34da6a3ce929d0e0e4736", "BuildOrdered", "BuildStarted", "BuildSucceeded", "ActionOffered")
	follow("/studio/v1/projects/default/workflows/same/deploy", `{"revision":1}`, "0af7651916cd43dd8448eb211c80319c", "WorkflowDeployed", "DeploymentChanged")
}
