package apptest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

func needs(s domain.StepSpec, ids ...string) domain.StepSpec { s.Needs = ids; return s }

func waitStep(id string, w domain.WaitSpec, on ...string) domain.StepSpec {
	return domain.StepSpec{ID: id, Kind: "wait", Wait: &w, Needs: on}
}

// reach waits until a run is in a state, told by its stream.
func (r *Runner) reach(t *testing.T, run string, ok func(app.RunDetail) bool) app.RunDetail {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.Eventually(t, func() bool { // a child's id is known before it is durable
		_, err := r.Result(ctx, "p", run)
		return !fault.Is(err, fault.NotFound)
	}, 20*time.Second, time.Millisecond)
	events, err := r.Watch(ctx, "p", run)
	require.NoError(t, err)
	for {
		d, err := r.GetRun(ctx, "p", run)
		require.NoError(t, err)
		if ok(d) {
			return d
		}
		if _, more := <-events; !more {
			d, err = r.GetRun(ctx, "p", run)
			require.NoError(t, err)
			require.True(t, ok(d), "the run is %s: %+v", d.State, d.Steps)
			return d
		}
	}
}

func in(state domain.RunState) func(app.RunDetail) bool {
	return func(d app.RunDetail) bool { return d.State == state }
}

func signalled(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(AddOne))
	d := Workflow("w", waitStep("paid", domain.WaitSpec{Signal: "payment", Schema: json.RawMessage(`"bad"`)}), needs(Step("s", "n", `"${steps.paid.payload}"`), "paid"))
	d.Result = map[string]string{"n": "${steps.s.n}"}
	r.Deploy(d)
	run := r.Begin("w", nil)
	r.reach(t, run, in(domain.RunWaiting))
	err := r.Signal(t.Context(), "p", run, "", "paiment", domain.Value("1"))
	require.ErrorContains(t, err, `waits for no signal "paiment"`)
	require.Contains(t, fault.As(err).Fields[0].Remedy, "payment")
	require.True(t, fault.Is(r.Signal(t.Context(), "p", run, "", "payment", domain.Value(`"bad"`)), fault.Invalid))
	waits, _, err := r.Waits(t.Context(), app.WaitQuery{Project: "p"})
	require.NoError(t, err)
	require.Len(t, waits, 1)
	require.Equal(t, "signal payment", waits[0].Kind+" "+waits[0].Text)

	r.Restart()
	require.NoError(t, r.Signal(t.Context(), "p", run, "once", "payment", domain.Value("41")))
	require.Equal(t, "42", string(r.Wait(run).Result["n"]))
	require.True(t, fault.Is(r.Signal(t.Context(), "p", run, "once", "payment", domain.Value("41")), fault.Conflict))
	waits, _, err = r.Waits(t.Context(), app.WaitQuery{Project: "p"})
	require.NoError(t, err)
	require.Empty(t, waits)
}

func decided(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(AddOne))
	ask := &domain.ApprovalSpec{Title: json.RawMessage(`"Ship?"`), Approvers: []string{"ada", "role:operator"}, Form: []domain.Item{{Name: "price", Type: "integer"}}}
	d := Workflow("w", waitStep("ok", domain.WaitSpec{Approval: ask}), needs(Step("s", "n", "1"), "ok"))
	d.Result = map[string]string{"by": "${steps.ok.by}", "values": "${steps.ok.values}"}
	r.Deploy(d)
	run := r.Begin("w", nil)
	seen := r.reach(t, run, in(domain.RunWaiting))
	require.Equal(t, "approval", seen.Steps[0].Wait.Kind)
	require.Equal(t, "Ship?", seen.Steps[0].Wait.Text)
	say := func(d app.Decision) error { return r.Decide(t.Context(), "p", run, "", d) }
	require.True(t, fault.Is(say(app.Decision{Step: "ok", Approved: true, By: "eve", Roles: []string{"viewer"}}), fault.Forbidden))
	require.ErrorContains(t, say(app.Decision{Step: "ok", Approved: true, By: "ada"}), "values.price")
	require.True(t, fault.Is(say(app.Decision{Step: "s", Approved: true, By: "ada"}), fault.Conflict))
	require.NoError(t, say(app.Decision{Step: "ok", Approved: true, By: "ada", Values: Values("price", "7")}))
	res := r.Wait(run)
	require.Equal(t, `"ada"`, string(res.Result["by"]))
	require.Equal(t, `{"price":7}`, string(res.Result["values"]))

	run = r.Begin("w", nil)
	r.reach(t, run, in(domain.RunWaiting))
	require.NoError(t, r.Decide(t.Context(), "p", run, "", app.Decision{Step: "ok", By: "bob", Roles: []string{"operator"}, Comment: "too dear"}))
	require.Equal(t, "rejected: rejected by bob: too dear", r.Wait(run).Error.Error())
}

