package e2e

import (
	"context"
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

// counted is a workspace whose source counts to 200, one run each.
func counted(t *testing.T) string {
	t.Helper()
	return workspace(t, merge(
		map[string]string{
			"actions/count/ryax_metadata.yaml": `apiVersion: "ryax.tech/v2.0"
kind: Source
spec:
  id: counter
  human_name: Counts up
  type: python3
  version: "1.0"
  description: tells a number every few milliseconds
  inputs: [{name: limit, human_name: Limit, type: integer, help: how far}]
  outputs: [{name: n, human_name: Number, type: integer, help: the number}]
`,
			"actions/count/ryax_run.py": `import asyncio

from ryax_execution.ryax_source_protocol import RyaxRunStatus, RyaxSourceProtocol


async def run(service: RyaxSourceProtocol, input_values):
    n = getattr(service, "cursor", None) or 0
    while n < input_values["limit"]:
        n += 1
        await service.create_run({"n": n}, running_time=0.0, status=RyaxRunStatus.DONE, key=n, cursor=n)
        await asyncio.sleep(0.005)
    await asyncio.sleep(3600)
`,
			"workflows/counted.yaml": workflowYAML("counted", "  inputs: [{name: n, type: integer}]\n  triggers: [{id: count, uses: ./actions/count, with: {limit: 200}}]\n  steps: [{id: a, uses: ./actions/same, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.a.n}\"}\n"),
		},
		python("actions/same", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n")))
}

// countRuns counts the runs of the workflow counted.
func countRuns(ctx context.Context, t *testing.T, p *harness.Platform) (n int) {
	t.Helper()
	cursor := ""
	for {
		var page struct {
			Items      []struct{ ID, State string }
			NextCursor string `json:"next_cursor"`
		}
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?workflow=counted&limit=200&cursor="+cursor, nil, &page))
		n += len(page.Items)
		if cursor = page.NextCursor; cursor == "" {
			return n
		}
	}
}

// eachOnce checks that every number from 1 to 200 has had one run, and it has completed.
func eachOnce(ctx context.Context, t *testing.T, p *harness.Platform) {
	t.Helper()
	seen := map[string]int{}
	cursor := ""
	for {
		var page struct {
			Items      []struct{ ID string }
			NextCursor string `json:"next_cursor"`
		}
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?workflow=counted&limit=100&cursor="+cursor, nil, &page))
		for _, r := range page.Items {
			run, err := p.WaitRun(ctx, r.ID)
			require.NoError(t, err)
			require.Equal(t, "completed", run.State, "%+v", run.Error)
			seen[string(run.Result["n"])]++
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	require.Len(t, seen, 200)
	for n := 1; n <= 200; n++ {
		require.Equal(t, 1, seen[strconv.Itoa(n)], "event %d", n)
	}
}

// TestSource: a source in the old format, unmodified, starts runs; with keys and a cursor no event
// is lost or doubled by a SIGKILL of the platform.
func TestSource(t *testing.T) {
	dir := counted(t)
	p := start(t)
	deploy(t, p, dir, "counted")
	ctx := deadline(t, 2*time.Minute)
	count := func() int { return countRuns(ctx, t, p) }
	require.NoError(t, harness.Until(ctx, "some runs have started", func() (bool, error) { return count() >= 20, nil }))
	p.Kill()
	require.NoError(t, p.Restart(ctx))
	require.NoError(t, harness.Until(ctx, "every event has its run", func() (bool, error) { return count() >= 200, nil }))
	eachOnce(ctx, t, p)
	// A new revision's source starts after the old one is gone, and goes on from the cursor of its own deployment.
	path := filepath.Join(dir, "workflows", "counted.yaml")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), "limit: 200", "limit: 3", 1)), 0o644))
	require.NoError(t, harness.Until(ctx, "the new revision counts", func() (bool, error) { return count() >= 203, nil }))
}

// TestSourceSettings: a source's settings read variables and secrets; a secret is masked in what it prints.
func TestSourceSettings(t *testing.T) {
	dir := workspace(t, merge(
		map[string]string{
			"actions/once/action.yaml": "apiVersion: pelton.dev/v1\nkind: Source\nspec:\n  runtime: python3\n  inputs: [{name: greeting, type: string}, {name: token, type: password}, {name: n, type: integer}]\n  outputs: [{name: told, type: string}]\n",
			"actions/once/source.py": `import asyncio


async def run(service, inputs):
    print("the token is", inputs["token"])
    await service.create_run({"told": f"{inputs['greeting']} {len(inputs['token'])} {inputs['n']}"})
    await asyncio.sleep(3600)
`,
			"workflows/told.yaml": workflowYAML("told", "  inputs: [{name: told, type: string}]\n  triggers: [{id: once, uses: ./actions/once, with: {greeting: \"hello ${vars.who}\", token: \"${secrets.api_token}\", n: \"${vars.n}\"}}]\n  steps: [{id: a, uses: ./actions/same, with: {told: \"${inputs.told}\"}}]\n  result: {told: \"${steps.a.told}\"}\n"),
		},
		python("actions/same", "[{name: told, type: string}]", "[{name: told, type: string}]", "def handle(inputs):\n    return {'told': inputs['told']}\n")))
	p := start(t)
	ctx := deadline(t, time.Minute)
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/runner/v1/projects/default/secrets/api_token", map[string]any{"value": "hush-hush-12"}, nil))
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/runner/v1/projects/default/variables/who", map[string]any{"value": "Ada"}, nil))
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/runner/v1/projects/default/variables/n", map[string]any{"value": 7}, nil))
	deploy(t, p, dir, "told")
	var page struct{ Items []struct{ ID string } }
	require.NoError(t, harness.Until(ctx, "the source's run has ended", func() (bool, error) {
		err := p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?workflow=told&state=completed", nil, &page)
		return len(page.Items) == 1, err
	}))
	r, err := p.WaitRun(ctx, page.Items[0].ID)
	require.NoError(t, err)
	require.Equal(t, `"hello Ada 12 7"`, string(r.Result["told"]))
	log := p.LogTail(200)
	require.Contains(t, log, "the token is •••")
	require.NotContains(t, log, "hush-hush-12")
}
