package apptest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// sweepUntil sweeps until so many runs have gone.
func (r *Runner) sweepUntil(t *testing.T, runs int) {
	t.Helper()
	gone := 0
	require.Eventually(t, func() bool {
		w, err := r.Sweep(t.Context())
		require.NoError(t, err)
		gone += w.Runs
		return gone >= runs
	}, time.Minute, 5*time.Millisecond)
	require.Equal(t, runs, gone)
}

func retention(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(AddOne))
	r.Deploy(Chain(1))
	parent := Workflow("parent", domain.StepSpec{ID: "sub", Kind: "workflow", Workflow: "chain", With: map[string]json.RawMessage{"n": json.RawMessage("1")}},
		domain.StepSpec{ID: "go", Kind: "wait", Needs: []string{"sub"}, Wait: &domain.WaitSpec{Signal: "go"}})
	parent.Result = map[string]string{"n": "${steps.sub.n}"}
	r.Deploy(parent)
	kept := Chain(1)
	kept.Workflow, kept.Retention = "kept", time.Hour
	r.Deploy(kept)

	run := r.Begin("parent", nil)
	d := r.reach(t, run, in(domain.RunWaiting))
	child := d.Steps[0].Child
	alone, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1"), IdempotencyKey: "k"})
	require.NoError(t, err)
	r.Wait(alone.ID)
	longer := r.Begin("kept", Values("n", "1"))
	r.Wait(longer)
	w, err := r.Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, w.Runs, "without a setting everything is kept")

	// A workflow may be kept for less than its project, never for more.
	r.Config.Retention = app.Retention{Runs: time.Millisecond}
	r.Restart()
	r.sweepUntil(t, 2)
	_, err = r.GetRun(t.Context(), "p", alone.ID)
	require.True(t, fault.Is(err, fault.NotFound))
	require.Equal(t, "run_expired", fault.As(err).Code)
	require.ErrorContains(t, err, "ended runs are kept for 1ms here")
	_, err = r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1"), IdempotencyKey: "k"})
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.ErrorContains(t, err, "not kept any more")

	// The child of a run that has not ended stays, so that it is not started again.
	r.Restart()
	_, err = r.GetRun(t.Context(), "p", child)
	require.NoError(t, err)
	require.Equal(t, "run_needed", fault.As(r.DeleteRun(t.Context(), "p", child)).Code)
	require.Equal(t, "run_not_ended", fault.As(r.DeleteRun(t.Context(), "p", run)).Code)
	require.NoError(t, r.Signal(t.Context(), "p", run, "", "go", nil))
	require.Equal(t, "2", string(r.Wait(run).Result["n"]))
	r.sweepUntil(t, 2)
}

func shorterRetention(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(AddOne))
	r.Config.Retention = app.Retention{Runs: 24 * time.Hour}
	r.Restart()
	brief := Chain(1)
	brief.Workflow, brief.Retention = "brief", time.Millisecond
	r.Deploy(brief)
	r.Deploy(Chain(1))
	a, b := r.Begin("brief", Values("n", "1")), r.Begin("chain", Values("n", "1"))
	r.Wait(a)
	r.Wait(b)
	require.True(t, fault.Is(r.PutRetention(t.Context(), "p", 48*time.Hour), fault.Invalid))
	require.True(t, fault.Is(r.PutRetention(t.Context(), "p", time.Millisecond), fault.Invalid))
	require.NoError(t, r.PutRetention(t.Context(), "p", time.Hour))
	k, err := r.Retention(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, app.Kept{Server: 24 * time.Hour, Project: time.Hour, Workflows: map[string]time.Duration{"brief": time.Millisecond}}, k)
	r.sweepUntil(t, 1)
	_, err = r.GetRun(t.Context(), "p", b)
	require.NoError(t, err)

	// The newest deployment decides, for the runs of those before it too.
	again := r.Begin("brief", Values("n", "1"))
	r.Wait(again)
	brief.Retention, brief.RevisionID = 0, brief.RevisionID+"2"
	r.Deploy(brief)
	w, err := r.Sweep(t.Context())
	require.NoError(t, err)
	require.Zero(t, w.Runs)
	require.NoError(t, r.DeleteRun(t.Context(), "p", again))
	_, err = r.GetRun(t.Context(), "p", again)
	require.True(t, fault.Is(err, fault.NotFound))

	// Of runs that a filter finds, those are deleted that may be.
	order, n, err := r.BulkOrder(t.Context(), app.BulkDelete, app.RunQuery{Project: "p"}, false)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Eventually(t, func() bool {
		list, err := r.Bulks(t.Context(), "p", 1)
		require.NoError(t, err)
		return list[0].ID == order.ID && list[0].State == app.BulkDone && list[0].Failed == 0
	}, time.Minute, 5*time.Millisecond)
	items, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p"})
	require.NoError(t, err)
	require.Empty(t, items)
}

