package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// graphActions are small actions that the workflows of the graph tests chain.
func graphActions() map[string]string {
	return merge(
		python("actions/range", "[{name: n, type: integer}]", "[{name: items, type: list}]",
			"def handle(inputs):\n    return {'items': list(range(inputs['n']))}\n"),
		python("actions/double", "[{name: x, type: integer}]", "[{name: y, type: integer}]",
			"def handle(inputs):\n    return {'y': inputs['x'] * 2}\n"),
		python("actions/total", "[{name: xs, type: list}]", "[{name: sum, type: integer}]",
			"def handle(inputs):\n    return {'sum': sum(inputs['xs'])}\n"),
		python("actions/many", "[{name: n, type: integer}]", "[{name: x, type: integer}]",
			"def handle(inputs):\n    return [{'x': i} for i in range(inputs['n'])]\n"),
		python("actions/flaky", "[{name: good_at, type: integer}]", "[{name: attempt, type: integer}]", `
class Unlucky(Exception):
    kind = "unlucky"
    retryable = True


def handle(inputs, ctx):
    if ctx.attempt < inputs["good_at"]:
        raise Unlucky(f"attempt {ctx.attempt} has no luck")
    return {"attempt": ctx.attempt}
`),
		python("actions/sleep", "[{name: seconds, type: float}]", "[{name: seconds, type: float}]",
			"import time\n\n\ndef handle(inputs):\n    time.sleep(inputs['seconds'])\n    return {'seconds': inputs['seconds']}\n"),
		python("actions/shout", "[{name: source, type: file}]", "[{name: loud, type: file}, {name: size, type: integer}]", `
import os


def handle(inputs, ctx):
    text = open(inputs["source"]).read().upper()
    path = os.path.join(ctx.workdir, "loud.txt")
    with open(path, "w") as f:
        f.write(text)
    return {"loud": path, "size": len(text)}
`),
	)
}

