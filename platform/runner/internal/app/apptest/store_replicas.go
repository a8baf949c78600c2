package apptest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// replica begins an incarnation with a lease, and takes over from nobody.
func replica(t *testing.T, db Database, name string, lease time.Duration) *journal {
	t.Helper()
	require.NoError(t, db.Store.EnsurePartitions(t.Context(), clock()))
	fence, err := db.Store.Begin(t.Context(), app.Incarnation{Name: name, Address: "a:" + name, Estate: "e:" + name}, lease)
	require.NoError(t, err)
	j := &journal{Journal: db.Journal(fence), t: t, fence: fence}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	j.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = j.stop() })
	return j
}

// expired waits until an incarnation's lease has run out.
func expired(t *testing.T, db Database, fence int64) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := db.Store.Incarnations(t.Context())
		require.NoError(t, err)
		for _, i := range all {
			if i.Fence == fence && i.Expired {
				return
			}
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the lease does not run out")
		}
	}
}

func storeLeases(t *testing.T, db Database) {
	ctx := t.Context()
	a, b := replica(t, db, "a", time.Hour), replica(t, db, "b", time.Hour)
	one, two := startEntry("p", "w"), startEntry("p", "w")
	require.NoError(t, a.put(one, two)[0])
	owner, found, err := db.Store.Owner(ctx, one.Run)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, app.Incarnation{Fence: a.fence, Name: "a", Address: "a:a", Estate: "e:a"}, owner)
	all, err := db.Store.Incarnations(ctx)
	require.NoError(t, err)
	require.Equal(t, []app.Incarnation{{Fence: a.fence, Name: "a", Address: "a:a", Estate: "e:a", Leased: true}, {Fence: b.fence, Name: "b", Address: "a:b", Estate: "e:b", Leased: true}}, all)

	h, err := db.Store.TakeOver(ctx, a.fence, b.fence, false)
	require.NoError(t, err)
	require.Empty(t, h, "who lives is not taken over")
	require.NoError(t, db.Store.Renew(ctx, a.fence, time.Millisecond))
	expired(t, db, a.fence)
	require.ErrorIs(t, db.Store.Renew(ctx, a.fence, time.Hour), app.ErrFenced, "what has run out is not renewed")
	require.NoError(t, a.put(&app.Entry{Run: one.Run, Seq: 2, Row: []byte("late")})[0], "its writes count until it is fenced")

	asleep := startEntry("p", "w")
	asleep.Sleep = &app.Sleep{Due: clock().Add(time.Hour)}
	holding := startEntry("p", "w")
	holding.Sleep = &app.Sleep{Due: clock().Add(time.Hour), Holds: []byte("a place")}
	require.NoError(t, a.put(asleep, holding)[0])

	h, err = db.Store.TakeOver(ctx, a.fence, b.fence, false)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a place")}, h.Holds)
	unsettled(t, db, true)
	require.ElementsMatch(t, []string{one.Run, two.Run}, h.Runs)
	require.Equal(t, []app.Estate{{Fence: a.fence, Text: "e:a"}}, h.Estates)
	require.ErrorIs(t, a.put(startEntry("p", "w"))[0], app.ErrFenced)
	again, err := db.Store.TakeOver(ctx, a.fence, b.fence, true)
	require.NoError(t, err)
	require.Empty(t, again, "once")

	// The heir dies before it has dealt with the estate: its own heir finds both.
	c := replica(t, db, "c", time.Hour)
	require.NoError(t, db.Store.EndLease(ctx, b.fence))
	_, err = db.Store.TakeOver(ctx, c.fence, a.fence, true)
	require.ErrorIs(t, err, app.ErrFenced, "a fenced one takes over nothing")
	h, err = db.Store.TakeOver(ctx, b.fence, c.fence, false)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{one.Run, two.Run}, h.Runs)
	require.Equal(t, []app.Estate{{Fence: a.fence, Text: "e:a"}, {Fence: b.fence, Text: "e:b"}}, h.Estates)
	require.NoError(t, db.Store.Settle(ctx, []int64{a.fence}))
	unsettled(t, db, true)
	require.NoError(t, db.Store.Settle(ctx, []int64{b.fence}))
	unsettled(t, db, false)
	d := replica(t, db, "d", time.Hour)
	h, err = db.Store.TakeOver(ctx, c.fence, d.fence, true)
	require.NoError(t, err)
	require.Equal(t, []app.Estate{{Fence: c.fence, Text: "e:c"}}, h.Estates)

	key, err := db.Store.PeerKey(ctx)
	require.NoError(t, err)
	require.Greater(t, len(key), 60)
}

