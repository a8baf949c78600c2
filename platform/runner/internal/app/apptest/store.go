package apptest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// journal runs a journal of a fresh incarnation.
type journal struct {
	app.Journal
	t       *testing.T
	stop    func() error
	fence   int64
	claimed []string // runs of incarnations before it
}

func begin(t *testing.T, db Database) *journal {
	t.Helper()
	require.NoError(t, db.Store.EnsurePartitions(t.Context(), clock()))
	fence, err := db.Store.Begin(t.Context(), app.Incarnation{Name: "test"}, 0)
	require.NoError(t, err)
	j := &journal{Journal: db.Journal(fence), t: t, fence: fence}
	all, err := db.Store.Incarnations(t.Context())
	require.NoError(t, err)
	for _, i := range all {
		if i.Fence != fence {
			h, err := db.Store.TakeOver(t.Context(), i.Fence, fence, true)
			require.NoError(t, err)
			j.claimed = append(j.claimed, h.Runs...)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	j.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = j.stop() })
	return j
}

// put appends entries and waits for what became of each.
func (j *journal) put(entries ...*app.Entry) []error {
	j.t.Helper()
	errs := make([]error, len(entries))
	var wg sync.WaitGroup
	for i, e := range entries {
		wg.Add(1)
		e.Committed = func(_ *app.Entry, err error) { errs[i] = err; wg.Done() }
	}
	j.Append(entries...)
	wg.Wait()
	return errs
}

func startEntry(project, workflow string) *app.Entry {
	run := id.New()
	return &app.Entry{Run: run, Seq: 1, Row: []byte("first"), Start: &app.RunSummary{ID: run, Project: project, Workflow: workflow, Revision: 1,
		RevisionID: id.New(), Deployment: id.New(), State: domain.RunRunning, Trigger: app.Trigger{Kind: "manual"}, CreatedAt: clock().UTC().Truncate(time.Microsecond)}}
}

func endEntry(start *app.Entry, seq int64, st domain.RunState) *app.Entry {
	sum := *start.Start
	sum.State, sum.FinishedAt = st, clock().UTC().Truncate(time.Microsecond)
	if st == domain.RunFailed {
		sum.ErrorKind, sum.Error, sum.ErrorStep = "user_error", "bad\x00 text \xff", "s"
	}
	return &app.Entry{Run: sum.ID, Seq: seq, Row: []byte("last"), End: &sum}
}