func slept(t *testing.T, open func(t *testing.T) Database) {
	db := open(t)
	r := Start(t, db, NewExecutor(AddOne))
	r.Config.SleepAfter = 100 * time.Millisecond
	r.Restart()
	d := Workflow("w", waitStep("a", domain.WaitSpec{For: json.RawMessage(`"${inputs.for}"`)}), needs(Step("s", "n", "1"), "a"))
	d.Inputs = []domain.Item{{Name: "for", Type: "string"}}
	d.Result = map[string]string{"n": "${steps.s.n}"}
	r.Deploy(d)
	run, long := r.Begin("w", Values("for", `"600ms"`)), r.Begin("w", Values("for", `"9h"`))
	sleeping := func() []string {
		live, err := db.Store.Incarnations(t.Context())
		require.NoError(t, err)
		ids, err := db.Store.Sleeping(t.Context(), live[len(live)-1].Fence, clock().Add(time.Hour*24), 10)
		require.NoError(t, err)
		return ids
	}
	require.Eventually(t, func() bool { return len(sleeping()) == 2 }, 20*time.Second, 5*time.Millisecond)
	res, err := r.Result(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunWaiting, res.State)
	require.Equal(t, "2", string(r.Wait(run).Result["n"]))
	require.Equal(t, []string{long}, sleeping())

	r.Restart()
	require.Equal(t, []string{long}, sleeping(), "a restart leaves it asleep")
	got, err := r.GetRun(t.Context(), "p", long)
	require.NoError(t, err)
	require.Equal(t, domain.RunWaiting, got.State)
	require.Contains(t, got.Steps[0].Reason, "waiting until")
	require.NoError(t, r.Cancel(t.Context(), "p", long, "", "enough"))
	require.Equal(t, domain.RunCancelled, r.Wait(long).State)
	require.Empty(t, sleeping())
}

