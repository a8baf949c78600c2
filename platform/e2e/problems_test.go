package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestProblemsGoAway: what is wrong with a workflow is told until it is mended, also when that makes it what
// it was before and is live; a second workflow beside it stays as it is.
func TestProblemsGoAway(t *testing.T) {
	p := start(t)
	code := "def handle(inputs):\n    return {'n': inputs['n'] + 1}\n"
	steps := "  inputs: [{name: n, type: integer}]\n  steps: [{id: add, uses: ./actions/add, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.add.n}\"}\n"
	good, other := workflowYAML("good", steps), workflowYAML("other", steps)
	dir := workspace(t, merge(python("actions/add", "[{name: n, type: integer}]", "[{name: n, type: integer}]", code),
		map[string]string{"workflows/good.yaml": good, "workflows/other.yaml": other}))
	deploy(t, p, dir, "good")
	ctx := deadline(t, 2*time.Minute)
	require.NoError(t, p.WaitLive(ctx, "other"))
	type seen struct {
		Problems []struct{ Message string }
		Revision int
	}
	look := func(name string) (s seen) {
		resp, err := p.Do(ctx, http.MethodGet, "/studio/v1/projects/default/workflows/"+name, "", nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&s))
		return s
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		require.NoError(t, harness.Until(ctx, what, func() (bool, error) { return ok(), nil }))
	}
	for range 2 {
		write(t, filepath.Join(dir, "workflows", "good.yaml"), strings.Replace(good, "inputs.n}", "inputs.m}", 1))
		until("the problem is told", func() bool { return len(look("good").Problems) == 1 })
		write(t, filepath.Join(dir, "workflows", "good.yaml"), good)
		until("it is told no more", func() bool { return len(look("good").Problems) == 0 })
	}
	write(t, filepath.Join(dir, "actions", "add", "handler.py"), strings.Replace(code, "+ 1", "+ 2", 1))
	for _, name := range []string{"good", "other"} {
		until("the change is live in "+name, func() bool {
			r, err := p.StartRun(ctx, name, map[string]any{"n": 1})
			require.NoError(t, err)
			r, err = p.WaitRun(ctx, r.ID)
			require.NoError(t, err)
			return string(r.Result["n"]) == "3"
		})
		require.Equal(t, 2, look(name).Revision, name)
	}
}
