package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestRunnerAlone: a runner without any other service deploys a workflow's definition and its bundles, which a
// platform elsewhere has made, runs it, and has it after a restart.
func TestRunnerAlone(t *testing.T) {
	unsplit(t, "it is one process")
	steps := func(uses string) string {
		return "  inputs: [{name: n, type: integer}]\n  triggers: [{id: in, uses: http, inputs: {n: \"${event.body.n}\"}}]\n  steps: [{id: add, uses: " + uses + ", with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.add.n}\"}\n"
	}
	p := startOn(t, newHome(t), harness.Files{})
	deploy(t, p, workspace(t, merge(python("actions/add", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n'] + 1}\n"),
		map[string]string{"workflows/add.yaml": workflowYAML("add", steps("./actions/add"))})), "add")
	ctx := deadline(t, 3*time.Minute)
	var made struct {
		State      string
		Problems   []any
		Definition []byte
	}
	require.NoError(t, p.JSON(ctx, http.MethodPost, "/studio/v1/projects/default/workflows/compile", map[string]any{"yaml": workflowYAML("add", steps("add"))}, &made))
	require.Equal(t, "ready", made.State, "%v", made.Problems)
	require.NoError(t, p.Stop())

	home := newHome(t)
	for _, part := range []string{"bundles", "deps"} {
		if _, err := os.Stat(filepath.Join(p.Home, part)); err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, "cp", "-a", filepath.Join(p.Home, part), home).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	r := startWith(t, harness.Options{Home: home, Args: []string{"--target", "runner"}})
	require.NoError(t, r.JSON(ctx, http.MethodGet, "/authorization/openapi.json", nil, nil))
	require.Error(t, r.JSON(ctx, http.MethodGet, "/studio/v1/projects/default/workflows", nil, nil), "there is no studio")
	var d struct{ ID, State, Reason, Workflow string }
	const deployments = "/runner/v1/projects/default/deployments"
	err := r.JSON(ctx, http.MethodPost, deployments, map[string]any{"definition": []byte("hello")}, &d)
	require.ErrorContains(t, err, "definition")
	require.NoError(t, r.JSON(ctx, http.MethodPost, deployments, map[string]any{"definition": made.Definition}, &d))
	require.Equal(t, "live", d.State, d.Reason)
	runs := func(n string) {
		run, err := r.StartRun(ctx, "add", map[string]any{"n": 1})
		require.NoError(t, err)
		run, err = r.WaitRun(ctx, run.ID)
		require.NoError(t, err)
		require.Equal(t, "completed", run.State, "%+v", run.Error)
		require.Equal(t, n, string(run.Result["n"]))
	}
	runs("2")
	status, _, body := post(t, r, "/add", "application/json", `{"n": 4}`)
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"n": 5}`, body)
	require.NoError(t, r.Stop())
	require.NoError(t, r.Restart(ctx, "--target", "runner"))
	runs("2")
	require.NoError(t, r.JSON(ctx, http.MethodDelete, deployments+"/"+d.ID, nil, nil))
	_, err = r.StartRun(ctx, "add", map[string]any{"n": 1})
	require.Error(t, err, "it is not deployed any more")
}