func called(t *testing.T, open func(t *testing.T) Database) {
	gate := make(chan struct{})
	r := Start(t, open(t), NewExecutor(func(ctx context.Context, x app.Execution) Result {
		switch x.Step {
		case "slow":
			select {
			case <-gate:
			case <-ctx.Done():
				return Result{Outcome: app.Cancelled}
			}
		case "bad":
			return Result{Err: &domain.StepError{Kind: "user_error", Message: "no"}}
		}
		return AddOne(ctx, x)
	}))
	child := func(name, step string) {
		c := Workflow(name, Step(step, "n", `"${inputs.n}"`))
		c.Inputs = []domain.Item{{Name: "n", Type: "integer"}}
		c.Result = map[string]string{"n": "${steps." + step + ".n}"}
		r.Deploy(c)
	}
	child("fast", "one")
	child("slow", "slow")
	child("bad", "bad")
	parent := func(name, workflow string, detach bool) {
		p := Workflow(name, domain.StepSpec{ID: "sub", Kind: "workflow", Workflow: workflow, Detach: detach, With: map[string]json.RawMessage{"n": json.RawMessage("1")}})
		p.Result = map[string]string{"out": "${steps.sub}"}
		r.Deploy(p)
	}
	parent("p1", "fast", false)
	parent("p2", "slow", false)
	parent("p3", "bad", false)
	parent("p4", "nowhere", false)
	parent("p5", "slow", true)
	res := r.Wait(r.Begin("p1", nil))
	require.Equal(t, `{"n":2}`, string(res.Result["out"]))
	require.Contains(t, r.Wait(r.Begin("p3", nil)).Error.Message, "of bad: no")
	require.Contains(t, r.Wait(r.Begin("p4", nil)).Error.Message, `"nowhere" is not deployed`)

	run := r.Begin("p2", nil)
	d := r.reach(t, run, func(d app.RunDetail) bool { return d.Steps[0].Child != "" })
	r.reach(t, d.Steps[0].Child, in(domain.RunRunning))
	r.Restart()
	close(gate)
	require.Equal(t, `{"n":2}`, string(r.Wait(run).Result["out"]))
	kids, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p", Workflow: "slow"})
	require.NoError(t, err)
	require.Len(t, kids, 1, "the child was started once")
	require.Equal(t, d.Steps[0].Child, kids[0].ID)
	require.Equal(t, "workflow", kids[0].Trigger.Kind)

	gate = make(chan struct{})
	run = r.Begin("p2", nil)
	d = r.reach(t, run, func(d app.RunDetail) bool { return d.Steps[0].Child != "" })
	r.reach(t, d.Steps[0].Child, func(d app.RunDetail) bool { return len(d.Steps) > 0 && len(d.Steps[0].Attempts) > 0 })
	require.NoError(t, r.Cancel(t.Context(), "p", run, "", "enough"))
	require.Equal(t, domain.RunCancelled, r.Wait(run).State)
	require.Equal(t, domain.RunCancelled, r.Wait(d.Steps[0].Child).State, "the child is cancelled with it")
	res = r.Wait(r.Begin("p5", nil))
	require.Equal(t, domain.RunCompleted, res.State)
	require.Contains(t, string(res.Result["out"]), `"run":`)
	close(gate)
}

func handledFailure(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(func(ctx context.Context, x app.Execution) Result {
		if x.Step == "bad" {
			return Result{Err: &domain.StepError{Kind: "user_error", Message: "no"}}
		}
		return One("said", string(x.Inputs["text"]))
	}))
	h := Workflow("notify", Step("say", "text", `"${inputs.message}"`))
	h.Inputs = []domain.Item{{Name: "message", Type: "string"}, {Name: "run", Type: "string"}}
	h.Result = map[string]string{"said": "${steps.say.said}", "run": "${inputs.run}"}
	r.Deploy(h)
	d := Workflow("w", Step("bad"))
	d.OnFailure = "notify"
	r.Deploy(d)
	run := r.Begin("w", nil)
	require.Equal(t, domain.RunFailed, r.Wait(run).State)
	got, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	res := r.Wait(got.Handler)
	require.Equal(t, `"no"`, string(res.Result["said"]))
	require.Equal(t, `"`+run+`"`, string(res.Result["run"]))

	d.OnFailure, d.Workflow = "missing", "w2"
	r.Deploy(d)
	run = r.Begin("w2", nil)
	require.Equal(t, domain.RunFailed, r.Wait(run).State)
	got, err = r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Contains(t, got.Handler, "not started")
}

func cachedStep(t *testing.T, open func(t *testing.T) Database) {
	var calls atomic.Int32
	r := Start(t, open(t), NewExecutor(func(ctx context.Context, x app.Execution) Result { calls.Add(1); return AddOne(ctx, x) }))
	s := Step("s", "n", `"${inputs.n}"`)
	s.Cache = &domain.CacheSpec{Key: json.RawMessage(`"${inputs.n}"`), TTL: time.Hour}
	d := Workflow("w", s)
	d.Inputs = []domain.Item{{Name: "n", Type: "integer"}}
	d.Result = map[string]string{"n": "${steps.s.n}"}
	r.Deploy(d)
	require.Equal(t, "6", string(r.Wait(r.Begin("w", Values("n", "5"))).Result["n"]))
	require.Eventually(t, func() bool {
		_, found, err := r.DB.Store.Cached(t.Context(), "p", "sha256:test", "5", clock())
		return found && err == nil
	}, 10*time.Second, time.Millisecond)
	run := r.Begin("w", Values("n", "5"))
	require.Equal(t, "6", string(r.Wait(run).Result["n"]))
	got, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, "cached", got.Steps[0].Reason)
	require.Equal(t, "7", string(r.Wait(r.Begin("w", Values("n", "6"))).Result["n"]))
	require.EqualValues(t, 2, calls.Load())
}