// Store checks a store with its journal. open makes a fresh one.
func Store(t *testing.T, open func(t *testing.T) Database) {
	t.Run("rows are kept in order, runs are listed newest first", func(t *testing.T) { storeRuns(t, open(t)) })
	t.Run("what has expired is removed, unless it is needed", func(t *testing.T) { storeRetention(t, open(t)) })
	t.Run("whole days of history are dropped", func(t *testing.T) { storeDays(t, open(t)) })
	t.Run("what mentions a blob is known", func(t *testing.T) { storeFiles(t, open(t)) })
	t.Run("a run that is written at once is all there", func(t *testing.T) { storeShort(t, open(t)) })
	t.Run("the mentions of a day go with it", func(t *testing.T) { storeDayFiles(t, open(t)) })
	t.Run("one sweeps at a time, by settings", func(t *testing.T) { storeSettings(t, open(t)) })
	t.Run("a row that is refused fails alone", func(t *testing.T) {
		db := open(t)
		j := begin(t, db)
		var batch []*app.Entry
		for range 20 {
			batch = append(batch, startEntry("p", "w"))
		}
		batch[13].Run = "not-an-id"
		old := startEntry("p", "w")
		old.Run = "01000000-0000-7000-8000-000000000000" // 2005: no partition takes it
		batch = append(batch, old)
		errs := j.put(batch...)
		for i, err := range errs {
			require.Equal(t, i == 13 || i == 20, err != nil, "entry %d: %v", i, err)
		}
		items, err := db.Store.Runs(t.Context(), app.RunQuery{Project: "p", Limit: 100})
		require.NoError(t, err)
		require.Len(t, items, 19)
	})
	t.Run("a key is taken once", func(t *testing.T) {
		db := open(t)
		j := begin(t, db)
		key := func(expires time.Duration) *app.Entry {
			e := startEntry("p", "w")
			e.Dedup = &app.Dedup{Scope: "s", Key: "k", Body: []byte("b"), Expires: clock().Add(expires)}
			return e
		}
		a, b, other := key(time.Hour), key(time.Hour), startEntry("p", "w")
		errs := j.put(a, b, other)
		require.NoError(t, errs[0])
		require.ErrorIs(t, errs[1], app.ErrDuplicate)
		require.NoError(t, errs[2])
		run, body, found, err := db.Store.FindDedup(t.Context(), "s", "k")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, a.Run, run)
		require.Equal(t, "b", string(body))
		_, err = db.Store.RunSummary(t.Context(), "p", b.Run)
		require.True(t, fault.Is(err, fault.NotFound))
	})
	t.Run("a take-over fences the incarnation before", func(t *testing.T) {
		db := open(t)
		old := begin(t, db)
		require.NoError(t, old.put(startEntry("p", "w"))[0])
		begin(t, db)
		errs := old.put(&app.Entry{Run: id.New(), Seq: 2, Row: []byte("late")}, startEntry("p", "w"))
		require.ErrorIs(t, errors.Join(errs...), app.ErrFenced)
		require.ErrorIs(t, old.stop(), app.ErrFenced)
		require.ErrorIs(t, old.put(startEntry("p", "w"))[0], app.ErrStopped)
		items, err := db.Store.Runs(t.Context(), app.RunQuery{Project: "p", Limit: 10})
		require.NoError(t, err)
		require.Len(t, items, 1)
	})
	t.Run("a run is read from its newest snapshot on", func(t *testing.T) { storeSnapshots(t, open(t)) })
	t.Run("unfinished runs and commands are found again", func(t *testing.T) { storeUnfinished(t, open(t)) })
	t.Run("a lease is renewed until it has run out, and then taken over once", func(t *testing.T) { storeLeases(t, open(t)) })
	t.Run("two heirs at once: every run has one owner", func(t *testing.T) { storeHeirs(t, open(t)) })
	t.Run("what starts take of rates adds up", func(t *testing.T) { storeRates(t, open(t)) })
	t.Run("a source has one keeper, and its heir after it", func(t *testing.T) { storeSources(t, open(t)) })
	t.Run("signals reach those who listen", func(t *testing.T) { storeSignals(t, open(t)) })
	t.Run("logs page by cursor across chunks that overlap", func(t *testing.T) { storeLogs(t, open(t)) })
	t.Run("a deployment comes back as it was saved", func(t *testing.T) { storeDeployments(t, open(t)) })
	t.Run("secrets and variables", func(t *testing.T) { storeSecrets(t, open(t)) })
	t.Run("a schedule moves on, never back", func(t *testing.T) { storeSchedules(t, open(t)) })
	t.Run("ids that are none are not found", func(t *testing.T) {
		db := open(t)
		_, err := db.Store.RunSummary(t.Context(), "p", "x'; --")
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
		_, err = db.Store.Deployment(t.Context(), "nope")
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
		_, err = db.Store.Runs(t.Context(), app.RunQuery{Project: "p", Cursor: "zz", Limit: 1})
		require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	})
}

func storeRuns(t *testing.T, db Database) {
	j := begin(t, db)
	var starts []*app.Entry
	for i := range 30 {
		starts = append(starts, startEntry("p", fmt.Sprintf("w%d", i%2)))
	}
	starts = append(starts, startEntry("other", "w0"))
	require.NoError(t, errors.Join(j.put(starts...)...))
	require.NoError(t, errors.Join(j.put(&app.Entry{Run: starts[0].Run, Seq: 2, Row: []byte("second")}, endEntry(starts[0], 3, domain.RunFailed), endEntry(starts[1], 2, domain.RunCompleted))...))
	rows, err := db.Store.RunRows(t.Context(), starts[0].Run)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("first"), []byte("second"), []byte("last")}, rows)
	last, err := db.Store.LastRow(t.Context(), starts[0].Run)
	require.NoError(t, err)
	require.Equal(t, "last", string(last))
	sum, err := db.Store.RunSummary(t.Context(), "p", starts[0].Run)
	require.NoError(t, err)
	require.Equal(t, domain.RunFailed, sum.State)
	require.Equal(t, "bad\uFFFD text \uFFFD", sum.Error)
	require.Equal(t, starts[0].Start.CreatedAt, sum.CreatedAt)
	_, err = db.Store.RunSummary(t.Context(), "other", starts[0].Run)
	require.True(t, fault.Is(err, fault.NotFound))

	list := func(q app.RunQuery) (out []string) {
		items, err := db.Store.Runs(t.Context(), q)
		require.NoError(t, err)
		for _, s := range items {
			out = append(out, s.ID)
		}
		return out
	}
	page := list(app.RunQuery{Project: "p", Limit: 10})
	require.Equal(t, starts[29].Run, page[0])
	require.Equal(t, starts[20].Run, page[9])
	require.Equal(t, starts[19].Run, list(app.RunQuery{Project: "p", Limit: 10, Cursor: page[9]})[0])
	require.Len(t, list(app.RunQuery{Project: "p", Workflow: "w1", Limit: 100}), 15)
	require.Equal(t, []string{starts[0].Run}, list(app.RunQuery{Project: "p", State: domain.RunFailed, Limit: 100}))
}

