package domain_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

func (g *game) decide(id string, approved bool, path ...int32) {
	i, _ := g.s.Plan.StepIndex(id)
	g.send(domain.EventDecision{Step: i, Path: path, Approved: approved, By: "ada"})
}

func (g *game) later(d time.Duration) {
	g.now = g.now.Add(d)
	g.send(domain.EventTick{})
}

// told tells whether the last transition gave an order of the kind.
func (g *game) told(k domain.CommandKind) bool {
	for _, c := range g.last {
		if c.Kind == k {
			return true
		}
	}
	return false
}

func (g *game) endUndo(id string, o domain.Outcome, attempt int32, path ...int32) {
	i, _ := g.s.Plan.StepIndex(id)
	ev := domain.EventAttempt{Step: g.s.Plan.Nodes[i].Undo, Path: path, Attempt: attempt, Outcome: o}
	if o == domain.OutcomeFailed {
		ev.Err = &domain.StepError{Kind: "user_error", Message: "cannot"}
	}
	g.send(ev)
}

func bare(id string, needs ...string) domain.StepSpec {
	return with(step(id, needs...), func(s *domain.StepSpec) { s.With = nil })
}

func wait(id string, w domain.WaitSpec, needs ...string) domain.StepSpec {
	return domain.StepSpec{ID: id, Kind: "wait", Wait: &w, Needs: needs}
}

func TestSwitch(t *testing.T) {
	route := domain.StepSpec{ID: "route", Kind: "switch", Switch: "steps.a.out", Needs: []string{"a"},
		Cases: map[string][]string{"1": {"one"}, "2": {"two"}}, Default: []string{"other"}}
	join := with(step("end", "one", "two", "other"), func(s *domain.StepSpec) { s.Join, s.With = "any", nil })
	g := play(t, workflow(step("a"), route, step("one"), step("two"), step("other"), join))
	g.end("a", domain.OutcomeCompleted, 1)
	require.Equal(t, "skipped: route chose otherwise", g.look("two[]"))
	require.Equal(t, "skipped: route chose otherwise", g.look("other[]"))
	g.end("one", domain.OutcomeCompleted, 1)
	g.end("end", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunCompleted, g.s.Status)

	route.Cases = map[string][]string{"7": {"one"}}
	g = play(t, workflow(step("a"), route, step("one"), step("other")))
	g.end("a", domain.OutcomeCompleted, 1)
	require.Equal(t, "skipped: route chose otherwise", g.look("one[]"))
	require.Equal(t, "running", g.look("other[]"))
}

func TestLoop(t *testing.T) {
	loop := func(max int, until string) domain.StepSpec {
		return with(step("a"), func(s *domain.StepSpec) {
			s.Loop = &domain.LoopSpec{Until: until, Max: max, Delay: time.Minute}
			s.With = map[string]json.RawMessage{"i": json.RawMessage(`"${pass.index}"`), "before": json.RawMessage(`"${pass.last.out}"`)}
		})
	}
	d := workflow(loop(5, "pass.index == 2"), step("b", "a"))
	d.Result = map[string]string{"out": "${steps.a.out}"}
	g := play(t, d)
	for i := range int32(3) {
		x, err := g.s.Dispatch(g.cmds[len(g.cmds)-1], nil)
		require.NoError(t, err)
		require.Equal(t, []int32{i}, x.Path)
		require.Equal(t, string('0'+i), string(x.Inputs["i"]))
		g.end("a", domain.OutcomeCompleted, 1, i)
		if i < 2 {
			require.Contains(t, g.look("a[]"), "the next pass starts at")
			require.True(t, g.s.Idle())
			g.later(time.Minute)
		}
	}
	require.Equal(t, "completed", g.look("a[]"))
	g.end("b", domain.OutcomeCompleted, 1)
	require.Equal(t, "1", string(g.s.Result["out"]))

	g = play(t, workflow(loop(1, "pass.last.out == 9")))
	g.end("a", domain.OutcomeCompleted, 1, 0)
	require.Equal(t, "loop_limit", g.s.Err.Kind)
	g = play(t, workflow(loop(3, "pass.last.out == 9")))
	g.end("a", domain.OutcomeFailed, 1, 0)
	require.Equal(t, "pass 0: no", g.s.Err.Message)
}