func collected(t *testing.T, open func(t *testing.T) Database) {
	var files Files
	put := func(text string) string {
		digest, _, err := files.Put(t.Context(), "p", strings.NewReader(text))
		require.NoError(t, err)
		return digest
	}
	there := func(digest string) bool {
		f, _, err := files.Open(t.Context(), "p", digest)
		if err != nil {
			return false
		}
		return f.Close() == nil
	}
	out := map[string]domain.Values{}
	r := Start(t, open(t), NewExecutor(func(_ context.Context, x app.Execution) Result {
		return Result{Outputs: []domain.Values{out[x.Step]}}
	}))
	files = r.Files
	r.Config.Retention = app.Retention{Files: time.Millisecond}
	r.Restart()
	loose := put("loose")
	file, inner, given, signalled := put("file"), put("inner"), put("given"), put("signalled")
	text := put(strings.Repeat(" ", 256<<10-40) + `[{"$file":"` + inner + `","size":1}]`) // across the border of what is read at a time
	out["s"] = Values("file", `{"$file":"`+file+`","size":1}`, "text", `{"$ref":"`+text+`","size":262144}`)
	d := Workflow("w", Step("s"), needs(waitStep("ok", domain.WaitSpec{Signal: "ok"}), "s"), needs(waitStep("more", domain.WaitSpec{Signal: "more"}), "ok"))
	d.Inputs = []domain.Item{{Name: "f", Type: "file", Optional: true}}
	r.Deploy(d)
	run := r.Begin("w", Values("f", `{"$file":"`+given+`","size":1}`))
	r.reach(t, run, in(domain.RunWaiting))
	require.NoError(t, r.Signal(t.Context(), "p", run, "", "ok", domain.Value(`{"$file":"`+signalled+`"}`)))

	sweep := func() {
		_, err := r.Sweep(t.Context())
		require.NoError(t, err)
	}
	gone := func(digest string) {
		t.Helper()
		require.Eventually(t, func() bool { sweep(); return !there(digest) }, time.Minute, 5*time.Millisecond)
	}
	all := func() {
		t.Helper()
		for range 5 {
			sweep()
		}
		for name, digest := range map[string]string{"file": file, "inner": inner, "given": given, "signalled": signalled, "text": text} {
			require.True(t, there(digest), name)
		}
	}
	gone(loose)
	all()
	require.NoError(t, r.Signal(t.Context(), "p", run, "", "more", nil))
	r.Wait(run)
	all()

	// Another run is started with its inputs before it goes.
	other, err := r.Service.Again(t.Context(), app.RunAgain{Project: "p", Run: run})
	require.NoError(t, err)
	retried, err := r.Retry(t.Context(), app.RetryRun{Project: "p", Run: run, From: "ok"})
	require.NoError(t, err)
	require.NoError(t, r.DeleteRun(t.Context(), "p", run))
	gone(signalled)
	signalled = given
	all()
	for _, id := range []string{other.ID, retried.ID} {
		require.NoError(t, r.Cancel(t.Context(), "p", id, "", ""))
		r.Wait(id)
		require.NoError(t, r.DeleteRun(t.Context(), "p", id))
	}
	for _, digest := range []string{file, given, text, inner} {
		gone(digest)
	}
}