func storeSnapshots(t *testing.T, db Database) {
	j := begin(t, db)
	a, b := startEntry("p", "w"), startEntry("p", "w")
	row := func(seq int64, row, snapshot string) *app.Entry {
		e := &app.Entry{Run: a.Run, Seq: seq, Row: []byte(row)}
		if snapshot != "" {
			e.Snapshot = []byte(snapshot)
		}
		return e
	}
	require.NoError(t, errors.Join(j.put(a, b, row(2, "2", "up to 2"), row(3, "3", "up to 3"), row(4, "4", ""))...))
	var live []app.LiveRun
	require.NoError(t, db.Store.Unfinished(t.Context(), []string{a.Run, b.Run}, func(l app.LiveRun) error { live = append(live, l); return nil }))
	require.Len(t, live, 2)
	require.Equal(t, "up to 3", string(live[0].Snapshot))
	require.EqualValues(t, 3, live[0].SnapshotSeq)
	require.Equal(t, [][]byte{[]byte("4")}, live[0].Rows)
	require.Nil(t, live[1].Snapshot)
	require.Equal(t, [][]byte{[]byte("first")}, live[1].Rows)
	require.NoError(t, errors.Join(j.put(row(5, "5", "up to 5"))...))
	l, err := db.Store.LiveRun(t.Context(), a.Run)
	require.NoError(t, err)
	require.Equal(t, "up to 5", string(l.Snapshot))
	require.Empty(t, l.Rows)
	rows, err := db.Store.RunRows(t.Context(), a.Run)
	require.NoError(t, err)
	require.Len(t, rows, 5, "the journal stays whole")
}

func storeUnfinished(t *testing.T, db Database) {
	j := begin(t, db)
	a, b, c := startEntry("p", "w"), startEntry("p", "w"), startEntry("p", "w")
	require.NoError(t, errors.Join(j.put(a, b, c)...))
	require.NoError(t, errors.Join(j.put(endEntry(b, 2, domain.RunCompleted), &app.Entry{Run: c.Run, Seq: 2, Row: []byte("2")})...))
	cmd := app.InboxCommand{ID: "x", Run: c.Run, Kind: "cancel", Reason: "why", Payload: []byte(`{"a":1}`), At: clock().UTC().Truncate(time.Microsecond)}
	require.NoError(t, db.Store.AddCommand(t.Context(), cmd))
	require.NoError(t, db.Store.AddCommand(t.Context(), cmd), "a known id changes nothing")
	require.NoError(t, db.Store.AppendLogs(t.Context(), []app.LogChunk{{Run: c.Run, Step: "s", Path: []int32{1}, Attempt: 2, Cursors: []int64{4, 9}, Lines: make([]domain.LogLine, 2)}}))
	var live []app.LiveRun
	next := begin(t, db)
	require.ElementsMatch(t, []string{a.Run, c.Run}, next.claimed)
	require.NoError(t, db.Store.Unfinished(t.Context(), next.claimed, func(l app.LiveRun) error { live = append(live, l); return nil }))
	require.Len(t, live, 2)
	require.Equal(t, a.Run, live[0].ID)
	require.Equal(t, [][]byte{[]byte("first"), []byte("2")}, live[1].Rows)
	require.EqualValues(t, 9, live[1].LastLog)
	require.Equal(t, []app.LogCount{{Step: "s", Path: []int32{1}, Attempt: 2, Lines: 2}}, live[1].Logged)
	cmds, err := db.Store.Inbox(t.Context(), next.fence)
	require.NoError(t, err)
	require.Equal(t, []app.InboxCommand{cmd}, cmds)
	require.NoError(t, next.put(&app.Entry{Run: c.Run, Seq: 3, Row: []byte("3"), Command: "x"})[0])
	cmds, err = db.Store.Inbox(t.Context(), next.fence)
	require.NoError(t, err)
	require.Empty(t, cmds)
}