func TestWaits(t *testing.T) {
	g := play(t, workflow(wait("p", domain.WaitSpec{For: json.RawMessage(`"1d2h"`)}), bare("b", "p")))
	require.Equal(t, domain.RunWaiting, g.s.Shown())
	g.later(26*time.Hour - time.Second)
	require.Contains(t, g.look("p[]"), "waiting until")
	g.later(time.Second)
	require.Equal(t, "running", g.look("b[]"))

	at := start.In(time.FixedZone("x", 0)).Add(48 * time.Hour).Format("2006-01-02T15:04:05")
	g = play(t, workflow(wait("p", domain.WaitSpec{Until: json.RawMessage(`"` + at + `"`), Timezone: "America/New_York"})))
	g.later(48 * time.Hour)
	require.Equal(t, domain.RunRunning, g.s.Status, "New York is behind UTC")
	g.later(6 * time.Hour)
	require.Equal(t, domain.RunCompleted, g.s.Status)

	g = play(t, workflow(wait("p", domain.WaitSpec{For: json.RawMessage(`"soon"`)})))
	require.Contains(t, g.s.Err.Message, "is no duration")
}

func TestSignals(t *testing.T) {
	d := workflow(wait("paid", domain.WaitSpec{Signal: "payment", Timeout: time.Hour}), wait("again", domain.WaitSpec{Signal: "payment"}, "paid"))
	d.Result = map[string]string{"p": "${steps.again.payload}"}
	g := play(t, d)
	g.send(domain.EventSignal{Name: "other", Payload: domain.Value("0")})
	require.Contains(t, g.look("paid[]"), "waiting for the signal payment")
	g.send(domain.EventSignal{Name: "payment", Payload: domain.Value("1")})
	require.Equal(t, "completed", g.look("paid[]"))
	g.send(domain.EventSignal{Name: "payment", Payload: domain.Value("2")})
	require.Equal(t, domain.RunCompleted, g.s.Status)
	require.Equal(t, "2", string(g.s.Result["p"]))

	g = play(t, d)
	g.send(domain.EventSignal{Name: "payment", Payload: domain.Value("1")})
	g.send(domain.EventSignal{Name: "payment", Payload: domain.Value("2")})
	require.Equal(t, domain.RunCompleted, g.s.Status)

	early := workflow(step("a"), wait("paid", domain.WaitSpec{Signal: "payment"}, "a"))
	g = play(t, early)
	g.send(domain.EventSignal{Name: "payment", Payload: domain.Value("1")})
	g.end("a", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunCompleted, g.s.Status, "a signal that comes early is kept")

	g = play(t, d)
	g.later(time.Hour)
	require.Equal(t, "timeout", g.s.Err.Kind)
}

func TestApproval(t *testing.T) {
	d := workflow(wait("ok", domain.WaitSpec{Approval: &domain.ApprovalSpec{Title: json.RawMessage(`"Ship ${inputs.n}?"`), Reminder: time.Hour}, Timeout: 3 * time.Hour}))
	g := play(t, d)
	require.True(t, g.told(domain.CommandAsk))
	for range 2 {
		g.later(time.Hour)
		require.True(t, g.told(domain.CommandAsk))
	}
	g.decide("ok", true)
	require.Equal(t, domain.RunCompleted, g.s.Status)
	g = play(t, d)
	g.decide("ok", false)
	require.Equal(t, "rejected", g.s.Err.Kind)
	g = play(t, d)
	g.later(3 * time.Hour)
	require.Equal(t, "timeout", g.s.Err.Kind)

	g = play(t, workflow(with(step("a"), func(s *domain.StepSpec) { s.Approval = &domain.ApprovalSpec{} })))
	require.False(t, g.told(domain.CommandStart))
	g.decide("a", true)
	require.True(t, g.told(domain.CommandStart))
	g.decide("a", true)
	require.Empty(t, g.last, "decided twice")
}

