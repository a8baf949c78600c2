package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestScheduleCatchUp: a schedule with catchUp all starts one run for each of its times, none left
// out and none twice, across a SIGKILL, a downtime and a new revision.
func TestScheduleCatchUp(t *testing.T) {
	p := start(t)
	scheduled := func(times string) map[string]string {
		return merge(python("actions/say", "[{name: at, type: string}]", "[{name: at, type: string}]", "def handle(inputs):\n    return {'at': inputs['at']}\n"),
			map[string]string{"workflows/often.yaml": workflowYAML("often", `  inputs: [{name: at, type: string}]
  triggers:
    - {id: often, uses: cron, with: {schedule: "@every 1s", `+times+`}, inputs: {at: "${event.scheduled_at}"}}
  steps: [{id: say, uses: ./actions/say, with: {at: "${inputs.at}"}}]
  result: {at: "${steps.say.at}"}
`)})
	}
	dir := workspace(t, scheduled("catchUp: all"))
	deploy(t, p, dir, "often")
	ctx := deadline(t, 2*time.Minute)
	count := func() (ids []string) {
		var list struct{ Items []harness.Run }
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?workflow=often&limit=200", nil, &list))
		for _, r := range list.Items {
			ids = append(ids, r.ID)
		}
		return ids
	}
	more := func(than int) {
		t.Helper()
		require.NoError(t, harness.Until(ctx, "the schedule goes on", func() (bool, error) { return len(count()) > than, nil }))
	}
	more(1)
	p.Kill()
	require.NoError(t, p.Restart(ctx))
	more(len(count()))
	write(t, dir+"/workflows/often.yaml", scheduled("catchUp: all, jitter: 100ms")["workflows/often.yaml"])
	more(len(count()) + 2)

	var at []time.Time
	for _, id := range count() {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		var x time.Time
		require.NoError(t, json.Unmarshal(r.Result["at"], &x))
		at = append(at, x)
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := range at[1:] {
		require.Equal(t, time.Second, at[i+1].Sub(at[i]), "after %s of %s", at[i], at)
	}
}
