package apptest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// sumOf is a digest that begins with a byte.
func sumOf(b byte) (s app.Sum) { s[0], s[31] = b, 1; return s }

// fileMark and textMark mention a blob.
func fileMark(s app.Sum) string { return `{"$file":"` + s.Digest() + `","size":1}` }
func textMark(s app.Sum) string { return `{"$ref":"` + s.Digest() + `","size":1}` }

func storeFiles(t *testing.T, db Database) {
	j := begin(t, db)
	ctx := t.Context()
	file, text, inner, free, cached, variable := sumOf(1), sumOf(2), sumOf(3), sumOf(4), sumOf(5), sumOf(6)
	all := []app.Sum{file, text, inner, free, cached, variable}
	start := startEntry("p", "w")
	start.Row = []byte("\x00\xff" + fileMark(file))
	put(t, j, start, &app.Entry{Run: start.Run, Seq: 2, Row: []byte("x" + textMark(text) + fileMark(file))})
	require.NoError(t, db.Store.PutCached(ctx, "p", "b", "k", []byte(fileMark(cached)), clock().Add(time.Hour)))
	require.NoError(t, db.Store.PutVariable(ctx, "p", app.Variable{Name: "v", Value: domain.Value(fileMark(variable)), UpdatedAt: clock()}))
	require.NoError(t, db.Store.RenewLoose(ctx, "p"))

	unread, err := db.Store.UnreadTexts(ctx, "p", app.Sum{}, 10)
	require.NoError(t, err)
	require.Equal(t, []app.Sum{text}, unread)
	require.NoError(t, db.Store.PutTextRefs(ctx, "p", text, app.FileRefs([]byte(fileMark(inner)))))
	unread, err = db.Store.UnreadTexts(ctx, "p", app.Sum{}, 10)
	require.NoError(t, err)
	require.Empty(t, unread)

	t0 := clock().Add(-time.Hour).Truncate(time.Millisecond)
	suspect := func(project string, now, before time.Time) []app.Sum {
		t.Helper()
		due, err := db.Store.Suspect(ctx, project, all, now, before)
		require.NoError(t, err)
		return due
	}
	require.Empty(t, suspect("p", t0, t0))
	require.Empty(t, suspect("p", t0.Add(time.Minute), t0), "not for long enough")
	require.Equal(t, []app.Sum{free}, suspect("p", t0.Add(2*time.Minute), t0.Add(time.Second)))
	require.Empty(t, suspect("q", t0, t0))
	require.Len(t, suspect("q", t0, t0.Add(time.Second)), len(all), "another project mentions nothing")
	require.NoError(t, db.Store.ForgetFile(ctx, "p", free))
	require.Empty(t, suspect("p", t0.Add(3*time.Minute), t0.Add(time.Second)), "it is suspected anew")

	// What is mentioned again is suspected anew when it is not any more.
	again := startEntry("p", "w")
	again.Row = []byte(fileMark(free))
	put(t, j, again)
	require.NoError(t, db.Store.RenewLoose(ctx, "p"))
	put(t, j, endEntry(again, 2, domain.RunCompleted), endEntry(start, 3, domain.RunCompleted))
	require.NoError(t, db.Store.RemoveRun(ctx, "p", again.Run))
	require.Empty(t, suspect("p", t0.Add(4*time.Minute), t0.Add(3*time.Minute+time.Second)))

	require.NoError(t, db.Store.RemoveRun(ctx, "p", start.Run))
	require.Empty(t, suspect("p", t0.Add(5*time.Minute), t0))
	require.ElementsMatch(t, []app.Sum{file, text, free}, suspect("p", t0.Add(6*time.Minute), t0.Add(5*time.Minute+time.Second)))
	require.NoError(t, db.Store.ForgetFile(ctx, "p", text))
	require.Empty(t, suspect("p", t0.Add(7*time.Minute), t0.Add(time.Second)), "what only a text mentioned is free once it has gone")
	require.Contains(t, suspect("p", t0.Add(8*time.Minute), t0.Add(7*time.Minute+time.Second)), inner)

	require.NoError(t, db.Store.DeleteVariable(ctx, "p", "v"))
	require.NoError(t, db.Store.RenewLoose(ctx, "p"))
	suspect("p", t0.Add(9*time.Minute), t0)
	due := suspect("p", t0.Add(10*time.Minute), t0.Add(9*time.Minute+time.Second))
	require.Contains(t, due, variable)
	require.NotContains(t, due, cached)
}

