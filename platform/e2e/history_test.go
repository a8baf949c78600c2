package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestHistory: failures are grouped by their cause, one fix lets the whole group go on where it
// failed, runs are found by what they were started with, and what they cost is told.
func TestHistory(t *testing.T) {
	p := start(t)
	broken := "def handle(inputs):\n    raise ValueError(f\"no rate for order {inputs['n']}\")\n"
	dir := workspace(t, merge(
		python("actions/first", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n'] + 1}\n"),
		python("actions/second", "[{name: n, type: integer}]", "[{name: n, type: integer}]", broken),
		map[string]string{"workflows/rates.yaml": workflowYAML("rates", `  inputs: [{name: n, type: integer}, {name: city, type: string, default: Oslo}]
  steps:
    - {id: first, uses: ./actions/first, with: {n: "${inputs.n}"}}
    - {id: second, uses: ./actions/second, with: {n: "${steps.first.n}"}}
  result: {n: "${steps.second.n}"}
`)}))
	deploy(t, p, dir, "rates")
	a := newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	ctx := deadline(t, 3*time.Minute)
	for _, in := range []string{"n=1", "n=22", "n=333"} {
		code, _, _ := a.pelton("", "run", "start", "rates", "-i", in, "--wait")
		require.Equal(t, 1, code)
	}
	groups := a.ok("run", "failures")
	require.Contains(t, groups, "second")
	require.Regexp(t, `(?m)^[0-9a-f]{16}\s+rates\s+second\s+\S+\s+3\s`, groups)
	group := strings.Fields(strings.Split(groups, "\n")[1])[0]
	require.Len(t, strings.Fields(a.ok("run", "list", "--group", group, "-o", "name")), 3)
	require.Len(t, strings.Fields(a.ok("run", "list", "--input", "n=22", "-o", "name")), 1)
	require.Len(t, strings.Fields(a.ok("run", "list", "--error", "NO RATE", "--since", "1h", "--state", "failed,cancelled", "-o", "name")), 3)
	require.Empty(t, strings.Fields(a.ok("run", "list", "--until", "1h", "-o", "name")))

	write(t, filepath.Join(dir, "actions/second/handler.py"), "def handle(inputs):\n    return {'n': inputs['n'] * 10}\n")
	require.NoError(t, harness.Until(ctx, "the fix is live", func() (bool, error) {
		code, _, _ := a.pelton("", "run", "start", "rates", "-i", "n=5", "--wait")
		return code == 0, nil
	}))
	require.Regexp(t, `^\d+ runs would be ordered to retry`, a.ok("run", "bulk", "retry", "--group", group, "--plan"))
	a.ok("run", "bulk", "retry", "--group", group, "--yes")
	require.NoError(t, harness.Until(ctx, "the group has gone on", func() (bool, error) {
		return strings.Contains(a.ok("run", "bulk", "list"), "done"), nil
	}))
	old := strings.Fields(a.ok("run", "list", "--input", "n=22", "--state", "failed", "-o", "name"))
	fixed := strings.Fields(a.ok("run", "list", "--retry-of", old[0], "-o", "name"))
	require.Len(t, fixed, 1)
	r, err := p.WaitRun(ctx, fixed[0])
	require.NoError(t, err)
	require.Equal(t, json.RawMessage("230"), r.Result["n"])
	require.Empty(t, r.Steps[0].Attempts, "what was finished is kept")

	again := strings.TrimSpace(a.ok("run", "again", fixed[0], "-i", "n=7", "-o", "name"))
	r, err = p.WaitRun(ctx, again)
	require.NoError(t, err)
	require.Equal(t, json.RawMessage("80"), r.Result["n"])
	require.Regexp(t, `(?m)^rates\s+\d+\s+\d+\.\d+`, a.ok("run", "cost"))
}

// TestBackfill: a range of a schedule is started once for each due time, however often it is ordered.
func TestBackfill(t *testing.T) {
	p := start(t)
	dir := workspace(t, merge(python("actions/note", "[{name: at, type: string}]", "[{name: at, type: string}]", "def handle(inputs):\n    return inputs\n"),
		map[string]string{"workflows/report.yaml": workflowYAML("report", `  inputs: [{name: at, type: string}]
  triggers:
    - {id: nightly, uses: cron, with: {schedule: "0 6 * * *", timezone: Europe/Paris}, inputs: {at: "${event.scheduled_at}"}}
  steps: [{id: note, uses: ./actions/note, with: {at: "${inputs.at}"}}]
  result: {at: "${steps.note.at}"}
`)}))
	deploy(t, p, dir, "report")
	a := newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	require.Regexp(t, `(?m)^report\s+nightly\s+0 6 \* \* \* Europe/Paris\s+\d{4}-\d\d-\d\dT0[45]:00:00Z\s+last\s+allow`, a.ok("workflow", "schedules"))
	order := []string{"workflow", "backfill", "report", "--trigger", "nightly", "--from", "2026-03-27T00:00:00Z", "--to", "2026-04-01T00:00:00Z", "--concurrency", "2"}
	require.Contains(t, a.ok(append(order, "--plan")...), "5 due times in that range")
	for range 2 {
		a.ok(order...)
	}
	ctx := deadline(t, 2*time.Minute)
	require.NoError(t, harness.Until(ctx, "both orders are done", func() (bool, error) {
		return strings.Count(a.ok("run", "bulk", "list"), " done ") == 2, nil
	}))
	ids := strings.Fields(a.ok("run", "list", "--workflow", "report", "--trigger", "cron", "-o", "name"))
	require.Len(t, ids, 5)
	var at []string
	for _, id := range ids {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		at = append(at, string(r.Result["at"]))
	}
	require.ElementsMatch(t, []string{`"2026-03-27T05:00:00Z"`, `"2026-03-28T05:00:00Z"`, `"2026-03-29T04:00:00Z"`, `"2026-03-30T04:00:00Z"`, `"2026-03-31T04:00:00Z"`}, at)
	code, _, errs := a.pelton("", "workflow", "backfill", "report", "--trigger", "weekly", "--from", "2026-03-27T00:00:00Z")
	require.Equal(t, 1, code)
	require.Contains(t, errs, `has no schedule "weekly"`)
}

// TestPausedWorkflow: a paused workflow starts no runs, tells its callers so, through a restart, and
// goes on when it is resumed.
func TestPausedWorkflow(t *testing.T) {
	p := start(t)
	dir := workspace(t, map[string]string{"workflows/tick.yaml": workflowYAML("tick", `  triggers:
    - {id: second, uses: cron, with: {schedule: "@every 1s", catchUp: none}}
    - {id: http, uses: http, with: {path: /tick}}
  steps: [{id: nap, wait: {for: 1ms}}]
`)})
	deploy(t, p, dir, "tick")
	a := newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	ctx := deadline(t, 2*time.Minute)
	count := func() int { return len(strings.Fields(a.ok("run", "list", "-o", "name", "--limit", "200"))) }
	require.NoError(t, harness.Until(ctx, "the schedule fires", func() (bool, error) { return count() > 0, nil }))
	a.ok("workflow", "pause", "tick", "--reason", "the data is late")
	before := count()
	status, _, body := post(t, p, "/tick", "application/json", "{}")
	require.Equal(t, 503, status)
	require.Contains(t, body, "the data is late")
	require.Contains(t, body, "pelton workflow resume tick")
	require.NoError(t, p.Stop())
	require.NoError(t, p.Restart(ctx))
	a = newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	wait(ctx, t, 3*time.Second) // long enough for a schedule that does not rest
	require.LessOrEqual(t, count(), before+1, "a run may have been on its way at the pause")
	a.ok("workflow", "resume", "tick")
	before = count()
	require.NoError(t, harness.Until(ctx, "the schedule fires again", func() (bool, error) { return count() > before, nil }))
	status, _, body = post(t, p, "/tick", "application/json", "{}")
	require.Equal(t, 200, status, body)
}
