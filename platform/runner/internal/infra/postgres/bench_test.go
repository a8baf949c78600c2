package postgres_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// instant answers every attempt at once, from a goroutine of its own: what is left is the
// engine and its journal.
type instant struct {
	work chan func()
	list int // items that the step "first" returns
}

func newInstant(b *testing.B) *instant {
	x := &instant{work: make(chan func(), 20000)}
	for range 2 {
		go func() {
			for f := range x.work {
				f()
			}
		}()
	}
	b.Cleanup(func() { close(x.work) })
	return x
}

func (x *instant) Start(e app.Execution, s app.Sink) {
	x.work <- func() {
		if e.Step == "first" {
			for range x.list {
				s.Output(app.Output{Values: domain.Values{"n": e.Inputs["n"]}, List: true})
			}
			s.Ended(app.Ended{Outcome: app.Completed, Outputs: x.list, List: true})
			return
		}
		s.Output(app.Output{Values: domain.Values{"n": e.Inputs["n"]}})
		s.Ended(app.Ended{Outcome: app.Completed, Outputs: 1})
	}
}
func (x *instant) Attach(app.Execution, app.Sink)       {}
func (x *instant) Cancel(string, string, time.Duration) {}
func (x *instant) Forget(string)                        {}

// BenchmarkChain measures a durable 10-step chain, from the order to the result.
func BenchmarkChain(b *testing.B) {
	for _, at := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("at=%d", at), func(b *testing.B) { chain(b, at) })
	}
}

func chain(b *testing.B, at int) {
	pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
	r := apptest.StartWith(b, on(b, pool), newInstant(b))
	r.Deploy(apptest.Chain(10))
	one := func() {
		ctx := context.Background()
		s, err := r.StartRun(ctx, app.StartRun{Project: "p", Workflow: "chain", Inputs: domain.Values{"n": domain.Value("1")}})
		if err != nil {
			b.Error(err)
			return
		}
		if res, err := r.Await(ctx, "p", s.ID); err != nil || res.State != domain.RunCompleted {
			b.Error(res, err)
		}
	}
	for range 50 {
		one()
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				one()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N*10)/b.Elapsed().Seconds(), "steps/s")
}

// BenchmarkCommit is the floor: one durable row in a transaction of its own.
func BenchmarkCommit(b *testing.B) {
	pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
	_, err := pool.Exec(b.Context(), "CREATE TABLE floor (id bigint PRIMARY KEY, v bytea)")
	require.NoError(b, err)
	b.ResetTimer()
	for i := range b.N {
		_, err := pool.Exec(b.Context(), "INSERT INTO floor VALUES ($1, $2)", int64(i), []byte("0123456789"))
		require.NoError(b, err)
	}
}

