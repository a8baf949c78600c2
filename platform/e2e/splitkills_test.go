package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestSplitKills kills one service after another at random, and starts it again, while scripts build,
// deploy, change and run workflows. Each service dies at least twice; the scripts see none of it
// but calls that they have to send again, nothing is lost, and no message ends as a dead letter.
func TestSplitKills(t *testing.T) {
	home, err := os.MkdirTemp("", "pelton-e2e-") //nolint:usetesting // short, and reachable for other users
	require.NoError(t, err)
	p := startWith(t, harness.Options{Home: home, Split: split(t), Patient: true})
	ctx := deadline(t, 4*time.Minute)

	enough, over := make(chan struct{}), make(chan struct{})
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		tell := sync.OnceFunc(func() { close(enough) })
		defer tell()
		for round := 0; ; round++ {
			if round == 2 {
				tell()
			}
			for _, i := range rand.Perm(len(harness.Targets)) {
				select {
				case <-over:
					return
				case <-ctx.Done():
					return
				case <-time.After(time.Duration(200+rand.IntN(1500)) * time.Millisecond):
				}
				service := harness.Targets[i]
				if !assert.NoError(t, p.KillService(service)) || !assert.NoError(t, p.RestartService(ctx, service), "%s after a kill", service) {
					return
				}
				kills++
			}
		}
	})
	stop := sync.OnceFunc(func() { close(over); killer.Wait() })
	t.Cleanup(stop) // before the platform's

	hello(t, p)
	patterns(t, p)
	n := 0
	for done := false; !done; n++ {
		changes(t, p, n)
		select {
		case <-enough:
			done = true
		default:
		}
	}
	stop()
	out, err := p.Peltond(ctx, "bus", "dead", "list")
	require.NoError(t, err, out)
	require.Equal(t, "no dead letters\n", out)
	t.Logf("%d kills of services under the scripts hello, patterns and %d times changes", kills, n)
}

// changes deploys a workflow from a folder, calls it, changes its action, has the change live, and
// stops it.
func changes(t *testing.T, p *harness.Platform, n int) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	name := fmt.Sprintf("changing-%d", n)
	handler := func(by int) string {
		return fmt.Sprintf("def handle(inputs):\n    return {'y': inputs['x'] * %d}\n", by)
	}
	dir := workspace(t, merge(python("actions/times", "[{name: x, type: integer}]", "[{name: y, type: integer}]", handler(100+n)),
		map[string]string{"workflows/" + name + ".yaml": workflowYAML(name, "  inputs: [{name: x, type: integer}]\n  triggers: [{id: http, uses: http, with: {path: /"+name+"}}]\n  steps: [{id: t, uses: ./actions/times, with: {x: \"${inputs.x}\"}}]\n  result: {y: \"${steps.t.y}\"}\n")}))
	deploy(t, p, dir, name)
	gives := func(want int) {
		t.Helper()
		require.NoError(t, harness.Until(ctx, "the workflow gives what its action says", func() (bool, error) {
			status, _, body := post(t, p, "/"+name, "application/json", `{"x": 3}`)
			if status == http.StatusOK && body == fmt.Sprintf(`{"y":%d}`, want) {
				return true, nil
			}
			return false, fmt.Errorf("%d %s", status, body)
		}))
	}
	gives(3 * (100 + n))
	write(t, filepath.Join(dir, "actions", "times", "handler.py"), handler(200+n))
	gives(3 * (200 + n))
}