func unsettled(t *testing.T, db Database, want bool) {
	t.Helper()
	got, err := db.Store.Unsettled(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// storeRates: what starts take of rates adds up, whichever replica writes it.
func storeRates(t *testing.T, db Database) {
	a, b := replica(t, db, "a", time.Hour), replica(t, db, "b", time.Hour)
	for i, j := range []*journal{a, b, a} {
		e := startEntry("p", "w")
		e.Rate = &app.RateUse{Project: "p", Key: "k", Every: time.Hour}
		other := startEntry("p", "w")
		other.Rate = &app.RateUse{Project: "p", Key: "quick", Every: time.Microsecond}
		for _, err := range j.put(e, other) {
			require.NoError(t, err)
		}
		spent, err := db.Store.SpentRates(t.Context(), "p")
		require.NoError(t, err)
		require.Len(t, spent, 1, "a full bucket is left out")
		require.InDelta(t, float64(i+1), spent["k"].Hours(), 0.01)
	}
	spent, err := db.Store.SpentRates(t.Context(), "q")
	require.NoError(t, err)
	require.Empty(t, spent)
	require.NoError(t, db.Store.EnsurePartitions(t.Context(), clock()))
}

func storeHeirs(t *testing.T, db Database) {
	dead := replica(t, db, "dead", time.Hour)
	runs := map[string]bool{}
	for range 50 {
		e := startEntry("p", "w")
		require.NoError(t, dead.put(e)[0])
		runs[e.Run] = true
	}
	var mu sync.Mutex
	got := map[string]int64{}
	var wg sync.WaitGroup
	for range 4 {
		heir := replica(t, db, "heir", time.Hour)
		wg.Go(func() {
			h, err := db.Store.TakeOver(t.Context(), dead.fence, heir.fence, true)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range h.Runs {
				if got[r] != 0 {
					t.Errorf("run %s was claimed twice", r)
				}
				got[r] = heir.fence
			}
		})
	}
	wg.Wait()
	require.Len(t, got, len(runs))
	for r, fence := range got {
		owner, found, err := db.Store.Owner(t.Context(), r)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, fence, owner.Fence)
	}
}

func storeSources(t *testing.T, db Database) {
	ctx := t.Context()
	a, b := replica(t, db, "a", time.Hour), replica(t, db, "b", time.Hour)
	hold := func(j *journal, free, want bool) {
		t.Helper()
		mine, err := db.Store.HoldSource(ctx, "p/w/t", j.fence, free)
		require.NoError(t, err)
		require.Equal(t, want, mine)
	}
	hold(a, false, false)
	hold(a, true, true)
	hold(a, false, true)
	hold(b, true, false)
	_, err := db.Store.TakeOver(ctx, a.fence, b.fence, true)
	require.NoError(t, err)
	hold(b, false, true)
	hold(a, true, false)
}

func storeSignals(t *testing.T, db Database) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan app.Signal, 10)
	done := make(chan error, 1)
	go func() { done <- db.Store.Listen(ctx, func(g app.Signal) { got <- g }) }()
	require.Equal(t, app.Signal{Topic: app.SignalListening}, <-got)
	for _, g := range []app.Signal{{To: 7, Topic: "x"}, {Topic: "y z"}} {
		require.NoError(t, db.Store.Notify(ctx, g))
		require.Equal(t, g, <-got)
	}
	cancel()
	<-done
}