func TestCatch(t *testing.T) {
	caught := func(c ...domain.CatchSpec) domain.StepSpec {
		return with(step("a"), func(s *domain.StepSpec) { s.Catch = c })
	}
	d := workflow(caught(domain.CatchSpec{On: []string{"timeout"}}, domain.CatchSpec{Outputs: json.RawMessage(`{"out": "${error.kind}"}`)}), step("b", "a"))
	d.Result = map[string]string{"out": "${steps.a.out}"}
	g := play(t, d)
	g.end("a", domain.OutcomeFailed, 1)
	require.Equal(t, "completed: user_error: no", g.look("a[]"))
	g.end("b", domain.OutcomeCompleted, 1)
	require.Equal(t, `"user_error"`, string(g.s.Result["out"]))

	b := with(step("b"), func(s *domain.StepSpec) { s.Needs = []string{"a"} })
	g = play(t, workflow(caught(domain.CatchSpec{}), b, with(step("c", "a"), func(s *domain.StepSpec) { s.If, s.With = `failed("a")`, nil })))
	g.end("a", domain.OutcomeFailed, 1)
	require.Equal(t, "failed: user_error: no", g.look("a[]"))
	require.Equal(t, "running", g.look("b[]"))
	require.Equal(t, "running", g.look("c[]"))
	g.end("b", domain.OutcomeCompleted, 1)
	g.end("c", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunCompleted, g.s.Status)

	g = play(t, workflow(caught(domain.CatchSpec{On: []string{"timeout"}}), b))
	g.end("a", domain.OutcomeFailed, 1)
	require.Equal(t, domain.RunFailed, g.s.Status)
}

func TestForEachOnError(t *testing.T) {
	for policy, want := range map[string]string{
		"skip":    `[{"flag":0,"out":1},{"flag":0,"out":1}]`,
		"collect": `[{"flag":0,"out":1},{"error":{"code":"","kind":"user_error","message":"no"}},{"flag":0,"out":1}]`,
	} {
		a := with(step("a"), func(s *domain.StepSpec) {
			s.ForEach = &domain.ForEachSpec{In: "[1,2,3]", OnError: policy, Concurrency: 2}
		})
		d := workflow(a)
		d.Result = map[string]string{"all": "${steps.a}"}
		g := play(t, d)
		g.end("a", domain.OutcomeFailed, 1, 1)
		g.end("a", domain.OutcomeCompleted, 1, 0)
		g.end("a", domain.OutcomeCompleted, 1, 2)
		require.Equal(t, domain.RunCompleted, g.s.Status, policy)
		require.Equal(t, want, string(g.s.Result["all"]))
	}
}

// TestLargeResults lets expressions see what items gave up to 1 MiB, and passes more on whole.
func TestLargeResults(t *testing.T) {
	big := domain.Value(`"` + strings.Repeat("x", 300<<10) + `"`)
	for items, want := range map[int]domain.StepState{3: domain.StepCompleted, 4: domain.StepFailed} {
		each := with(step("a"), func(s *domain.StepSpec) {
			s.ForEach = &domain.ForEachSpec{In: "[1" + strings.Repeat(",1", items-1) + "]"}
		})
		pass := with(domain.StepSpec{ID: "whole", Uses: "b", Build: "b", Needs: []string{"a"}}, func(s *domain.StepSpec) {
			s.With = map[string]json.RawMessage{"list": json.RawMessage(`"${steps.a}"`)}
		})
		count := with(step("count"), func(s *domain.StepSpec) {
			s.Needs, s.With = []string{"a"}, map[string]json.RawMessage{"n": json.RawMessage(`"${size(steps.a)}"`)}
		})
		g := play(t, workflow(each, pass, count))
		for i := range items {
			g.send(domain.EventAttempt{Step: 0, Path: []int32{int32(i)}, Attempt: 1, Outcome: domain.OutcomeCompleted, Outputs: []domain.Values{{"out": big}}})
		}
		g.end("whole", domain.OutcomeCompleted, 1)
		if want == domain.StepCompleted {
			g.end("count", domain.OutcomeCompleted, 1)
			require.Equal(t, "completed", g.look("count[]"))
			continue
		}
		require.Contains(t, g.look("count[]"), "failed: value_too_large: with.n: the results of a are 1228820 bytes together; an expression can read at most 1048576. Pass the list on whole (${steps.a} as an input of an action)")
	}
}

