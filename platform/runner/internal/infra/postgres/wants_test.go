package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// told gives the outbox's messages in their order, as key and body, and empties it.
func told(t *testing.T, pool *pg.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `DELETE FROM outbox WHERE key <> 'DeploymentChanged' RETURNING seq, key || ' ' || convert_from(body, 'UTF8')`)
	require.NoError(t, err)
	bySeq := map[int64]string{}
	var seq int64
	var text string
	_, err = pgx.ForEachRow(rows, []any{&seq, &text}, func() error { bySeq[seq] = text; return nil })
	require.NoError(t, err)
	out := []string{}
	for len(bySeq) > 0 {
		least := int64(-1)
		for s := range bySeq {
			if least < 0 || s < least {
				least = s
			}
		}
		out = append(out, bySeq[least])
		delete(bySeq, least)
	}
	return out
}

// TestWants: what nobody wants is not told; what somebody wants is, in the order of the run, with the rows
// that it is about, and it survives a restart; an older wish does not replace a newer one.
func TestWants(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	r := apptest.Start(t, on(t, pool), apptest.NewExecutor(func(ctx context.Context, x app.Execution) apptest.Result {
		if string(x.Inputs["n"]) == "7" {
			return apptest.Result{Err: &domain.StepError{Kind: "user_error", Message: "no sevens"}}
		}
		return apptest.AddOne(ctx, x)
	}))
	r.Deploy(apptest.Chain(2))
	r.Wait(r.Begin("chain", apptest.Values("n", "1")))
	require.Empty(t, told(t, pool))

	require.NoError(t, r.WantEvents(t.Context(), "p", app.Wants{Started: true, Ended: true, Failed: true}, 2))
	require.NoError(t, r.WantEvents(t.Context(), "p", app.Wants{}, 1))
	require.Equal(t, []string{"EventsArmed p 2", "EventsArmed p 1"}, told(t, pool))
	for range 2 {
		good := r.Begin("chain", apptest.Values("n", "1"))
		require.Equal(t, domain.RunCompleted, r.Wait(good).State)
		require.Equal(t, []string{"RunStarted " + good, "RunEnded " + good + " completed"}, told(t, pool))
		bad := r.Begin("chain", apptest.Values("n", "7"))
		require.Equal(t, domain.RunFailed, r.Wait(bad).State)
		got := told(t, pool)
		require.Len(t, got, 3)
		require.Equal(t, "RunStarted "+bad, got[0])
		require.Regexp(t, "^StepFailed "+bad+" .* user_error$", got[1])
		require.Equal(t, "RunEnded "+bad+" failed", got[2])
		r.Restart()
	}
	require.NoError(t, r.WantEvents(t.Context(), "p", app.Wants{}, 3))
	told(t, pool)
	r.Wait(r.Begin("chain", apptest.Values("n", "1")))
	require.Empty(t, told(t, pool))
}

// TestWorkflowEnd: the end of a run starts what waits for it, once however often it is told; a live trigger
// alone lets the ends be told; a chain that goes in a circle ends.
func TestWorkflowEnd(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	r := apptest.Start(t, on(t, pool), apptest.NewExecutor(apptest.AddOne))
	r.Deploy(apptest.Chain(1))
	for workflow, on := range map[string]string{"after": "any", "mended": "failure", "done": "success"} {
		d := apptest.Chain(1)
		d.Workflow, d.RevisionID = workflow, d.RevisionID+workflow
		d.Triggers = []domain.TriggerSpec{{ID: "t", Uses: app.TriggerWorkflowEnd, With: json.RawMessage(`{"workflow":"chain","on":"` + on + `"}`),
			Inputs: map[string]json.RawMessage{"n": json.RawMessage("2")}}}
		if on == "any" { // its mapping cannot be evaluated
			d.Triggers[0].Inputs = map[string]json.RawMessage{"n": json.RawMessage(`"${event.result.n}"`)}
		}
		r.Deploy(d)
	}
	run := r.Begin("chain", apptest.Values("n", "1"))
	r.Wait(run)
	require.Equal(t, []string{"RunEnded " + run + " completed"}, told(t, pool))
	count := func() map[string]int {
		items, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p", Trigger: app.TriggerWorkflowEnd})
		require.NoError(t, err)
		out := map[string]int{}
		for _, x := range items {
			out[x.Workflow]++
			r.Wait(x.ID)
		}
		return out
	}
	end := app.EndedRun{Project: "p", Run: run, Workflow: "chain", State: "completed", Result: json.RawMessage(`{"n":2}`)}
	for range 3 {
		err := r.RunEnded(t.Context(), end)
		require.True(t, fault.Is(err, fault.Invalid), "%v", err)
		require.ErrorContains(t, err, "after.t")
	}
	require.Equal(t, map[string]int{"done": 1}, count())
	end.Run, end.State, end.Result = "another", "failed", nil
	require.ErrorContains(t, r.RunEnded(t.Context(), end), "after.t")
	require.Equal(t, map[string]int{"done": 1, "mended": 1}, count())

	items, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p", Workflow: "done"})
	require.NoError(t, err)
	d, err := r.GetRun(t.Context(), "p", items[0].ID)
	require.NoError(t, err)
	require.Equal(t, &app.Parent{Run: run, Workflow: "chain"}, d.Parent)
	require.Equal(t, "3", string(d.Result["n"]), fmt.Sprint(d.Result))

	end.Run, end.Depth = "deep", 32
	require.NoError(t, r.RunEnded(t.Context(), end))
	require.Equal(t, map[string]int{"done": 1, "mended": 1}, count())
	require.NoError(t, r.PauseWorkflow(t.Context(), "p", "mended", ""))
	end.Run, end.Depth, end.Workflow = "paused", 0, "chain"
	require.ErrorContains(t, r.RunEnded(t.Context(), end), "after.t")
	require.Equal(t, 1, count()["mended"])
}