func storeLogs(t *testing.T, db Database) {
	begin(t, db)
	run := id.New()
	chunk := func(step string, cursors ...int64) app.LogChunk {
		c := app.LogChunk{Run: run, Step: step, Attempt: 1, Cursors: cursors}
		for _, n := range cursors {
			c.Lines = append(c.Lines, domain.LogLine{Stream: "stderr", Level: "info", AtMicros: 1000 * n, Line: fmt.Sprintf("line\n%d \x00", n), Dropped: uint64(n)})
		}
		return c
	}
	require.NoError(t, db.Store.AppendLogs(t.Context(), []app.LogChunk{chunk("a", 1, 3, 8), chunk("b", 2, 4, 5), chunk("c", 6, 7, 9)}))
	var got []int64
	for after := int64(0); after < 9; {
		recs, err := db.Store.Logs(t.Context(), app.LogQuery{Run: run, After: after, Limit: 2})
		require.NoError(t, err)
		require.NotEmpty(t, recs)
		require.LessOrEqual(t, len(recs), 2)
		for _, r := range recs {
			got = append(got, r.Cursor)
			require.Equal(t, domain.LogLine{Stream: "stderr", Level: "info", AtMicros: 1000 * r.Cursor, Line: fmt.Sprintf("line\n%d \x00", r.Cursor), Dropped: uint64(r.Cursor)}, r.LogLine)
		}
		after = got[len(got)-1]
	}
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}, got)
	recs, err := db.Store.Logs(t.Context(), app.LogQuery{Run: run, Step: "b", Limit: 10})
	require.NoError(t, err)
	require.Len(t, recs, 3)
}

func storeSchedules(t *testing.T, db Database) {
	_, found, err := db.Store.Schedule(t.Context(), "p", "w", "t")
	require.NoError(t, err)
	require.False(t, found)
	due := clock().UTC().Truncate(time.Second)
	s := app.Schedule{Project: "p", Workflow: "w", Trigger: "t", Spec: "0 6 * * *", Deployment: id.New(), Due: due, Run: id.New()}
	require.NoError(t, db.Store.PutSchedule(t.Context(), s))
	late := s
	late.Due, late.Run = due.Add(-time.Hour), id.New()
	require.NoError(t, db.Store.PutSchedule(t.Context(), late))
	got, found, err := db.Store.Schedule(t.Context(), "p", "w", "t")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, s, got)
	s.Deployment = id.New()
	require.NoError(t, db.Store.PutSchedule(t.Context(), s), "another deployment takes it over where it is")
	got, _, err = db.Store.Schedule(t.Context(), "p", "w", "t")
	require.NoError(t, err)
	require.Equal(t, s, got)
	_, found, err = db.Store.Schedule(t.Context(), "other", "w", "t")
	require.NoError(t, err)
	require.False(t, found)
}

func storeSecrets(t *testing.T, db Database) {
	at := clock().UTC().Truncate(time.Microsecond)
	require.NoError(t, db.Store.PutSecret(t.Context(), app.SealedSecret{Project: "p", Name: "a", Sealed: []byte{1}, UpdatedAt: at}))
	require.NoError(t, db.Store.PutSecret(t.Context(), app.SealedSecret{Project: "p", Name: "a", Sealed: []byte{2}, UpdatedAt: at}))
	all, err := db.Store.Secrets(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, []byte{2}, all[0].Sealed)
	require.NoError(t, db.Store.DeleteSecret(t.Context(), "p", "a"))
	require.True(t, fault.Is(db.Store.DeleteSecret(t.Context(), "p", "a"), fault.NotFound))
	require.NoError(t, db.Store.PutVariable(t.Context(), "p", app.Variable{Name: "v", Value: domain.Value(`{"a":1}`), UpdatedAt: at}))
	vars, err := db.Store.Variables(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string][]app.Variable{"p": {{Name: "v", Value: domain.Value(`{"a":1}`), UpdatedAt: at}}}, vars)
	require.NoError(t, db.Store.DeleteVariable(t.Context(), "p", "v"))
	require.True(t, fault.Is(db.Store.DeleteVariable(t.Context(), "p", "v"), fault.NotFound))
}