// storeDayFiles: a whole day's mentions go with it.
func storeDayFiles(t *testing.T, db Database) {
	j := begin(t, db)
	old := aged(t, db, "w", 100*day)
	old.Row = []byte(strings.Repeat(fileMark(sumOf(9)), 3))
	put(t, j, old)
	put(t, j, endedAt(old, 99*day))
	due := func(at time.Time) int {
		list, err := db.Store.Suspect(t.Context(), "p", []app.Sum{sumOf(9)}, at, at)
		require.NoError(t, err)
		return len(list)
	}
	require.Zero(t, due(clock()))
	require.Zero(t, due(clock()))
	days, _, err := db.Store.DropDays(t.Context(), clock().Add(-90*day))
	require.NoError(t, err)
	require.Equal(t, 1, days)
	require.Zero(t, due(clock()))
	require.Equal(t, 1, due(clock().Add(time.Second)))
}

// storeShort: what is written of a run at once, or starts and ends in one batch, is all there: an ended run that
// nobody acts for, with its rows and what they mention.
func storeShort(t *testing.T, db Database) {
	j := begin(t, db)
	ctx := t.Context()
	var sums []app.Sum
	mention := func(e *app.Entry) {
		sums = append(sums, sumOf(byte(len(sums)+1)))
		e.Row = []byte(fileMark(sums[len(sums)-1]))
	}
	whole := startEntry("p", "w")
	whole.End = endEntry(whole, 1, domain.RunCompleted).End
	one, two, slept := startEntry("p", "w"), startEntry("p", "w"), startEntry("p", "w")
	for _, e := range []*app.Entry{whole, one, two, slept} {
		mention(e)
	}
	oneEnd, twoEnd, sleptEnd := endEntry(one, 2, domain.RunCompleted), endEntry(two, 3, domain.RunFailed), endEntry(slept, 3, domain.RunCompleted)
	mention(oneEnd)
	sleptEnd.Waited = true
	put(t, j, one, two, &app.Entry{Run: two.Run, Seq: 2, Row: []byte("middle")}, slept, whole, oneEnd, twoEnd,
		&app.Entry{Run: slept.Run, Seq: 2, Row: []byte("middle"), State: domain.RunWaiting, Sleep: &app.Sleep{Due: clock().Add(time.Hour)}}, sleptEnd)

	for run, want := range map[string]app.RunSummary{whole.Run: *whole.End, one.Run: *oneEnd.End, two.Run: *twoEnd.End, slept.Run: *sleptEnd.End} {
		sum, err := db.Store.RunSummary(ctx, "p", run)
		require.NoError(t, err)
		require.Equal(t, want.State, sum.State)
		require.Equal(t, want.FinishedAt, sum.FinishedAt)
		require.Equal(t, want.ErrorStep, sum.ErrorStep)
	}
	require.NoError(t, db.Store.Unfinished(ctx, []string{whole.Run, one.Run, two.Run, slept.Run}, func(l app.LiveRun) error {
		t.Errorf("%s is under way", l.ID)
		return nil
	}))
	rows, err := db.Store.RunRows(ctx, two.Run)
	require.NoError(t, err)
	require.Len(t, rows, 3)
	t0 := clock().Add(-time.Hour)
	_, err = db.Store.Suspect(ctx, "p", sums, t0, t0)
	require.NoError(t, err)
	due, err := db.Store.Suspect(ctx, "p", sums, t0.Add(time.Minute), t0.Add(time.Second))
	require.NoError(t, err)
	require.Empty(t, due, "each is mentioned")
	require.NoError(t, db.Store.RemoveRun(ctx, "p", one.Run))
}