func TestGraph(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(graphActions(), map[string]string{
		"workflows/map.yaml": workflowYAML("map", `  inputs: [{name: n, type: integer}]
  steps:
    - {id: numbers, uses: ./actions/range, with: {n: "${inputs.n}"}}
    - id: twice
      forEach: {in: "${steps.numbers.items}", as: item, concurrency: 3}
      uses: ./actions/double
      with: {x: "${item}"}
    - {id: total, uses: ./actions/total, with: {xs: "${steps.twice.map(t, t.y)}"}}
  result: {sum: "${steps.total.sum}", all: "${steps.twice.map(t, t.y)}"}
`),
		"workflows/branch.yaml": workflowYAML("branch", `  inputs: [{name: n, type: integer}]
  steps:
    - {id: first, uses: ./actions/double, with: {x: "${inputs.n}"}}
    - {id: big, if: steps.first.y > 10, uses: ./actions/double, with: {x: "${steps.first.y}"}}
    - {id: small, if: steps.first.y <= 10, uses: ./actions/double, with: {x: 1}}
  result: {big: "${steps.big.?y.orValue(0)}", small: "${steps.small.?y.orValue(0)}"}
`),
		"workflows/fanout.yaml": workflowYAML("fanout", `  inputs: [{name: n, type: integer}]
  steps:
    - {id: many, uses: ./actions/many, with: {n: "${inputs.n}"}}
    - {id: twice, uses: ./actions/double, with: {x: "${steps.many.x}"}}
  result: {y: "${steps.twice.y}"}
`),
		"workflows/retry.yaml": workflowYAML("retry", `  inputs: [{name: good_at, type: integer}]
  steps:
    - {id: flaky, uses: ./actions/flaky, with: {good_at: "${inputs.good_at}"}, retry: {attempts: 3, backoff: 20ms}}
  result: {attempt: "${steps.flaky.attempt}"}
`),
		"workflows/timeout.yaml": workflowYAML("timeout", `  steps:
    - {id: slow, uses: ./actions/sleep, with: {seconds: 60}, timeout: 500ms}
  result: {seconds: "${steps.slow.seconds}"}
`),
		"workflows/long.yaml": workflowYAML("long", `  steps:
    - {id: slow, uses: ./actions/sleep, with: {seconds: 60}}
    - {id: after, uses: ./actions/sleep, with: {seconds: "${steps.slow.seconds}"}}
`),
		"workflows/files.yaml": workflowYAML("files", `  inputs: [{name: data, type: file}]
  triggers:
    - {id: http, uses: http, with: {method: POST, path: /shout, body: data, mode: sync}}
  steps:
    - {id: shout, uses: ./actions/shout, with: {source: "${inputs.data}"}}
    - {id: again, uses: ./actions/shout, with: {source: "${steps.shout.loud}"}}
  result: {loud: "${steps.again.loud}", size: "${steps.again.size}"}
`),
	})), "map", "branch", "fanout", "retry", "timeout", "long", "files")

	run := func(t *testing.T, workflow string, inputs map[string]any) harness.Run {
		t.Helper()
		ctx := deadline(t, time.Minute)
		r, err := p.StartRun(ctx, workflow, inputs)
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		return r
	}
	result := func(r harness.Run) string { data, _ := json.Marshal(r.Result); return string(data) }

	t.Run("forEach keeps the order and joins", func(t *testing.T) {
		r := run(t, "map", map[string]any{"n": 7})
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.JSONEq(t, `{"sum":42,"all":[0,2,4,6,8,10,12]}`, result(r))
	})
	t.Run("forEach over nothing completes", func(t *testing.T) {
		r := run(t, "map", map[string]any{"n": 0})
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.JSONEq(t, `{"sum":0,"all":[]}`, result(r))
	})
	t.Run("if chooses a branch", func(t *testing.T) {
		require.JSONEq(t, `{"big":40,"small":0}`, result(run(t, "branch", map[string]any{"n": 10})))
		require.JSONEq(t, `{"big":0,"small":2}`, result(run(t, "branch", map[string]any{"n": 1})))
	})
	t.Run("a list result fans out", func(t *testing.T) {
		r := run(t, "fanout", map[string]any{"n": 3})
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.JSONEq(t, `{"y":[0,2,4]}`, result(r))
	})
	t.Run("retry until it works", func(t *testing.T) {
		r := run(t, "retry", map[string]any{"good_at": 3})
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.JSONEq(t, `{"attempt":3}`, result(r))
		require.Len(t, r.Steps[0].Attempts, 3)
	})
	t.Run("retry gives up", func(t *testing.T) {
		r := run(t, "retry", map[string]any{"good_at": 9})
		require.Equal(t, "failed", r.State)
		require.Equal(t, "unlucky", r.Error.Kind)
		require.Len(t, r.Steps[0].Attempts, 3)
	})
	t.Run("timeout", func(t *testing.T) {
		r := run(t, "timeout", nil)
		require.Equal(t, "failed", r.State)
		require.Equal(t, "timeout", r.Error.Kind)
	})
	t.Run("cancel", func(t *testing.T) {
		ctx := deadline(t, time.Minute)
		r, err := p.StartRun(ctx, "long", nil)
		require.NoError(t, err)
		require.NoError(t, harness.Until(ctx, "the step runs", func() (bool, error) {
			r, err = p.Run(ctx, r.ID)
			return len(r.Steps) > 0 && r.Steps[0].State == "running", err
		}))
		require.NoError(t, p.JSON(ctx, http.MethodPost, "/runner/v1/projects/default/runs/"+r.ID+"/cancel", map[string]any{"reason": "test"}, nil))
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, "cancelled", r.State)
		require.Equal(t, "cancelled", r.Steps[0].Attempts[0].State)
	})
	t.Run("files travel by digest", func(t *testing.T) {
		code, _, body := post(t, p, "/shout", "text/plain", "hello files")
		require.Equal(t, http.StatusOK, code, body)
		var answer struct {
			Size int
			Loud struct {
				File string `json:"$file"`
				URL  string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		require.Equal(t, 11, answer.Size)
		path := answer.Loud.URL[len(p.URL):]
		resp, err := p.Do(t.Context(), http.MethodGet, path, "", nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		data := make([]byte, 64)
		n, _ := resp.Body.Read(data)
		require.Equal(t, "HELLO FILES", string(data[:n]))
	})
}

// TestMisbehaviour: what hostile or broken user code does ends as an error of its step, with the
// cause in words, and the platform goes on.
func TestMisbehaviour(t *testing.T) {
	cases := []struct{ name, outputs, body, kind, says string }{
		{"loop", "[]", "while True:\n        pass", "timeout", ""},
		{"exit", "[]", "import os\n    os._exit(3)", "crashed", "3"},
		{"nan", "[{name: x, type: float}]", "return {'x': float('nan')}", "invalid_output", "x"},
		{"wrong-type", "[{name: x, type: integer}]", "return {'x': 'seven'}", "invalid_output", "x"},
		{"missing", "[{name: x, type: integer}]", "return {}", "invalid_output", "x"},
		{"surplus", "[{name: x, type: integer}]", "return {'x': 1, 'z': 2}", "invalid_output", "z"},
		{"outside", "[{name: f, type: file}]", "return {'f': '/etc/passwd'}", "invalid_output", "f"},
		{"huge", "[{name: j, type: json}]", "return {'j': ['x' * 1000] * 110000}", "invalid_output", "j"},
		{"no-file", "[{name: f, type: file}]", "return {'f': 'gone.txt'}", "invalid_output", "f"},
		{"not-a-dict", "[{name: x, type: integer}]", "return 7", "invalid_output", ""},
		{"raises", "[]", "raise ValueError('no such town')", "user_error", "no such town"},
		{"deep", "[]", "def f(): return f()\n    f()", "user_error", "recursion"},
	}
	files := map[string]string{}
	var names []string
	for _, c := range cases {
		files = merge(files, python("actions/"+c.name, "[]", c.outputs, "def handle(inputs):\n    "+c.body+"\n"))
		files["workflows/"+c.name+".yaml"] = workflowYAML("bad-"+c.name, "  steps:\n    - {id: bad, uses: ./actions/"+c.name+", timeout: 20s}\n")
		if c.name == "loop" {
			files["workflows/loop.yaml"] = workflowYAML("bad-loop", "  steps:\n    - {id: bad, uses: ./actions/loop, timeout: 1s}\n")
		}
		names = append(names, "bad-"+c.name)
	}
	p := start(t)
	deploy(t, p, workspace(t, files), names...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx := deadline(t, time.Minute)
			r, err := p.StartRun(ctx, "bad-"+c.name, nil)
			require.NoError(t, err)
			r, err = p.WaitRun(ctx, r.ID)
			require.NoError(t, err)
			require.Equal(t, "failed", r.State)
			require.NotNil(t, r.Error)
			require.Equal(t, c.kind, r.Error.Kind, r.Error.Message)
			require.Contains(t, r.Error.Message, c.says)
		})
	}
	_, err := os.Stat(p.Home)
	require.NoError(t, err)
	require.NoError(t, p.JSON(t.Context(), http.MethodGet, "/healthz", nil, nil), "the platform is unharmed")
}
