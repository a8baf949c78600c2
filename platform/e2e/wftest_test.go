package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestExamplesPassTheirTests: `pelton test` starts a server, runs the actions' and the workflows' tests of the
// examples on it, writes one report and leaves no process.
func TestExamplesPassTheirTests(t *testing.T) {
	unsplit(t, "pelton test starts one peltond")
	home := filepath.Join(workspace(t, nil), "home")
	a := newAuthor(t, t.TempDir())
	examples := filepath.Join(harness.Root(), "functions", "examples")
	code, out, errs := a.pelton("", "test", examples, "--home", home, "--junit", "report.xml")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^hello +greets +passed +\d+$`, out)
	require.Regexp(t, `(?m)^weather-report +weather +passed +\d+$`, out)
	report, err := os.ReadFile(filepath.Join(a.dir, "report.xml"))
	require.NoError(t, err)
	require.Contains(t, string(report), `<testcase name="weather" classname="weather-report"`)
	var state struct{ PID int }
	data, err := os.ReadFile(filepath.Join(home, "run", "server.json"))
	if err == nil {
		require.NoError(t, json.Unmarshal(data, &state))
		require.Error(t, syscall.Kill(state.PID, 0), "the server that was started for the tests still runs")
	}
}

// TestWorkflowTests: on a running server, beside what is deployed there: what differs is told with its place,
// effects need stubs, a broken workflow is told with file and line, and nothing stays behind.
func TestWorkflowTests(t *testing.T) {
	p := start(t)
	dir := workspace(t, merge(
		python("actions/add", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    print('adding')\n    return {'n': inputs['n'] + 1}\n"),
		map[string]string{
			"actions/charge/action.yaml": "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: python3\n  effect: write\n  inputs: [{name: n, type: integer}]\n  outputs: [{name: id, type: string}]\n",
			"actions/charge/handler.py":  "def handle(inputs):\n    raise RuntimeError('charged for real')\n",
			"workflows/pay.yaml": workflowYAML("pay", `  inputs: [{name: n, type: integer}, {name: list, type: file, optional: true}]
  triggers: [{id: t, uses: cron, with: {schedule: "0 6 1 1 *"}}]
  steps:
    - {id: add, uses: ./actions/add, with: {n: "${inputs.n}"}}
    - {id: charge, uses: ./actions/charge, with: {n: "${steps.add.n}"}, retry: {attempts: 3, backoff: 1h}}
  result: {id: "${steps.charge.id}", n: "${steps.add.n}"}
`),
			"workflows/wrong.yaml": workflowYAML("wrong", "  steps: [{id: a, uses: ./actions/ad, with: {n: 1}}]\n"),
			"tests/late.yaml": `apiVersion: pelton.dev/v1
kind: WorkflowTest
workflow: pay
inputs: {n: 3, list: ./list.txt}
stubs: {charge: [{error: {kind: timeout}}, {outputs: {id: c1}, delay: 5m}]}
expect: {result: {id: c1, n: 4}, steps: {charge: {attempts: 2}}}
`,
			"tests/list.txt": "a\n",
			"tests/differs.yaml": `apiVersion: pelton.dev/v1
kind: WorkflowTest
workflow: pay
inputs: {n: 3}
stubs: {charge: [{outputs: {id: c1}}]}
expect:
  result: {id: {matches: "^d"}}
check: [steps.add.n == 5]
`,
			"tests/unstubbed.yaml": "apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: pay\ninputs: {n: 3}\nexpect: {}\n",
			"tests/wrong.yaml":     "apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: wrong\nexpect: {}\n",
		}))
	a := newAuthor(t, dir, "PELTON_HOME="+p.Home)
	code, out, errs := a.pelton("", "test", "-o", "json")
	require.Equal(t, 1, code, errs)
	var all struct {
		Items []struct {
			Test, State, Message string
			VirtualMS            int64 `json:"virtual_ms"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	got := map[string]string{}
	for _, r := range all.Items {
		got[r.Test] = r.State + ": " + r.Message
		if r.Test == "late" {
			require.Greater(t, r.VirtualMS, int64(65*60*1000), "the pause between the attempts and the stub's delay")
		}
	}
	require.Equal(t, "passed: ", got["late"])
	require.Equal(t, "failed: tests/differs.yaml:7: result.id\n  expected  a text that matches ^d\n  got       \"c1\"\ntests/differs.yaml:8: check[0]\n"+
		"  expected  steps.add.n == 5\n  got       false, with steps.add.n = 4\nthe actions printed 1 line:\n  [add] adding", got["differs"])
	require.Contains(t, got["unstubbed"], "error: tests/unstubbed.yaml: stubs.charge: step charge (charge@1.0) has the effect write, which a test must not have")
	require.Equal(t, "error: workflows/wrong.yaml:5:25: spec.steps[0].uses: there is no action in actions/ad: did you mean ./actions/add?", got["wrong"])

	var left struct{ Items []struct{ Name string } }
	for _, path := range []string{"/runner/v1/projects/default/deployments?all=true", "/runner/v1/projects/default/runs", "/repository/v1/projects/default/repositories"} {
		require.NoError(t, p.JSON(t.Context(), "GET", path, nil, &left))
		require.Empty(t, left.Items, path)
	}

	// The folder is watched and live: the same builds are used, and its deployment stays.
	require.NoError(t, os.Remove(filepath.Join(dir, "workflows", "wrong.yaml")))
	deploy(t, p, dir, "pay")
	require.Equal(t, "pay/late\n", a.ok("test", "--run", "/late$", "-o", "name"))
	require.NoError(t, p.WaitLive(t.Context(), "pay"))
}
