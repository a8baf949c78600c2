package apptest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

func brief(t *testing.T, open func(t *testing.T) Database) {
	v := &valve{keeps: func(*app.Entry) bool { return true }}
	r := Start(t, v.on(open(t)), NewExecutor(AddOne))
	def := Chain(3)
	def.Durability = "none"
	r.Deploy(def)
	run := r.Begin("chain", Values("n", "1"))
	res, err := r.Await(t.Context(), "p", run)
	require.NoError(t, err, "the answer does not wait for the journal")
	require.Equal(t, domain.RunCompleted, res.State)
	require.Equal(t, "4", string(res.Result["n"]))
	again, err := r.Result(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, res, again)
	d, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Len(t, d.Steps, 3)
	require.True(t, fault.Is(r.Cancel(t.Context(), "p", run, "", "too late"), fault.Conflict))

	keyed := order(r, app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "5"), IdempotencyKey: "k"})
	v.open(false)
	started := <-keyed
	require.NoError(t, started.err, "a run with a key is durable before it is acknowledged")
	require.Equal(t, "8", string(r.Wait(started.ID).Result["n"]))
	require.Equal(t, 1+4, v.taken(), "one row for the run without durability, one for each transition of the other")
	r.Restart()
	d, err = r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, d.State)
	require.Equal(t, "4", string(d.Result["n"]))
	require.False(t, d.FinishedAt.IsZero())
	require.Len(t, d.Steps, 3)
	require.Equal(t, "4", string(d.Steps[2].Outputs[0]["n"]))
}

// endTold: a crash may still undo an end that is not durable, and orders to the run find it under way.
func endTold(t *testing.T, open func(t *testing.T) Database) {
	v := &valve{keeps: func(e *app.Entry) bool { return e.End != nil }}
	r := Start(t, v.on(open(t)), NewExecutor(AddOne))
	r.Deploy(Chain(2))
	run := r.Begin("chain", Values("n", "1"))
	require.Eventually(t, func() bool { return v.waiting() == 1 }, time.Minute, time.Millisecond)
	d, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunRunning, d.State)
	require.Nil(t, d.Result)
	require.True(t, d.FinishedAt.IsZero())
	res, err := r.Result(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunRunning, res.State)
	items, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p"})
	require.NoError(t, err)
	require.Equal(t, domain.RunRunning, items[0].State)
	v.open(false)
	require.Equal(t, domain.RunCompleted, r.Wait(run).State)
	d, err = r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, d.State)
	require.Equal(t, "3", string(d.Result["n"]))
	require.NoError(t, r.DeleteRun(t.Context(), "p", run), "what is told to have ended can be deleted")
}

type startedRun struct {
	app.StartedRun
	err error
}

func order(r *Runner, o app.StartRun) <-chan startedRun {
	out := make(chan startedRun, 1)
	go func() {
		s, err := r.StartRun(context.Background(), o)
		out <- startedRun{s, err}
	}()
	return out
}
