package cron_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cron"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is an engine on a real database; its schedules are told another time.
type bench struct {
	*apptest.Runner
	t    *testing.T
	hold chan struct{} // steps end once it is closed
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, hold: make(chan struct{})}
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	store := postgres.New(pool, slog.New(slog.NewTextHandler(t.Output(), nil)), nil)
	db := apptest.Database{Store: store, Journal: func(fence int64) app.Journal { return store.NewJournal(fence, nil) }}
	b.Runner = apptest.Start(t, db, apptest.NewExecutor(func(ctx context.Context, _ app.Execution) apptest.Result {
		select {
		case <-b.hold:
			return apptest.Result{Outputs: []domain.Values{{}}}
		case <-ctx.Done():
			return apptest.Result{Outcome: app.Cancelled}
		}
	}))
	return b
}

func (b *bench) deploy(with string) string {
	d := apptest.Workflow("w", apptest.Step("a"))
	d.Triggers = []domain.TriggerSpec{{ID: "t", Uses: "cron", With: json.RawMessage(with)}}
	return b.Deploy(d)
}

// runs a scheduler whose clock is ahead until it has moved the schedule to a due time, and gives
// all runs of the schedule, oldest first.
func (b *bench) runs(clock func() time.Time, due time.Time) []app.RunSummary {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(b.t.Output(), nil))
	go func() { done <- cron.New(b.Service, clock, log).Run(ctx) }()
	for { // each turn is a query of the database, and the time is bounded
		s, found, err := b.Service.Schedule(ctx, "p", "w", "t")
		require.NoError(b.t, err)
		if found && !s.Due.Before(due) {
			break
		}
	}
	cancel()
	require.NoError(b.t, <-done)
	items, _, err := b.Service.Runs(b.t.Context(), app.RunQuery{Project: "p", Workflow: "w", Limit: 1000})
	require.NoError(b.t, err)
	out := make([]app.RunSummary, 0, len(items))
	for i := range items {
		require.Equal(b.t, app.Trigger{Kind: "cron", ID: "t"}, items[i].Trigger)
		out = append(out, items[len(items)-1-i])
	}
	return out
}

// ahead is a clock that stands still, the given time after the next whole hour.
func ahead(d time.Duration) (clock func() time.Time, now time.Time) {
	now = time.Now().Truncate(time.Hour).Add(time.Hour + d).UTC() // deployments are made in real time
	return func() time.Time { return now }, now
}

// hour is the last whole hour before now.
func hour(now time.Time) time.Time { return now.Truncate(time.Hour) }

func TestCatchUp(t *testing.T) {
	for policy, want := range map[string]int{"none": 0, "last": 1, "all": 4} {
		t.Run(policy, func(t *testing.T) {
			b := newBench(t)
			close(b.hold)
			b.deploy(`{"schedule":"0 * * * *","catchUp":"` + policy + `"}`)
			clock, now := ahead(3*time.Hour + 30*time.Minute)
			due := hour(now)
			if policy == "none" { // what it fires is the next one, exactly at its time
				clock, now = ticking(now, 30*time.Minute)
				due, want = hour(now).Add(time.Hour), 1
			}
			require.Len(t, b.runs(clock, due), want)
			again, _ := ahead(3*time.Hour + 40*time.Minute)
			require.Len(t, b.runs(again, due), want, "a restart fires nothing twice")
		})
	}
}

// ticking is a clock that jumps after its first readings: the schedule is read before its time.
func ticking(now time.Time, jump time.Duration) (func() time.Time, time.Time) {
	n := 0
	return func() time.Time {
		if n++; n > 1 {
			return now.Add(jump)
		}
		return now
	}, now
}

func TestCatchUpAcrossDeployments(t *testing.T) {
	b := newBench(t)
	close(b.hold)
	const with = `{"schedule":"0 * * * *","catchUp":"all"}`
	b.deploy(with)
	clock, now := ahead(30 * time.Minute)
	require.Len(t, b.runs(clock, hour(now)), 1)
	second := b.deploy(with)
	clock, now = ahead(2*time.Hour + 30*time.Minute)
	runs := b.runs(clock, hour(now))
	require.Len(t, runs, 3, "the deployment that takes the place catches up what was missed")
	require.Equal(t, second, runs[2].Deployment)
	require.Equal(t, hour(now), mustTime(t, b, runs[2].ID))

	b.deploy(`{"schedule":"30 * * * *","catchUp":"all"}`)
	clock, now = ahead(2*time.Hour + 45*time.Minute)
	runs = b.runs(clock, now.Truncate(time.Hour).Add(30*time.Minute))
	require.NotEmpty(t, runs[3:])
	for _, r := range runs[3:] {
		require.Equal(t, 30, mustTime(t, b, r.ID).Minute(), "another schedule begins anew")
	}
}

// mustTime reads the time that a run was scheduled for.
func mustTime(t *testing.T, b *bench, run string) time.Time {
	b.Wait(run)
	v, err := b.Render(t.Context(), "p", run, domain.Value(`"${trigger.scheduled_at}"`))
	require.NoError(t, err)
	var at time.Time
	require.NoError(t, json.Unmarshal(v, &at))
	return at
}

func TestOverlap(t *testing.T) {
	for policy, want := range map[string]int{"allow": 3, "skip": 1, "cancel-previous": 3} {
		t.Run(policy, func(t *testing.T) {
			b := newBench(t)
			b.deploy(`{"schedule":"0 * * * *","catchUp":"all","overlap":"` + policy + `"}`)
			clock, now := ahead(2*time.Hour + 30*time.Minute)
			runs := b.runs(clock, hour(now))
			require.Len(t, runs, want)
			if policy == "cancel-previous" {
				require.Equal(t, domain.RunCancelled, b.Wait(runs[0].ID).State)
				require.Equal(t, domain.RunCancelled, b.Wait(runs[1].ID).State)
			}
			close(b.hold)
			require.Equal(t, domain.RunCompleted, b.Wait(runs[want-1].ID).State)
			if policy == "skip" {
				clock, now = ahead(3*time.Hour + 30*time.Minute)
				require.Len(t, b.runs(clock, hour(now)), 2, "it is free again")
			}
		})
	}
}
