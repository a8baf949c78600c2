package peers_test

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/peers"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// replica is one of several runners on a database.
type replica struct {
	*apptest.Runner
	peers *peers.Peers
	store *postgres.Store
}

// together starts replicas that share a database and an executor, as their instances outlive them.
func together(t *testing.T, exec *apptest.Executor, n int) []*replica {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	var out []*replica
	for i := range n {
		s := postgres.New(pool, log, nil)
		key, err := s.PeerKey(t.Context())
		require.NoError(t, err)
		p, err := peers.Open(t.Context(), peers.Config{Key: key, Now: time.Now, Log: log})
		require.NoError(t, err)
		t.Cleanup(p.Close)
		db := apptest.Database{Store: s, Journal: func(fence int64) app.Journal { return s.NewJournal(fence, nil) }}
		cfg := app.Config{Name: "r" + strconv.Itoa(i), Lease: 3 * time.Second, Beat: 50 * time.Millisecond}
		r := &replica{apptest.StartReplica(t, db, exec, cfg, p), p, s}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx, r.Answer) }()
		t.Cleanup(func() {
			cancel()
			require.NoError(t, <-done)
		})
		out = append(out, r)
	}
	return out
}

// gate is an action that ends when it is told, or is cancelled.
type gate struct{ begun, open chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) do(ctx context.Context, x app.Execution) apptest.Result {
	g.begun <- struct{}{}
	select {
	case <-g.open:
		return apptest.AddOne(ctx, x)
	case <-ctx.Done():
		return apptest.Result{Outcome: app.Cancelled, Err: &domain.StepError{Kind: "cancelled", Message: "told to stop"}}
	}
}

func TestReplicasAnswerForEachOther(t *testing.T) {
	g := newGate()
	all := together(t, apptest.NewExecutor(g.do), 3)
	a, b, c := all[0], all[1], all[2]
	a.Deploy(apptest.Chain(1))
	feed := b.WatchProject(t.Context(), "p")
	run := c.Begin("chain", apptest.Values("n", "5")) // it was deployed at another one just now
	<-g.begun

	d, err := a.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.AttemptStarted, d.Steps[0].Attempts[0].State)
	events, err := a.Watch(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, "resync", (<-events).Kind, "from here on it is heard")
	type end struct {
		res app.RunResult
		err error
	}
	ended := make(chan end, 1)
	go func() {
		res, err := b.Await(t.Context(), "p", run)
		ended <- end{res, err}
	}()
	close(g.open)
	e := <-ended
	require.NoError(t, e.err)
	require.Equal(t, domain.RunCompleted, e.res.State)
	require.Equal(t, "6", string(e.res.Result["n"]))
	var last app.RunEvent
	for ev := range events {
		last = ev
	}
	require.Equal(t, domain.RunCompleted, last.Run.State)
	for ev := range feed {
		if ev.Kind == "run_finished" {
			require.Equal(t, run, ev.Run.ID)
			break
		}
	}
	_, err = a.Watch(t.Context(), "p", "01000000-0000-7000-8000-000000000000")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestCommandsReachTheOwner(t *testing.T) {
	g := newGate()
	all := together(t, apptest.NewExecutor(g.do), 2)
	all[0].Deploy(apptest.Chain(1))
	run := all[1].Begin("chain", apptest.Values("n", "5"))
	<-g.begun
	require.NoError(t, all[0].Cancel(t.Context(), "p", run, "", "enough"))
	require.Equal(t, domain.RunCancelled, all[0].Wait(run).State)
	require.True(t, fault.Is(all[0].Cancel(t.Context(), "p", run, "", "again"), fault.Conflict))

	require.NoError(t, all[0].PutVariable(t.Context(), "p", "v", domain.Value(`"1"`)))
	require.NoError(t, all[0].PutSecret(t.Context(), "p", "s", "x"))
	require.Eventually(t, func() bool {
		names, err := all[1].SecretNames(t.Context(), "p")
		return err == nil && len(names) == 1
	}, 20*time.Second, 2*time.Millisecond)
}

func TestARunGoesOnAtItsHeir(t *testing.T) {
	g := newGate()
	all := together(t, apptest.NewExecutor(g.do), 2)
	all[0].Deploy(apptest.Chain(2))
	run := all[1].Begin("chain", apptest.Values("n", "5"))
	<-g.begun
	events, err := all[0].Watch(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, "resync", (<-events).Kind)
	mine, err := all[1].HoldSource(t.Context(), "p/w/t")
	require.NoError(t, err)
	if !mine {
		mine, err = all[0].HoldSource(t.Context(), "p/w/t")
		require.NoError(t, err)
		require.True(t, mine, "one of the two")
	}
	ended := make(chan app.RunResult, 1)
	go func() {
		res, err := all[0].Await(t.Context(), "p", run)
		if err != nil {
			t.Error(err)
		}
		ended <- res
	}()
	all[1].Stop() // in order: its lease is given back, and the other takes over at once
	close(g.open)
	res := <-ended
	require.Equal(t, domain.RunCompleted, res.State)
	require.Equal(t, "7", string(res.Result["n"]))
	var last app.RunEvent
	for ev := range events {
		last = ev
	}
	require.Equal(t, domain.RunCompleted, last.Run.State, "over the take-over")
	require.Eventually(t, func() bool {
		mine, err := all[0].HoldSource(t.Context(), "p/w/t")
		return err == nil && mine
	}, 20*time.Second, 5*time.Millisecond)
}

func TestAReplicaThatLostItsLeaseBeginsAnew(t *testing.T) {
	g := newGate()
	all := together(t, apptest.NewExecutor(g.do), 2)
	all[0].Deploy(apptest.Chain(2))
	run := all[1].Begin("chain", apptest.Values("n", "5"))
	<-g.begun
	owner, found, err := all[0].store.Owner(t.Context(), run)
	require.NoError(t, err)
	require.True(t, found)
	require.NoError(t, all[0].store.EndLease(t.Context(), owner.Fence)) // as when it could not renew it
	close(g.open)
	require.Equal(t, domain.RunCompleted, all[0].Wait(run).State)
	require.Eventually(t, func() bool {
		live, err := all[0].store.Incarnations(t.Context())
		if err != nil || len(live) != 2 || live[0].Fence == owner.Fence {
			return false
		}
		_, err = all[1].StartRun(t.Context(), app.StartRun{Project: "p", Workflow: "chain", Inputs: apptest.Values("n", "1"), Trigger: app.Trigger{Kind: "manual"}})
		return err == nil
	}, 20*time.Second, 5*time.Millisecond, "it has another incarnation")
}

func TestOneEventMakesOneRun(t *testing.T) {
	all := together(t, apptest.NewExecutor(apptest.AddOne), 3)
	dep := all[0].Deploy(apptest.Chain(1))
	started := make(chan app.StartedRun, len(all))
	for _, r := range all {
		go func() {
			s, err := r.StartRun(t.Context(), app.StartRun{Project: "p", DeploymentID: dep, Inputs: apptest.Values("n", "1"), Trigger: app.Trigger{Kind: "cron", ID: "t"}, EventKey: "2026-01-01T00:00:00Z"})
			if err != nil {
				t.Error(err)
			}
			started <- s
		}()
	}
	ids, created := map[string]bool{}, 0
	for range all {
		s := <-started
		ids[s.ID] = true
		if s.Created {
			created++
		}
	}
	require.Len(t, ids, 1)
	require.Equal(t, 1, created)
}
