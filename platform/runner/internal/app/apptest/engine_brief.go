package apptest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// held is a journal that writes only once it is let go.
type held struct {
	app.Journal
	mu   sync.Mutex
	kept []*app.Entry
	open bool
	rows atomic.Int64
}

func (h *held) Append(es ...*app.Entry) {
	h.rows.Add(int64(len(es)))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open {
		h.Journal.Append(es...)
		return
	}
	h.kept = append(h.kept, es...)
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	h.Journal.Append(h.kept...)
}

func brief(t *testing.T, open func(t *testing.T) Database) {
	db := open(t)
	journal := &held{}
	plain := db.Journal
	db.Journal = func(fence int64) app.Journal {
		journal.Journal = plain(fence)
		return journal
	}
	r := Start(t, db, NewExecutor(AddOne))
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
	journal.release()
	started := <-keyed
	require.NoError(t, started.err, "a run with a key is durable before it is acknowledged")
	require.Equal(t, "8", string(r.Wait(started.ID).Result["n"]))
	require.Equal(t, int64(1+4), journal.rows.Load(), "one row for the run without durability, one for each transition of the other")
	r.Restart()
	d, err = r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, d.State)
	require.Equal(t, "4", string(d.Result["n"]))
	require.False(t, d.FinishedAt.IsZero())
	require.Len(t, d.Steps, 3)
	require.Equal(t, "4", string(d.Steps[2].Outputs[0]["n"]))
}

// endless is a journal that keeps back the rows that end runs until it is let go.
type endless struct {
	app.Journal
	mu   sync.Mutex
	kept []*app.Entry
	open bool
}

func (e *endless) Append(es ...*app.Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range es {
		if x.End != nil && !e.open {
			e.kept = append(e.kept, x)
		} else {
			e.Journal.Append(x)
		}
	}
}

func (e *endless) held() int { e.mu.Lock(); defer e.mu.Unlock(); return len(e.kept) }

func (e *endless) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open = true
	e.Journal.Append(e.kept...)
}

// endTold: a crash may still undo an end that is not durable, and orders to the run find it under way.
func endTold(t *testing.T, open func(t *testing.T) Database) {
	db := open(t)
	journal := &endless{}
	plain := db.Journal
	db.Journal = func(fence int64) app.Journal {
		journal.Journal = plain(fence)
		return journal
	}
	r := Start(t, db, NewExecutor(AddOne))
	r.Deploy(Chain(2))
	run := r.Begin("chain", Values("n", "1"))
	require.Eventually(t, func() bool { return journal.held() == 1 }, time.Minute, time.Millisecond)
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
	journal.release()
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
