package postgres_test

import (
	"context"
	"math/rand/v2"
	"strconv"
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

// TestBrokenConnections cuts every connection to the database again and again: the outcome
// of commits under way is unknown then. Every acknowledged run ends, no step runs twice.
func TestBrokenConnections(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	exec := apptest.NewExecutor(apptest.AddOne)
	r := apptest.Start(t, on(t, pool), exec)
	r.Deploy(apptest.Chain(5))
	stop := make(chan struct{})
	var cuts atomic.Int64
	var cutter sync.WaitGroup
	cutter.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond): // a rate, not a wait for something
			}
			if _, err := pool.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err == nil {
				cuts.Add(1)
			}
		}
	})
	var wg sync.WaitGroup
	var acked sync.Map
	for range 8 {
		wg.Go(func() {
			for i := range 25 {
				s, err := r.StartRun(context.Background(), app.StartRun{Project: "p", Workflow: "chain", Inputs: apptest.Values("n", strconv.Itoa(i))})
				if err != nil {
					continue
				}
				acked.Store(s.ID, strconv.Itoa(i+5))
				_, _ = r.Await(context.Background(), "p", s.ID)
			}
		})
	}
	wg.Wait()
	close(stop)
	cutter.Wait()
	require.Positive(t, cuts.Load())
	count := 0
	acked.Range(func(run, want any) bool {
		res := r.Wait(run.(string))
		require.Equal(t, domain.RunCompleted, res.State)
		require.Equal(t, want, string(res.Result["n"]))
		rows, err := r.DB.Store.RunRows(t.Context(), run.(string))
		require.NoError(t, err)
		require.Len(t, rows, 6)
		count++
		return true
	})
	require.Equal(t, 200, count)
	seen := map[string]bool{}
	for _, x := range exec.Log {
		require.False(t, seen[x], "%s was sent twice", x)
		seen[x] = true
	}
}

// TestRestarts stops and starts the service at random moments while runs are under way.
func TestRestarts(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	exec := apptest.NewExecutor(func(ctx context.Context, x app.Execution) apptest.Result {
		if rand.IntN(4) == 0 {
			<-time.After(time.Duration(rand.IntN(3000)) * time.Microsecond) // an action that takes a while
		}
		return apptest.AddOne(ctx, x)
	})
	r := apptest.Start(t, on(t, pool), exec)
	r.Deploy(apptest.Chain(8))
	var runs []string
	for range 10 {
		for range 20 {
			runs = append(runs, r.Begin("chain", apptest.Values("n", "0")))
		}
		r.Restart()
	}
	for _, run := range runs {
		res := r.Wait(run)
		require.Equal(t, domain.RunCompleted, res.State, "%v", res.Error)
		require.Equal(t, "8", string(res.Result["n"]))
	}
	require.Len(t, exec.Log, 8*len(runs), "every step was sent once")
}