func TestCollect(t *testing.T) {
	d := workflow(step("a"), step("b", "a"), domain.StepSpec{ID: "all", Kind: "collect", Collect: "b", Needs: []string{"b"}}, with(step("c"), func(s *domain.StepSpec) {
		s.Needs = []string{"all"}
		s.With = map[string]json.RawMessage{"list": json.RawMessage(`"${steps.all.items}"`)}
	}))
	g := play(t, d)
	g.list("a", 2)
	g.end("b", domain.OutcomeCompleted, 1, 1)
	require.Equal(t, "pending", g.look("all[]"))
	g.end("b", domain.OutcomeCompleted, 1, 0)
	require.Equal(t, "completed", g.look("all[]"))
	x, err := g.s.Dispatch(g.last[len(g.last)-1], nil)
	require.NoError(t, err)
	require.Equal(t, `[{"flag":0,"out":1},{"flag":0,"out":1}]`, string(x.Inputs["list"]))
	g.end("c", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunCompleted, g.s.Status)
}

func TestUndo(t *testing.T) {
	undo := func(id string, needs ...string) domain.StepSpec {
		return with(step(id, needs...), func(s *domain.StepSpec) {
			s.Undo = &domain.UndoSpec{Uses: "b", Build: "b", With: map[string]json.RawMessage{"of": json.RawMessage(`"${steps.` + id + `.out}"`)}}
		})
	}
	d := workflow(undo("a"), undo("b", "a"), step("c", "b"))
	g := play(t, d)
	g.end("a", domain.OutcomeCompleted, 1)
	g.now = g.now.Add(time.Second)
	g.end("b", domain.OutcomeCompleted, 1)
	g.end("c", domain.OutcomeFailed, 1)
	require.Equal(t, domain.RunUndoing, g.s.Status)
	x, err := g.s.Dispatch(g.last[len(g.last)-1], nil)
	require.NoError(t, err)
	require.Equal(t, "b.undo", x.Step)
	require.Equal(t, "1", string(x.Inputs["of"]))
	g.endUndo("b", domain.OutcomeFailed, 1)
	g.endUndo("a", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunFailed, g.s.Status)
	require.Equal(t, 1, g.s.NotUndone())
	require.Equal(t, "failed: user_error: cannot", g.look("b.undo[]"))
	require.Equal(t, "completed", g.look("a.undo[]"))

	g = play(t, d)
	g.end("a", domain.OutcomeCompleted, 1)
	g.send(domain.EventCancel{Reason: "enough"})
	g.end("b", domain.OutcomeCancelled, 1)
	require.Equal(t, domain.RunUndoing, g.s.Status)
	g.endUndo("a", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunCancelled, g.s.Status)
}

// TestUndoOfItems takes the items of a forEach back, each with its own outputs.
func TestUndoOfItems(t *testing.T) {
	a := with(step("a"), func(s *domain.StepSpec) {
		s.ForEach = &domain.ForEachSpec{In: "[1,2]", As: "item"}
		s.Undo = &domain.UndoSpec{Uses: "b", Build: "b", With: map[string]json.RawMessage{"of": json.RawMessage(`"${steps.a.out}"`)}}
	})
	for _, lean := range []int{0, 1} {
		plan, problems := domain.Compile(workflow(a, bare("c", "a")), domaintest.Compiler{})
		require.Empty(t, problems)
		g := &game{t: t, s: domain.NewState(domain.Run{ID: "run"}, plan), now: start}
		g.s.Lean = lean
		g.send(domain.EventStarted{})
		for i := range int32(2) {
			g.send(domain.EventAttempt{Step: 0, Path: []int32{i}, Attempt: 1, Outcome: domain.OutcomeCompleted,
				Outputs: []domain.Values{{"out": domain.Value(fmt.Sprint(10 + i))}}})
		}
		g.end("c", domain.OutcomeFailed, 1)
		for _, want := range []string{"11", "10"} {
			require.Equal(t, domain.RunUndoing, g.s.Status)
			x, err := g.s.Dispatch(g.last[len(g.last)-1], nil)
			require.NoError(t, err)
			require.Equal(t, want, string(x.Inputs["of"]))
			g.endUndo("a", domain.OutcomeCompleted, 1, x.Path...)
		}
		require.Equal(t, domain.RunFailed, g.s.Status)
		require.Zero(t, g.s.NotUndone())
	}
}

func TestFailureHandler(t *testing.T) {
	d := workflow(step("a"))
	d.OnFailure = "notify"
	g := play(t, d)
	g.end("a", domain.OutcomeFailed, 1)
	require.True(t, g.told(domain.CommandHandle))
	require.False(t, g.s.Status.Ended())
	g.send(domain.EventHandled{Run: "other"})
	require.Equal(t, domain.RunFailed, g.s.Status)
	require.Equal(t, "other", g.s.Handler)
	require.True(t, g.told(domain.CommandEnded))
}

