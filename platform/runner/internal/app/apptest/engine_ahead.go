package apptest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// valve keeps rows from the journals of a database until it is opened.
type valve struct {
	mu    sync.Mutex
	keeps func(e *app.Entry) bool // nil: none any more
	kept  []func()
	rows  int
}

type valved struct {
	app.Journal
	v *valve
}

// on puts the valve before the journals of a database.
func (v *valve) on(db Database) Database {
	plain := db.Journal
	db.Journal = func(fence int64) app.Journal { return valved{plain(fence), v} }
	return db
}

func (j valved) Append(es ...*app.Entry) {
	j.v.mu.Lock()
	defer j.v.mu.Unlock()
	j.v.rows += len(es)
	for _, e := range es {
		if j.v.keeps != nil && j.v.keeps(e) {
			j.v.kept = append(j.v.kept, func() { j.Journal.Append(e) })
		} else {
			j.Journal.Append(e)
		}
	}
}

// open lets everything through from now on, and what was kept if that shall not be lost.
func (v *valve) open(lose bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, write := range v.kept {
		if !lose {
			write()
		}
	}
	v.keeps, v.kept = nil, nil
}

func (v *valve) waiting() int { v.mu.Lock(); defer v.mu.Unlock(); return len(v.kept) }

// taken is how many rows came, kept or not.
func (v *valve) taken() int { v.mu.Lock(); defer v.mu.Unlock(); return v.rows }

// behind is a runner whose steps may run ahead of a journal that takes so many rows at first.
func behind(t *testing.T, open func(t *testing.T) Database, rows int) (*Runner, *valve) {
	v := &valve{keeps: func(*app.Entry) bool { rows--; return rows < 0 }}
	return StartReplica(t, v.on(open(t)), NewExecutor(AddOne), app.Config{Ahead: true}, nil), v
}

// started is how many executions have begun.
func (e *Executor) started() int { e.mu.Lock(); defer e.mu.Unlock(); return len(e.Log) }

// pure is a chain of steps whose action only computes.
func pure(n int) domain.Definition {
	d := Chain(n)
	for i := range d.Steps {
		d.Steps[i].Effect = "pure"
	}
	return d
}