func paused(t *testing.T, open func(t *testing.T) Database) {
	gate := make(chan struct{})
	r := Start(t, open(t), NewExecutor(func(ctx context.Context, x app.Execution) Result {
		if x.Step == "a" {
			<-gate
		}
		return AddOne(ctx, x)
	}))
	d := Workflow("w", Step("a", "n", "1"), needs(Step("b", "n", `"${steps.a.n}"`), "a"))
	d.Result = map[string]string{"n": "${steps.b.n}"}
	r.Deploy(d)
	run := r.Begin("w", nil)
	for range 3 { // the first one counts
		require.NoError(t, r.Pause(t.Context(), "p", run, "", "look"))
	}
	close(gate)
	got := r.reach(t, run, func(d app.RunDetail) bool { return d.Steps[0].State == domain.StepCompleted })
	require.Equal(t, domain.RunPaused, got.State)
	r.Restart()
	list, _, err := r.Runs(t.Context(), app.RunQuery{Project: "p", State: domain.RunPaused})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, 0, r.Exec.Started(fmt.Sprintf("%s:b::1", run)))
	require.NoError(t, r.Resume(t.Context(), "p", run, ""))
	require.Equal(t, "3", string(r.Wait(run).Result["n"]))
}

func retriedRun(t *testing.T, open func(t *testing.T) Database) {
	var broken atomic.Bool
	broken.Store(true)
	r := Start(t, open(t), NewExecutor(func(ctx context.Context, x app.Execution) Result {
		if x.Step == "s1" && broken.Load() {
			return Result{Err: &domain.StepError{Kind: "user_error", Message: "no"}}
		}
		return AddOne(ctx, x)
	}))
	r.Deploy(Chain(3))
	run := r.Begin("chain", Values("n", "1"))
	require.Equal(t, domain.RunFailed, r.Wait(run).State)
	broken.Store(false)
	again, err := r.Retry(t.Context(), app.RetryRun{Project: "p", Run: run})
	require.NoError(t, err)
	require.Equal(t, "4", string(r.Wait(again.ID).Result["n"]))
	require.Equal(t, 0, r.Exec.Started(again.ID+":s0::1"), "what was finished is kept")
	_, err = r.Retry(t.Context(), app.RetryRun{Project: "p", Run: again.ID})
	require.True(t, fault.Is(err, fault.Conflict))
	_, err = r.Retry(t.Context(), app.RetryRun{Project: "p", Run: again.ID, From: "s9"})
	require.ErrorContains(t, err, "s9")
	more, err := r.Retry(t.Context(), app.RetryRun{Project: "p", Run: again.ID, From: "s2", Newest: true})
	require.NoError(t, err)
	require.Equal(t, "4", string(r.Wait(more.ID).Result["n"]))
	require.Equal(t, 1, r.Exec.Started(more.ID+":s2::1"))
	require.Equal(t, 0, r.Exec.Started(more.ID+":s1::1"))
}

func undone(t *testing.T, open func(t *testing.T) Database) {
	r := Start(t, open(t), NewExecutor(func(ctx context.Context, x app.Execution) Result {
		if x.Step == "bad" {
			return Result{Err: &domain.StepError{Kind: "user_error", Message: "no"}}
		}
		return AddOne(ctx, x)
	}))
	a := Step("a", "n", "1")
	a.Undo = &domain.UndoSpec{Uses: "a", Build: "sha256:test", With: map[string]json.RawMessage{"n": json.RawMessage(`"${steps.a.n}"`)}}
	r.Deploy(Workflow("w", a, needs(Step("bad"), "a")))
	run := r.Begin("w", nil)
	require.Equal(t, domain.RunFailed, r.Wait(run).State)
	require.Equal(t, 1, r.Exec.Started(run+":a.undo::1"))
	got, err := r.GetRun(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, "a.undo", got.Steps[1].Step)
	require.Equal(t, "a", got.Steps[1].Undoes)
	require.Equal(t, "3", strings.TrimSpace(string(got.Steps[1].Outputs[0]["n"])))
}
