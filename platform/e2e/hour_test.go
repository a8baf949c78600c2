package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestLongLog: a step prints 100,000 lines; the log is whole and in order, page by page.
func TestLongLog(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/talk", "[]", "[]", "def handle(inputs):\n    for n in range(100000):\n        print('line', n)\n    return {}\n"),
		map[string]string{"workflows/talk.yaml": workflowYAML("talk", "  steps: [{id: t, uses: ./actions/talk}]\n")})), "talk")
	ctx := deadline(t, 2*time.Minute)
	r, err := p.StartRun(ctx, "talk", nil)
	require.NoError(t, err)
	r, err = p.WaitRun(ctx, r.ID)
	require.NoError(t, err)
	require.Equal(t, "completed", r.State)
	next, seen := int64(0), 0
	for {
		var page struct {
			Items []struct{ Line string }
			Next  int64
			More  bool
			Ended bool
		}
		require.NoError(t, p.JSON(ctx, http.MethodGet, fmt.Sprintf("/runner/v1/projects/default/runs/%s/logs?limit=5000&after=%d", r.ID, next), nil, &page))
		for _, l := range page.Items {
			require.Equal(t, "line "+strconv.Itoa(seen), l.Line)
			seen++
		}
		next = page.Next
		if !page.More && page.Ended {
			break
		}
	}
	require.Equal(t, 100000, seen)
}

// TestDatabaseKilled: PostgreSQL is killed under running runs; it comes back by itself, nothing
// acknowledged is lost, and the runs complete.
func TestDatabaseKilled(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/nap", "[{name: x, type: integer}]", "[{name: x, type: integer}]", "import time\n\n\ndef handle(inputs):\n    time.sleep(0.2)\n    return {'x': inputs['x'] + 1}\n"),
		map[string]string{"workflows/nap.yaml": workflowYAML("nap", "  inputs: [{name: x, type: integer}]\n  steps:\n    - {id: a, uses: ./actions/nap, with: {x: \"${inputs.x}\"}}\n    - {id: b, uses: ./actions/nap, with: {x: \"${steps.a.x}\"}}\n    - {id: c, uses: ./actions/nap, with: {x: \"${steps.b.x}\"}}\n  result: {x: \"${steps.c.x}\"}\n")})), "nap")
	ctx := deadline(t, 2*time.Minute)
	var ids []string
	for i := range 20 {
		r, err := p.StartRun(ctx, "nap", map[string]any{"x": i})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	require.NoError(t, killDatabase(t, p))
	for i, id := range ids {
		var r harness.Run
		require.NoError(t, harness.Until(ctx, "run "+id+" ends", func() (bool, error) {
			var err error
			r, err = p.Run(ctx, id)
			return err == nil && r.Ended(), nil //nolint:nilerr // the database is away for a moment
		}))
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.Equal(t, strconv.Itoa(i+3), string(r.Result["x"]))
	}
}

// TestEverythingIsStillThere: after a stop in order and a start, history, login, keys, files and
// deployments are there, and no process is left between the two.
func TestEverythingIsStillThere(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(graphActions(), map[string]string{"workflows/files.yaml": workflowYAML("files", `  inputs: [{name: data, type: file}]
  triggers:
    - {id: http, uses: http, with: {method: POST, path: /shout, body: data, mode: sync}}
  steps:
    - {id: shout, uses: ./actions/shout, with: {source: "${inputs.data}"}}
  result: {size: "${steps.shout.size}"}
`)})), "files")
	ctx := deadline(t, 2*time.Minute)
	var key struct{ Key string }
	require.NoError(t, p.JSON(ctx, http.MethodPost, "/authorization/v1/projects/default/keys", map[string]any{"name": "k"}, &key))
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/runner/v1/projects/default/secrets/token", map[string]any{"value": "s3cret"}, nil))
	code, header, body := post(t, p, "/shout", "text/plain", "hello")
	require.Equal(t, http.StatusOK, code, body)
	token := p.Token
	home := p.Home
	require.NoError(t, p.Stop())
	require.Empty(t, processesOf(t, home), "no process is left")
	require.NoError(t, p.Restart(ctx))
	p.Token = key.Key
	r, err := p.Run(ctx, header.Get("Pelton-Run"))
	require.NoError(t, err, "the API key still works")
	require.Equal(t, "completed", r.State)
	p.Token = token
	code, _, body = post(t, p, "/shout", "text/plain", "hello again")
	require.Equal(t, http.StatusOK, code, body)
	var secrets struct{ Items []struct{ Name string } }
	require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/secrets", nil, &secrets))
	require.Len(t, secrets.Items, 1)
}

// processesOf are the command lines of processes that name the home.
func processesOf(t *testing.T, home string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var out []string
	for _, f := range found {
		data, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(data), home) {
			out = append(out, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return out
}