func storeDeployments(t *testing.T, db Database) {
	at := clock().UTC().Truncate(time.Microsecond)
	def := Workflow("w", Step("a", "x", `"${inputs.n}"`))
	def.Inputs = []domain.Item{{Name: "n", Type: "integer"}, {Name: "m", Type: "json", Default: domain.Value("null"), Schema: []byte(`{}`)}}
	def.Triggers = []domain.TriggerSpec{{ID: "t", Uses: "http", With: []byte(`{"path":"/x"}`)}}
	def.Steps[0].Retry = &domain.RetrySpec{Attempts: 2, Backoff: time.Second}
	def.Steps[0].ForEach = &domain.ForEachSpec{In: "[1]", As: "i"}
	d := app.Deployment{ID: id.New(), Project: "p", State: app.DeploymentDeploying, CreatedAt: at, ChangedAt: at, Definition: def}
	inserted, err := db.Store.SaveDeployment(t.Context(), d)
	require.NoError(t, err)
	require.True(t, inserted)
	inserted, err = db.Store.SaveDeployment(t.Context(), d)
	require.NoError(t, err)
	require.False(t, inserted)
	got, err := db.Store.Deployment(t.Context(), d.ID)
	require.NoError(t, err)
	require.Equal(t, d, got)
	standing, err := db.Store.Standing(t.Context())
	require.NoError(t, err)
	require.Len(t, standing, 1)
	d.State, d.Reason = app.DeploymentStopped, "why"
	require.NoError(t, db.Store.UpdateDeployments(t.Context(), "p", "w", func([]app.Deployment) ([]app.Deployment, []app.Message, error) {
		return []app.Deployment{d}, []app.Message{{ID: id.New(), Key: "DeploymentChanged", Payload: []byte("x")}}, nil
	}))
	all, err := db.Store.Deployments(t.Context(), "p", true)
	require.NoError(t, err)
	require.Equal(t, []app.Deployment{d}, all)
	other := Workflow("w", Step("a", "x", "1"))
	other.Revision = 2
	lead := app.Deployment{ID: id.New(), Project: "p", State: app.DeploymentDeploying, CreatedAt: at, ChangedAt: at, Definition: def, Weight: 90, Listener: d.ID,
		Shares: []app.Share{{Deployment: id.New(), Weight: 10, Definition: other}}}
	_, err = db.Store.SaveDeployment(t.Context(), lead)
	require.NoError(t, err)
	lead.State = app.DeploymentLive
	set := func(lead app.Deployment) {
		require.NoError(t, db.Store.UpdateDeployments(t.Context(), "p", "w", func([]app.Deployment) ([]app.Deployment, []app.Message, error) {
			return []app.Deployment{lead}, nil, nil
		}))
	}
	set(lead)
	standing, err = db.Store.Standing(t.Context())
	require.NoError(t, err)
	require.Equal(t, []app.Deployment{lead}, standing)
	share, err := db.Store.Deployment(t.Context(), lead.Shares[0].Deployment)
	require.NoError(t, err)
	require.Equal(t, app.Deployment{ID: lead.Shares[0].Deployment, Project: "p", State: app.DeploymentLive, CreatedAt: at, ChangedAt: at, Definition: other, Weight: 10,
		Leader: lead.ID, Listener: d.ID}, share)
	needed, err := db.Store.Needed(t.Context())
	require.NoError(t, err)
	require.Len(t, needed, 2)
	all, err = db.Store.Deployments(t.Context(), "p", true)
	require.NoError(t, err)
	require.Equal(t, []app.Deployment{lead, d}, all)
	lead.State = app.DeploymentStopped
	set(lead)
	needed, err = db.Store.Needed(t.Context())
	require.NoError(t, err)
	require.Empty(t, needed, "no run of it is under way")
	standing, err = db.Store.Standing(t.Context())
	require.NoError(t, err)
	require.Empty(t, standing)
}