// TestGrantOverPause gives a step its place after a pause that gave the place back, and was over before
// anybody heard of it: only the answer to the newest question counts.
func TestGrantOverPause(t *testing.T) {
	g := play(t, workflow(with(step("a"), func(s *domain.StepSpec) { s.Concurrency = &domain.LimitSpec{Limit: 1} })))
	g.send(domain.EventPause{})
	require.True(t, g.told(domain.CommandRelease))
	g.send(domain.EventUnpause{})
	g.send(domain.EventGranted{Step: 0, Ask: 1})
	require.False(t, g.told(domain.CommandStart), "it goes with the release that is on its way")
	g.send(domain.EventGranted{Step: 0, Ask: 2})
	require.True(t, g.told(domain.CommandStart))
}

func TestSlots(t *testing.T) {
	d := workflow(with(step("a"), func(s *domain.StepSpec) {
		s.Concurrency = &domain.LimitSpec{Key: json.RawMessage(`"k-${inputs.n}"`), Limit: 2}
	}), step("b", "a"))
	g := play(t, d)
	require.True(t, g.told(domain.CommandAcquire))
	require.Equal(t, "queued: waiting for its turn", g.look("a[]"))
	require.Equal(t, domain.RunRunning, g.s.Shown())
	c := g.s.Claims()
	require.Len(t, c, 1)
	require.Equal(t, 2, c[0].Limit)
	require.False(t, c[0].Held)
	g.send(domain.EventGranted{Step: 0, Ask: 1})
	require.True(t, g.told(domain.CommandStart))
	require.True(t, g.s.Claims()[0].Held)
	g.send(domain.EventGranted{Step: 0, Ask: 1})
	require.Empty(t, g.last)
	g.end("a", domain.OutcomeCompleted, 1)
	require.True(t, g.told(domain.CommandRelease))

	g = play(t, d)
	g.send(domain.EventCancel{})
	require.True(t, g.told(domain.CommandRelease))
	require.Equal(t, domain.RunCancelled, g.s.Status)
}

func TestCache(t *testing.T) {
	d := workflow(with(step("a"), func(s *domain.StepSpec) {
		s.Cache = &domain.CacheSpec{Key: json.RawMessage(`"k"`), TTL: time.Hour}
	}))
	d.Result = map[string]string{"out": "${steps.a.out}"}
	g := play(t, d)
	require.True(t, g.told(domain.CommandLookUp))
	g.send(domain.EventLookedUp{Hit: true, Outputs: []domain.Values{{"out": domain.Value("5")}}})
	require.Equal(t, "5", string(g.s.Result["out"]))
	require.Equal(t, "completed: cached", g.look("a[]"))
	g = play(t, d)
	g.send(domain.EventLookedUp{})
	require.True(t, g.told(domain.CommandStart))
	g.end("a", domain.OutcomeCompleted, 1)
	require.True(t, g.told(domain.CommandKeep))
}

func TestPause(t *testing.T) {
	retry := domain.RetrySpec{Attempts: 2, Backoff: time.Second}
	g := play(t, workflow(with(step("a"), func(s *domain.StepSpec) { s.Retry = &retry }), step("b", "a")))
	g.send(domain.EventPause{Reason: "look"})
	require.Equal(t, domain.RunPaused, g.s.Shown())
	g.end("a", domain.OutcomeFailed, 1)
	g.later(time.Minute)
	require.False(t, g.told(domain.CommandStart))
	g.send(domain.EventUnpause{})
	require.True(t, g.told(domain.CommandStart))
	g.send(domain.EventPause{})
	g.end("a", domain.OutcomeCompleted, 2)
	require.Equal(t, "pending", g.look("b[]"))
	g.send(domain.EventUnpause{})
	require.Equal(t, "running", g.look("b[]"))
}

