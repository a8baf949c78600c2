package apptest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// gauge counts what runs at the same time, by step.
type gauge struct {
	mu       sync.Mutex
	now, top map[string]int
	gate     chan struct{} // closed: attempts end
}

func newGauge() *gauge {
	return &gauge{now: map[string]int{}, top: map[string]int{}, gate: make(chan struct{})}
}

func (g *gauge) do(ctx context.Context, x app.Execution) Result {
	g.mu.Lock()
	g.now[x.Step]++
	g.top[x.Step] = max(g.top[x.Step], g.now[x.Step])
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.now[x.Step]--
		g.mu.Unlock()
	}()
	select {
	case <-g.gate:
		return One("n", "1")
	case <-ctx.Done():
		return Result{Outcome: app.Cancelled}
	}
}

func (g *gauge) most(step string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.top[step]
}

func keyed(name string, l *domain.LimitSpec) domain.Definition {
	d := Workflow(name, Step("s"))
	d.Inputs = []domain.Item{{Name: "k", Type: "string"}}
	d.Concurrency = l
	return d
}

func runKeys(t *testing.T, open func(t *testing.T) Database) {
	g := newGauge()
	r := Start(t, open(t), NewExecutor(g.do))
	r.Deploy(keyed("w", &domain.LimitSpec{Key: json.RawMessage(`"${inputs.k}"`)}))
	a := r.Begin("w", Values("k", `"x"`))
	b, other := r.Begin("w", Values("k", `"x"`)), r.Begin("w", Values("k", `"y"`))
	r.reach(t, a, in(domain.RunRunning))
	r.reach(t, other, in(domain.RunRunning))
	d, err := r.GetRun(t.Context(), "p", b)
	require.NoError(t, err)
	require.Equal(t, domain.RunQueued, d.State)
	require.Equal(t, "key x is held by run "+a, d.Wait.Text)
	r.Restart()
	require.Eventually(t, func() bool {
		d, err = r.GetRun(t.Context(), "p", b)
		require.NoError(t, err)
		require.Equal(t, domain.RunQueued, d.State, "who held the key holds it after a restart")
		return d.Wait.Text == "key x is held by run "+a
	}, 20*time.Second, time.Millisecond)
	close(g.gate)
	for _, run := range []string{a, b, other} {
		require.Equal(t, domain.RunCompleted, r.Wait(run).State)
	}
	list, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p"})
	require.NoError(t, err)
	require.Len(t, list, 3)
}

func runPolicies(t *testing.T, open func(t *testing.T) Database) {
	g := newGauge()
	r := Start(t, open(t), NewExecutor(g.do))
	r.Deploy(keyed("skips", &domain.LimitSpec{Policy: "skip"}))
	r.Deploy(keyed("cancels", &domain.LimitSpec{Policy: "cancel-oldest"}))
	a := r.Begin("skips", Values("k", `"x"`))
	r.reach(t, a, in(domain.RunRunning))
	res := r.Wait(r.Begin("skips", Values("k", `"x"`)))
	require.Equal(t, domain.RunCancelled, res.State)
	require.Equal(t, "skipped: workflow skips is held by run "+a, res.Error.Error())
	r.Restart()
	res = r.Wait(r.Begin("skips", Values("k", `"x"`)))
	require.Equal(t, domain.RunCancelled, res.State, "also while it is not known yet who holds the key")
	require.Equal(t, "skipped: workflow skips is held by run "+a, res.Error.Error())

	a = r.Begin("cancels", Values("k", `"x"`))
	r.reach(t, a, in(domain.RunRunning))
	b := r.Begin("cancels", Values("k", `"x"`))
	res = r.Wait(a)
	require.Equal(t, domain.RunCancelled, res.State)
	require.Contains(t, res.Error.Message, "superseded by run "+b)
	close(g.gate)
	require.Equal(t, domain.RunCompleted, r.Wait(b).State)
}

// sleepingKey: a run that holds its workflow's key is a row while it waits, and holds it still.
func sleepingKey(t *testing.T, open func(t *testing.T) Database) {
	db := open(t)
	r := Start(t, db, NewExecutor(AddOne))
	r.Config.SleepAfter = 100 * time.Millisecond
	r.Restart()
	d := Workflow("w", waitStep("a", domain.WaitSpec{For: json.RawMessage(`"${inputs.for}"`)}))
	d.Inputs = []domain.Item{{Name: "for", Type: "string"}}
	d.Concurrency = &domain.LimitSpec{Key: json.RawMessage(`"x"`)}
	r.Deploy(d)
	long := r.Begin("w", Values("for", `"9h"`))
	sleeping := func() bool {
		live, err := db.Store.Incarnations(t.Context())
		require.NoError(t, err)
		ids, err := db.Store.Sleeping(t.Context(), live[len(live)-1].Fence, clock().Add(time.Hour*24), 10)
		require.NoError(t, err)
		return len(ids) == 1 && ids[0] == long
	}
	require.Eventually(t, sleeping, 20*time.Second, 5*time.Millisecond)
	next := r.Begin("w", Values("for", `"0s"`))
	held := func() bool {
		d, err := r.GetRun(t.Context(), "p", next)
		require.NoError(t, err)
		require.Equal(t, domain.RunQueued, d.State)
		return d.Wait.Text == "key x is held by run "+long
	}
	require.Eventually(t, held, 20*time.Second, time.Millisecond)
	for range 2 {
		r.Restart()
		require.True(t, sleeping(), "a restart leaves it asleep")
		require.Eventually(t, held, 20*time.Second, time.Millisecond)
	}
	require.NoError(t, r.Cancel(t.Context(), "p", long, "", "enough"))
	require.Equal(t, domain.RunCancelled, r.Wait(long).State)
	require.Equal(t, domain.RunCompleted, r.Wait(next).State)
}