// ahead: pure steps do not wait for the journal, so far and no further; what is told does.
func ahead(t *testing.T, open func(t *testing.T) Database) {
	r, v := behind(t, open, 0)
	r.Deploy(pure(40))
	ordered := order(r, app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1")})
	require.Eventually(t, func() bool { return v.waiting() == 17 }, time.Minute, time.Millisecond)
	require.Equal(t, 16, r.Exec.started(), "one for each row that may wait")
	require.Empty(t, ordered, "a run is acknowledged once it is durable")
	v.open(false)
	s := <-ordered
	require.NoError(t, s.err)
	res, err := r.Outcome(t.Context(), "p", s.StartedRun)
	require.NoError(t, err)
	require.Equal(t, "41", string(res.Result["n"]))
	require.Equal(t, 40, r.Exec.started())
	again, err := r.Outcome(t.Context(), "p", s.StartedRun)
	require.NoError(t, err)
	require.Equal(t, res, again)
}

// aheadOfNothing: a step that may change something waits for the rows before it, and so does one that waits
// for a place, and the first of a run whose start may turn out to be another's.
func aheadOfNothing(t *testing.T, open func(t *testing.T) Database) {
	for name, effect := range map[string]string{"it is not told": "none", "it reads": "read", "it writes": "write", "it holds a place": "place", "the start has a key": "key"} {
		t.Run(name, func(t *testing.T) {
			r, v := behind(t, open, 0)
			d, o := pure(3), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1")}
			want := 1
			switch effect {
			case "none":
				d.Steps[1].Effect = ""
			case "place":
				d.Steps[1].Concurrency = &domain.LimitSpec{Limit: 1}
			case "key":
				o.IdempotencyKey, want = "k", 0
			default:
				d.Steps[1].Effect = effect
			}
			r.Deploy(d)
			ordered := order(r, o)
			require.Eventually(t, func() bool { return v.waiting() == want+1 }, time.Minute, time.Millisecond)
			require.Never(t, func() bool { return r.Exec.started() > want }, 30*time.Millisecond, time.Millisecond)
			v.open(false)
			s := <-ordered
			require.NoError(t, s.err)
			require.Equal(t, "4", string(r.Wait(s.ID).Result["n"]))
			require.Equal(t, 3, r.Exec.started())
		})
	}
}

// aheadWatched: who watches a run is told of its steps in their order, so that none runs ahead.
func aheadWatched(t *testing.T, open func(t *testing.T) Database) {
	r, v := behind(t, open, 1)
	do, begin := r.Exec.Do, make(chan struct{})
	r.Exec.Do = func(ctx context.Context, x app.Execution) Result {
		<-begin
		return do(ctx, x)
	}
	r.Deploy(pure(3))
	run := r.Begin("chain", Values("n", "1"))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	_, err := r.Watch(ctx, "p", run)
	require.NoError(t, err)
	close(begin)
	require.Eventually(t, func() bool { return v.waiting() == 1 }, time.Minute, time.Millisecond)
	require.Never(t, func() bool { return r.Exec.started() > 1 }, 30*time.Millisecond, time.Millisecond)
	leave()
	v.open(false)
	require.Equal(t, "4", string(r.Wait(run).Result["n"]))
}

// aheadLost: what ran ahead of the journal is asked for again after a crash, and found.
func aheadLost(t *testing.T, open func(t *testing.T) Database) {
	r, v := behind(t, open, 3)
	do := r.Exec.Do
	r.Exec.Do = func(ctx context.Context, x app.Execution) Result {
		res := do(ctx, x)
		res.Logs = []string{"one", "two"}
		return res
	}
	r.Deploy(pure(10))
	run := r.Begin("chain", Values("n", "1"))
	require.Eventually(t, func() bool { return v.waiting() == 8 }, time.Minute, time.Millisecond)
	require.Equal(t, 10, r.Exec.started())
	v.open(true) // as if it had died now
	require.ErrorIs(t, r.Usurp(func(old *app.Service) {
		_, _ = old.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1"), IdempotencyKey: "k"})
	}), app.ErrFenced)
	require.Equal(t, "11", string(r.Wait(run).Result["n"]))
	require.Equal(t, 10, r.Exec.started(), "none was made again")
	page, err := r.Logs(t.Context(), app.LogQuery{Project: "p", Run: run, Limit: 100})
	require.NoError(t, err)
	require.Len(t, page.Records, 20, "each record once")
}

// awaited: callers who wait for the end of a run that they start are told neither of them before it is durable, not even
// when their time is over.
func awaited(t *testing.T, open func(t *testing.T) Database) {
	r, v := behind(t, open, 0)
	r.Deploy(pure(3))
	begin := func() app.StartedRun {
		s, err := r.StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: Values("n", "1"), Await: true})
		require.NoError(t, err)
		return s
	}
	type outcome struct {
		app.RunResult
		err error
	}
	wait := func(ctx context.Context, s app.StartedRun) <-chan outcome {
		out := make(chan outcome, 1)
		go func() {
			res, err := r.Outcome(ctx, "p", s)
			out <- outcome{res, err}
		}()
		return out
	}
	short, done := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer done()
	patient, impatient := begin(), begin()
	long, brief := wait(t.Context(), patient), wait(short, impatient)
	require.Eventually(t, func() bool { return r.Exec.started() == 6 }, time.Minute, time.Millisecond)
	require.Never(t, func() bool { return len(long)+len(brief) > 0 }, 50*time.Millisecond, time.Millisecond)
	require.False(t, patient.Begun() || impatient.Begun())
	v.open(false)
	o := <-long
	require.NoError(t, o.err)
	require.Equal(t, "4", string(o.Result["n"]))
	if o = <-brief; o.err != nil { // it may have ended just then
		require.ErrorIs(t, o.err, context.DeadlineExceeded)
	}
	require.True(t, patient.Begun() && impatient.Begun())
	require.Equal(t, "4", string(r.Wait(impatient.ID).Result["n"]))

	r, v = behind(t, open, 0)
	r.Deploy(pure(1))
	lost := begin()
	long = wait(t.Context(), lost)
	require.Eventually(t, func() bool { return v.waiting() > 0 }, time.Minute, time.Millisecond)
	v.open(true)
	r.Stop()
	require.ErrorContains(t, (<-long).err, "is stopping")
	require.False(t, lost.Begun())
}
