package apptest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// aged is the start of a run so long ago, whose day is made if need be.
func aged(t *testing.T, db Database, workflow string, age time.Duration) *app.Entry {
	t.Helper()
	e := startEntry("p", workflow)
	at := clock().Add(-age)
	id := uuid.MustParse(e.Run)
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	e.Run, e.Start.ID, e.Start.CreatedAt = id.String(), id.String(), at.UTC().Truncate(time.Microsecond)
	release, err := db.Store.HoldDay(t.Context(), e.Run)
	require.NoError(t, err)
	release()
	return e
}

// endedAt is the end of a run at a time.
func endedAt(start *app.Entry, age time.Duration) *app.Entry {
	e := endEntry(start, 2, domain.RunCompleted)
	e.End.FinishedAt = clock().Add(-age).UTC()
	return e
}

func put(t *testing.T, j *journal, entries ...*app.Entry) {
	t.Helper()
	for _, err := range j.put(entries...) {
		require.NoError(t, err)
	}
}

func runsOf(t *testing.T, db Database) (ids []string) {
	t.Helper()
	items, err := db.Store.Runs(t.Context(), app.RunQuery{Project: "p", Limit: 1000})
	require.NoError(t, err)
	for _, r := range items {
		ids = append(ids, r.ID)
	}
	return ids
}

const day = 24 * time.Hour

func storeRetention(t *testing.T, db Database) {
	j := begin(t, db)
	old, young, other := aged(t, db, "w", 3*day), aged(t, db, "w", 3*day), aged(t, db, "other", 3*day)
	live, child, late := aged(t, db, "w", 4*day), aged(t, db, "w", 3*day), aged(t, db, "w", 3*day)
	child.Start.Parent = live.Run
	child.Start.Trigger = app.Trigger{Kind: "workflow", ID: "call"}
	unknown := aged(t, db, "w", 3*day) // of a version that kept no parents
	unknown.Start.Trigger = app.Trigger{Kind: "workflow", ID: "call"}
	put(t, j, old, young, other, live, child, late, unknown)
	put(t, j, endedAt(old, 2*day), endedAt(young, time.Hour), endedAt(other, 2*day), endedAt(child, 2*day), endedAt(unknown, 2*day))
	log := app.LogChunk{Run: old.Run, Step: "s", Attempt: 1, Cursors: []int64{1}, Lines: []domain.LogLine{{Line: "hello"}}}
	require.NoError(t, db.Store.AppendLogs(t.Context(), []app.LogChunk{log}))

	expired := app.Expired{Project: "p", Before: clock().Add(-day), Except: []string{"other"}}
	n, err := db.Store.RemoveExpired(t.Context(), expired, 10)
	require.NoError(t, err)
	require.Equal(t, 1, n, "what has not ended, what is young and what a run under way may ask for stays")
	require.ElementsMatch(t, []string{young.Run, other.Run, live.Run, child.Run, late.Run, unknown.Run}, runsOf(t, db))
	rows, err := db.Store.RunRows(t.Context(), old.Run)
	require.NoError(t, err)
	require.Empty(t, rows)
	logs := func() int {
		recs, err := db.Store.Logs(t.Context(), app.LogQuery{Run: old.Run, Limit: 10})
		require.NoError(t, err)
		return len(recs)
	}
	require.Zero(t, logs())

	require.NoError(t, db.Store.AppendLogs(t.Context(), []app.LogChunk{log}), "a writer was late")
	require.NoError(t, db.Store.RemoveLate(t.Context(), clock().Add(-time.Minute)))
	require.Equal(t, 1, logs(), "more may come")
	require.NoError(t, db.Store.RemoveLate(t.Context(), clock().Add(time.Minute)))
	require.Zero(t, logs())

	for run, code := range map[string]string{late.Run: "run_not_ended", child.Run: "run_needed", unknown.Run: "run_needed"} {
		err := db.Store.RemoveRun(t.Context(), "p", run)
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		require.Equal(t, code, fault.As(err).Code)
	}
	require.True(t, fault.Is(db.Store.RemoveRun(t.Context(), "q", young.Run), fault.NotFound), "it is another project's")
	require.NoError(t, db.Store.RemoveRun(t.Context(), "p", young.Run))
	require.True(t, fault.Is(db.Store.RemoveRun(t.Context(), "p", young.Run), fault.NotFound))

	put(t, j, endedAt(live, 2*day), endedAt(late, 2*day))
	n, err = db.Store.RemoveExpired(t.Context(), expired, 3)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = db.Store.RemoveExpired(t.Context(), expired, 3)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = db.Store.RemoveExpired(t.Context(), app.Expired{Project: "p", Before: clock().Add(-day), Workflows: []string{"other"}}, 3)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, runsOf(t, db))
}

func storeDays(t *testing.T, db Database) {
	j := begin(t, db)
	gone, held, needed := aged(t, db, "w", 100*day), aged(t, db, "w", 102*day), aged(t, db, "w", 104*day)
	child := aged(t, db, "w", 103*day)
	child.Start.Parent = needed.Run
	slow := aged(t, db, "w", 101*day)
	put(t, j, gone, held, needed, child, slow)
	put(t, j, endedAt(gone, 99*day), endedAt(held, 99*day), endedAt(child, 99*day), endedAt(slow, day))

	before := clock().Add(-90 * day)
	release, err := db.Store.HoldDay(t.Context(), held.Run)
	require.NoError(t, err)
	days, runs, err := db.Store.DropDays(t.Context(), before)
	require.NoError(t, err)
	require.Zero(t, days+runs, "a run is just being started in the past")
	release()

	days, runs, err = db.Store.DropDays(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []int{2, 2}, []int{days, runs})
	require.ElementsMatch(t, []string{needed.Run, child.Run, slow.Run}, runsOf(t, db))
	again := aged(t, db, "w", 100*day) // its day is made anew
	put(t, j, again)
	require.Len(t, runsOf(t, db), 4)
	days, _, err = db.Store.DropDays(t.Context(), before)
	require.NoError(t, err)
	require.Zero(t, days)
	put(t, j, endedAt(again, 99*day), endedAt(needed, 95*day))
	days, runs, err = db.Store.DropDays(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []int{3, 3}, []int{days, runs})
	require.Equal(t, []string{slow.Run}, runsOf(t, db), "a run counts from its end")
}

func storeSettings(t *testing.T, db Database) {
	require.NoError(t, db.Store.PutRetention(t.Context(), "p", time.Hour))
	require.NoError(t, db.Store.PutRetention(t.Context(), "q", time.Hour))
	require.NoError(t, db.Store.PutRetention(t.Context(), "p", 2*time.Hour))
	require.NoError(t, db.Store.PutRetention(t.Context(), "q", 0))
	own, err := db.Store.Retentions(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]time.Duration{"p": 2 * time.Hour}, own)

	mine, err := db.Store.Alone(t.Context(), "x", func(ctx context.Context) error {
		mine, err := db.Store.Alone(ctx, "x", func(context.Context) error { return nil })
		require.NoError(t, err)
		require.False(t, mine)
		mine, err = db.Store.Alone(ctx, "y", func(context.Context) error { return nil })
		require.NoError(t, err)
		require.True(t, mine)
		return fault.New(fault.Conflict, "no")
	})
	require.True(t, mine)
	require.True(t, fault.Is(err, fault.Conflict))
	mine, err = db.Store.Alone(t.Context(), "x", func(context.Context) error { return nil })
	require.NoError(t, err)
	require.True(t, mine)
}
