package postgres_test

import (
	"context"
	"fmt"
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
}

func newInstant(b *testing.B) *instant {
	x := &instant{work: make(chan func(), 4096)}
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