func rates(t *testing.T, open func(t *testing.T) Database) {
	g := newGauge()
	close(g.gate)
	r := Start(t, open(t), NewExecutor(g.do))
	d := keyed("w", nil)
	d.RateLimit = &domain.RateSpec{Count: 2, Per: 300 * time.Millisecond}
	r.Deploy(d)
	begun := clock()
	var runs []string
	for range 6 {
		runs = append(runs, r.Begin("w", Values("k", `"x"`)))
	}
	for _, run := range runs {
		require.Equal(t, domain.RunCompleted, r.Wait(run).State)
	}
	require.GreaterOrEqual(t, clock().Sub(begun), 590*time.Millisecond, "two at once, then one in 150 ms")

	d = keyed("hourly", nil)
	d.RateLimit = &domain.RateSpec{Count: 2, Per: time.Hour}
	r.Deploy(d)
	for range 2 {
		require.Equal(t, domain.RunCompleted, r.Wait(r.Begin("hourly", Values("k", `"x"`))).State)
	}
	r.Restart()
	late := r.Begin("hourly", Values("k", `"x"`))
	require.Eventually(t, func() bool {
		d, err := r.GetRun(t.Context(), "p", late)
		require.NoError(t, err)
		require.Equal(t, domain.RunQueued, d.State, "a restart allows no more than the rate")
		return d.Wait.Until.After(clock().Add(25 * time.Minute))
	}, 20*time.Second, time.Millisecond)
	require.NoError(t, r.Cancel(t.Context(), "p", late, "", "enough"))

	d = keyed("once", nil)
	d.IdempotencyKey = json.RawMessage(`"order-${inputs.k}"`)
	r.Deploy(d)
	a, b, c := r.Begin("once", Values("k", `"1"`)), r.Begin("once", Values("k", `"1"`)), r.Begin("once", Values("k", `"2"`))
	require.Equal(t, a, b)
	require.NotEqual(t, a, c)
}

func stepKeys(t *testing.T, open func(t *testing.T) Database) {
	g := newGauge()
	r := Start(t, open(t), NewExecutor(g.do))
	s := Step("s")
	s.Concurrency = &domain.LimitSpec{Key: json.RawMessage(`"${inputs.k}"`), Limit: 2}
	d := Workflow("w", s)
	d.Inputs = []domain.Item{{Name: "k", Type: "string"}}
	r.Deploy(d)
	var runs []string
	for range 6 {
		runs = append(runs, r.Begin("w", Values("k", `"x"`)))
	}
	for _, run := range runs[:2] {
		r.reach(t, run, func(d app.RunDetail) bool { return d.Steps[0].State == domain.StepRunning })
	}
	seen := r.reach(t, runs[5], func(d app.RunDetail) bool { return d.Steps[0].State == domain.StepQueued })
	require.Contains(t, seen.Steps[0].Reason, "key x: 2 of 2 taken, by runs "+runs[0])
	require.Len(t, seen.Steps[0].Wait.HeldBy, 2)
	r.Restart()
	require.NoError(t, r.Cancel(t.Context(), "p", runs[4], "", "not wanted"))
	require.Equal(t, domain.RunCancelled, r.Wait(runs[4]).State)
	close(g.gate)
	for i, run := range runs {
		if i != 4 {
			require.Equal(t, domain.RunCompleted, r.Wait(run).State)
		}
	}
	require.Equal(t, 2, g.most("s"))
}

func capped(t *testing.T, open func(t *testing.T) Database) {
	g := newGauge()
	r := Start(t, open(t), NewExecutor(g.do))
	require.ErrorContains(t, r.PutCaps(t.Context(), "p", app.Caps{Project: -1}), "project")
	require.NoError(t, r.PutCaps(t.Context(), "p", app.Caps{Project: 5, Workflows: map[string]int{"w": 3}, Actions: map[string]int{"test": 4}}))
	d := Workflow("w", Step("s"))
	r.Deploy(d)
	d.Workflow = "v"
	r.Deploy(d)
	var runs []string
	for i := range 12 {
		runs = append(runs, r.Begin([]string{"w", "v"}[i%2], nil))
	}
	started := 0
	r.reach(t, runs[0], func(d app.RunDetail) bool { return d.Steps[0].State == domain.StepRunning })
	require.Eventually(t, func() bool {
		started = 0
		reasons := map[string]bool{}
		for _, run := range runs {
			d, err := r.GetRun(t.Context(), "p", run)
			require.NoError(t, err)
			if d.Steps[0].State == domain.StepRunning {
				started++
			} else {
				reasons[strings.SplitN(d.Steps[0].Reason, ":", 2)[0]] = true
			}
		}
		return started == 4 && len(reasons) > 0
	}, 20*time.Second, 5*time.Millisecond)
	r.Restart()
	got, err := r.Caps(t.Context(), "p")
	require.NoError(t, err)
	require.Equal(t, 3, got.Workflows["w"])
	close(g.gate)
	for _, run := range runs {
		require.Equal(t, domain.RunCompleted, r.Wait(run).State)
	}
	require.Equal(t, 4, g.most("s"))
	require.True(t, fault.Is(r.PutCaps(t.Context(), "p", app.Caps{Actions: map[string]int{"x": -2}}), fault.Invalid), fmt.Sprint(started))
}