func TestQueuedRun(t *testing.T) {
	plan, problems := domain.Compile(workflow(step("a")), domaintest.Compiler{})
	require.Empty(t, problems)
	g := &game{t: t, s: domain.NewState(domain.Run{ID: "run"}, plan), now: start}
	g.send(domain.EventStarted{Queued: true})
	require.Equal(t, domain.RunQueued, g.s.Status)
	require.True(t, g.told(domain.CommandAdmit))
	g.later(time.Hour)
	g.send(domain.EventAdmitted{})
	require.Equal(t, domain.RunRunning, g.s.Status)
	require.True(t, g.told(domain.CommandStart))

	g = &game{t: t, s: domain.NewState(domain.Run{ID: "run"}, plan), now: start}
	g.send(domain.EventStarted{Queued: true})
	g.send(domain.EventRefused{Reason: "key k is held by run r"})
	require.Equal(t, domain.RunCancelled, g.s.Status)
	require.Equal(t, "skipped", g.s.Err.Kind)

	g = &game{t: t, s: domain.NewState(domain.Run{ID: "run"}, plan), now: start}
	g.send(domain.EventStarted{Queued: true})
	g.send(domain.EventCancel{})
	require.Equal(t, domain.RunCancelled, g.s.Status)
}

func TestStepTimeout(t *testing.T) {
	retry := domain.RetrySpec{Attempts: 9, Backoff: 40 * time.Second, Factor: 1}
	g := play(t, workflow(with(step("a"), func(s *domain.StepSpec) { s.Retry, s.StepTimeout = &retry, time.Minute })))
	g.end("a", domain.OutcomeFailed, 1)
	g.later(40 * time.Second)
	require.True(t, g.told(domain.CommandStart))
	g.later(20 * time.Second)
	require.True(t, g.told(domain.CommandCancel))
	g.end("a", domain.OutcomeCancelled, 2)
	require.Equal(t, "timeout", g.s.Err.Kind)
	require.Contains(t, g.s.Err.Message, "stepTimeout")
}

func TestKeep(t *testing.T) {
	d := workflow(step("a"), step("b", "a"), with(step("c", "a"), func(s *domain.StepSpec) {
		s.ForEach, s.With = &domain.ForEachSpec{In: "[1,2]", Concurrency: 1}, nil
	}), step("e", "b", "c"))
	d.RevisionID = "r"
	old := play(t, d)
	old.list("a", 2)
	old.end("b", domain.OutcomeCompleted, 1, 0)
	old.end("b", domain.OutcomeCompleted, 1, 1)
	for i := range int32(2) {
		old.end("c", domain.OutcomeCompleted, 1, i, 0)
		old.end("c", domain.OutcomeFailed, 1, i, 1)
	}
	require.Equal(t, domain.RunFailed, old.s.Status)

	g := &game{t: t, s: domain.NewState(domain.Run{ID: "run2"}, old.s.Plan), now: start}
	g.send(domain.EventStarted{Keep: old.s})
	require.Equal(t, "completed: kept", g.look("a[]"))
	require.Equal(t, "completed: kept", g.look("b[1]"))
	require.Equal(t, "running", g.look("c[0 0]"), "a split forEach starts again")
	require.Equal(t, "pending", g.look("e[0]"))

	g = &game{t: t, s: domain.NewState(domain.Run{ID: "run3"}, old.s.Plan), now: start}
	g.send(domain.EventStarted{Keep: old.s, From: "b"})
	require.Equal(t, "completed: kept", g.look("a[]"))
	require.Equal(t, "running", g.look("b[0]"))

	plain := workflow(with(step("c"), func(s *domain.StepSpec) { s.ForEach = &domain.ForEachSpec{In: "[1,2,3]"} }), bare("e", "c"))
	plain.RevisionID = "r"
	old = play(t, plain)
	old.end("c", domain.OutcomeCompleted, 1, 0)
	old.end("c", domain.OutcomeFailed, 1, 1)
	old.end("c", domain.OutcomeCompleted, 1, 2)
	g = &game{t: t, s: domain.NewState(domain.Run{ID: "run4"}, old.s.Plan), now: start}
	g.send(domain.EventStarted{Keep: old.s})
	require.Equal(t, "completed: kept", g.look("c[0]"))
	require.Equal(t, "running", g.look("c[1]"))
	require.Equal(t, "completed: kept", g.look("c[2]"))
	g.end("c", domain.OutcomeCompleted, 1, 1)
	require.Equal(t, "running", g.look("e[]"))
}

func TestChildID(t *testing.T) {
	id := domain.ChildID("run:step::1", 1_700_000_000_000_000)
	require.Equal(t, id, domain.ChildID("run:step::1", 1_700_000_000_000_000))
	require.Regexp(t, `^018bcfe5-6800-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
}