// BenchmarkList measures the first page of 1,000 runs out of 20,000, and one run's detail.
func BenchmarkList(b *testing.B) {
	pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
	r := apptest.StartWith(b, on(b, pool), newInstant(b))
	r.Deploy(apptest.Chain(1))
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for range 100 {
				s, err := r.StartRun(b.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: domain.Values{"n": domain.Value("1")}})
				if err == nil {
					_, err = r.Await(b.Context(), "p", s.ID)
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var last string
	b.Run("runs", func(b *testing.B) {
		for b.Loop() {
			items, _, err := r.Runs(b.Context(), app.RunQuery{Project: "p", Limit: 1000})
			require.NoError(b, err)
			require.Len(b, items, 1000)
			last = items[0].ID
		}
	})
	b.Run("failed", func(b *testing.B) {
		for b.Loop() {
			_, _, err := r.Runs(b.Context(), app.RunQuery{Project: "p", State: domain.RunFailed, Limit: 1000})
			require.NoError(b, err)
		}
	})
	b.Run("run", func(b *testing.B) {
		for b.Loop() {
			d, err := r.GetRun(b.Context(), "p", last)
			require.NoError(b, err)
			require.Len(b, d.Steps, 1)
		}
	})
}

// BenchmarkFanOut measures a list of 5,000 items through two steps and its detail.
func BenchmarkFanOut(b *testing.B) {
	pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
	x := newInstant(b)
	x.list = 5000
	r := apptest.StartWith(b, on(b, pool), x)
	second, third := apptest.Step("second", "n", `"${steps.first.n}"`), apptest.Step("third", "n", `"${steps.second.n}"`)
	r.Deploy(apptest.Workflow("w", apptest.Step("first", "n", "1"), second, third))
	run := ""
	b.Run("run", func(b *testing.B) {
		for b.Loop() {
			run = r.Begin("w", nil)
			require.Equal(b, domain.RunCompleted, r.Wait(run).State)
		}
	})
	b.Run("detail", func(b *testing.B) {
		for b.Loop() {
			d, err := r.GetRun(b.Context(), "p", run)
			require.NoError(b, err)
			require.Len(b, d.Steps, 10001)
		}
	})
}

// BenchmarkForEach measures a forEach of many items, 64 at a time.
func BenchmarkForEach(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
			r := apptest.StartWith(b, on(b, pool), newInstant(b))
			s := apptest.Step("each", "n", `"${item}"`)
			s.ForEach = &domain.ForEachSpec{In: "${inputs.list}", As: "item", Concurrency: 64}
			d := apptest.Workflow("w", s)
			d.Inputs = []domain.Item{{Name: "list", Type: "list"}}
			r.Deploy(d)
			list := domain.Value("[1" + strings.Repeat(",1", n-1) + "]")
			b.ResetTimer()
			for b.Loop() {
				require.Equal(b, domain.RunCompleted, r.Wait(r.Begin("w", domain.Values{"list": list})).State)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

// holding answers like instant, but for the last of n items, which stays under way.
type holding struct {
	*instant
	last     int32
	left     atomic.Int64 // ends that are not durable yet
	done     chan struct{}
	attached chan struct{}
}

func (h *holding) Start(e app.Execution, s app.Sink) {
	if e.ItemPath[0] != h.last {
		h.instant.Start(e, s)
	}
}

func (h *holding) Forget(string) {
	if h.left.Add(-1) == 0 {
		close(h.done)
	}
}

func (h *holding) Attach(app.Execution, app.Sink) { h.attached <- struct{}{} }

// BenchmarkLongRun measures a run of 100,000 items of which all but one have ended: what each costs in
// memory, and how long a restart takes to go on with the run.
func BenchmarkLongRun(b *testing.B) {
	const items = 100_000
	pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
	h := &holding{instant: newInstant(b), last: items - 1, attached: make(chan struct{}, 1)}
	r := apptest.StartWith(b, on(b, pool), h)
	s := apptest.Step("each", "n", `"${item}"`)
	s.ForEach = &domain.ForEachSpec{In: "${inputs.list}", As: "item", Concurrency: 64}
	d := apptest.Workflow("w", s)
	d.Inputs = []domain.Item{{Name: "list", Type: "list"}}
	r.Deploy(d)
	list := domain.Value("[1" + strings.Repeat(",1", items-1) + "]")
	for b.Loop() {
		h.left.Store(items - 1)
		h.done = make(chan struct{})
		before, begun := heap(), time.Now()
		run := r.Begin("w", domain.Values{"list": list})
		<-h.done
		b.ReportMetric(items/time.Since(begun).Seconds(), "items/s")
		b.ReportMetric(float64(int64(heap())-int64(before))/items, "B/item")
		r.Stop()
		begun = time.Now()
		r.Again()
		<-h.attached
		b.ReportMetric(time.Since(begun).Seconds(), "s/restart")
		require.NoError(b, r.Cancel(b.Context(), "p", run, "", ""))
	}
}

// heap is what the process holds, in bytes.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkWaiting measures runs that wait for a day: their start, what each costs in memory, and
// how long a restart takes.
func BenchmarkWaiting(b *testing.B) {
	const runs = 100_000
	pool := pgtest.New(b, "runner", postgres.Migrations, "migrations")
	r := apptest.StartWith(b, on(b, pool), newInstant(b))
	d := apptest.Workflow("w", domain.StepSpec{ID: "day", Kind: "wait", Wait: &domain.WaitSpec{For: []byte(`"1d"`)}})
	r.Deploy(d)
	for b.Loop() {
		before, begun := heap(), time.Now()
		var left atomic.Int64
		left.Store(runs)
		var wg sync.WaitGroup
		for range 256 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if _, err := r.StartRun(b.Context(), app.StartRun{Project: "p", Workflow: "w"}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(runs/time.Since(begun).Seconds(), "starts/s")
		b.ReportMetric(float64(int64(heap())-int64(before))/runs, "B/run")
		r.Stop()
		begun = time.Now()
		r.Again()
		b.ReportMetric(time.Since(begun).Seconds(), "s/restart")
	}
}
