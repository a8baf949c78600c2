package simulation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/app/simulation"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

// bench is a simulator on an executor of Go functions.
type bench struct {
	t    *testing.T
	exec *apptest.Executor
	sim  *simulation.Simulator
	live []app.Deployment
	file apptest.Files
}

func newBench(t *testing.T, do func(context.Context, app.Execution) apptest.Result) *bench {
	b := &bench{t: t, exec: apptest.NewExecutor(do), file: apptest.Files{Dir: t.TempDir()}}
	b.sim = simulation.New(simulation.Deps{Compiler: domaintest.Compiler{}, Deployer: &apptest.Deployer{}, Executor: b.exec, Files: b.file, Schemas: schemas{},
		Live: func() ([]app.Deployment, <-chan struct{}) { return b.live, nil }, NewID: id.New, Now: time.Now, Grace: time.Second})
	return b
}

type schemas struct{}

func (schemas) Check(schema []byte, v domain.Value) string {
	if string(schema) == string(v) {
		return "is refused"
	}
	return ""
}

// run carries out a test, written without its head.
func (b *bench) run(text string, defs ...domain.Definition) (simulation.Report, error) {
	b.t.Helper()
	test, problems := wftest.Parse("t.yaml", []byte("apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: w\nnow: 2026-12-01T09:00:00Z\n"+text))
	require.Empty(b.t, problems)
	return b.sim.Run(b.t.Context(), simulation.Order{Project: "p", Definitions: defs, Test: test,
		Files: map[string]domain.Value{"./a.csv": domain.Value(`{"$file":"sha256:a","name":"a.csv"}`)}})
}

// passes expects that a test passes, and with it that replay gives the same state.
func (b *bench) passes(text string, defs ...domain.Definition) simulation.Report {
	b.t.Helper()
	r, err := b.run(text, defs...)
	require.NoError(b.t, err)
	require.Empty(b.t, r.Failures)
	require.Equal(b.t, simulation.Passed, r.State)
	return r
}

func flow(effect string, steps ...domain.StepSpec) domain.Definition {
	d := apptest.Workflow("w", steps...)
	d.Builds[0].Effect = effect
	d.Builds[0].Inputs = []domain.Item{{Name: "n", Type: "integer", Optional: true}}
	d.Builds[0].Outputs = []domain.Item{{Name: "n", Type: "integer"}, {Name: "f", Type: "file"}, {Name: "p", Type: "password"}}
	return d
}

func with(s domain.StepSpec, f func(*domain.StepSpec)) domain.StepSpec { f(&s); return s }

// TestRealAndStubbed: stubs answer by attempt and by item, everything else runs for real, and the
// time between is skipped.
func TestRealAndStubbed(t *testing.T) {
	var calls atomic.Int32
	b := newBench(t, func(ctx context.Context, x app.Execution) apptest.Result {
		calls.Add(1)
		if !x.Deadline.After(time.Now()) {
			return apptest.Result{Err: &domain.StepError{Kind: "late", Message: "the deadline is in the past"}}
		}
		r := apptest.AddOne(ctx, x)
		r.Logs = []string{"hello"}
		return r
	})
	d := flow("pure",
		with(apptest.Step("slow", "n", "1"), func(s *domain.StepSpec) {
			s.Retry, s.Timeout = &domain.RetrySpec{Attempts: 3, Backoff: time.Hour}, 30*time.Minute
		}),
		domain.StepSpec{ID: "pause", Kind: "wait", Wait: &domain.WaitSpec{For: json.RawMessage(`"2d"`)}, Needs: []string{"slow"}},
		with(apptest.Step("each", "n", `"${item}"`), func(s *domain.StepSpec) {
			s.ForEach, s.Needs = &domain.ForEachSpec{In: "[1,2,3]", As: "item", OnError: "collect"}, []string{"pause"}
		}),
		with(apptest.Step("real", "n", `"${steps.slow.n}"`), func(s *domain.StepSpec) { s.Needs = []string{"each"} }))
	d.Result = map[string]string{"n": "${steps.real.n}"}
	r := b.passes(`
stubs:
  slow: [{outputs: {n: 0}, delay: 31m}, {error: {kind: crashed}}, {outputs: {n: 41}, delay: 10m}]
  each: [{item: 1, error: {kind: broken, message: no}}, {outputs: {n: 7, f: ./a.csv}}]
expect:
  status: completed
  result: {n: 42}
  steps:
    slow: {status: completed, attempts: 3, outputs: {n: 41}}
    each: {status: completed, items: 3, attempts: 1, outputs: [{n: 7, f: {name: a.csv}}, {error: {kind: broken}}, {n: 7}]}
    real: {attempts: 1}
check: ["steps.real.n == 42"]
`, d)
	require.EqualValues(t, 1, calls.Load())
	require.Len(t, r.Logs, 1)
	require.Equal(t, "real", r.Logs[0].Step)
	want := 30*time.Minute + time.Hour + time.Hour + 10*time.Minute + 48*time.Hour
	require.InDelta(t, want.Seconds(), r.Virtual.Seconds(), 10)
	require.Less(t, r.Real, 30*time.Second)
	require.Equal(t, "timeout", r.Run.Steps[0].Attempts[0].Error.Kind)
}

// TestSignalsAndPeople: who answers a wait, late or never; payloads and forms are checked.
func TestSignalsAndPeople(t *testing.T) {
	b := newBench(t, apptest.AddOne)
	d := flow("pure",
		domain.StepSpec{ID: "paid", Kind: "wait", Wait: &domain.WaitSpec{Signal: "payment", Timeout: 48 * time.Hour, Schema: json.RawMessage(`3`)}},
		domain.StepSpec{ID: "ok", Kind: "wait", Needs: []string{"paid"}, Wait: &domain.WaitSpec{Approval: &domain.ApprovalSpec{Title: json.RawMessage(`"Ship?"`),
			Form: []domain.Item{{Name: "boxes", Type: "integer"}}, Approvers: []string{"ada"}, Reminder: time.Hour}}})
	d.Result = map[string]string{"paid": "${steps.paid.payload}", "by": "${steps.ok.by}", "values": "${steps.ok.values}"}
	r := b.passes(`
stubs:
  paid: [{signal: {payload: 5}, delay: 1d}]
  ok: [{decision: {approved: true, values: {boxes: 2}}, delay: 3h}]
expect: {result: {paid: 5, by: ada, values: {boxes: 2}}}
`, d)
	require.Equal(t, 27*time.Hour, r.Virtual, "with stubs alone the time is exact")
	b.passes("stubs: {paid: [{signal: {}, delay: 3d}]}\nexpect: {error: {kind: timeout, step: paid}, steps: {ok: {status: skipped}}}", d)
	b.passes("stubs: {paid: [{signal: {}}], ok: [{decision: {approved: false, comment: too dear}}]}\nexpect: {error: {kind: rejected, message: {matches: too dear}}}", d)
	b.passes("stubs: {paid: [], ok: []}\nexpect: {status: failed, error: {kind: timeout}}", d)

	for text, want := range map[string]simulation.Failure{
		"stubs: {paid: [{signal: {payload: 3}}]}\nexpect: {}": {What: "stubs.paid", Message: "the payload of the signal payment does not fit the schema of the step: is refused", Line: 5, Column: 16},
		"stubs: {paid: [{signal: {}}]}\nexpect: {}": {What: "stubs.ok",
			Message: "step ok waits for a decision (Ship?) without a time limit, and nobody answers: add stubs: {ok: [{decision: {approved: true}}]}, or an empty list if nobody ever does"},
		"stubs: {paid: [{signal: {}}], ok: [{decision: {approved: true}}]}\nexpect: {}":          {What: "stubs.ok", Message: "values.boxes: is required: give a value of type integer", Line: 5, Column: 36},
		"stubs: {paid: [{signal: {}}], ok: [{decision: {approved: true, by: bob}}]}\nexpect: {}": {What: "stubs.ok", Message: "only ada may decide this", Line: 5, Column: 36},
	} {
		r, err := b.run(text, d)
		require.NoError(t, err)
		require.Equal(t, simulation.Errored, r.State)
		require.Equal(t, []simulation.Failure{want}, r.Failures)
	}
}

// TestEffects: a test has no effects but those that it is given stubs for.
func TestEffects(t *testing.T) {
	b := newBench(t, func(context.Context, app.Execution) apptest.Result {
		t.Error("a step with an effect was carried out")
		return apptest.One("n", "1")
	})
	d := flow("write", with(apptest.Step("charge", "n", "1"), func(s *domain.StepSpec) {
		s.Undo = &domain.UndoSpec{Uses: "refund", Build: "sha256:test", With: map[string]json.RawMessage{"n": json.RawMessage(`"${steps.charge.n}"`)}}
	}), with(apptest.Step("ship", "n", `"${steps.charge.n}"`), func(s *domain.StepSpec) { s.Effect = "irreversible" }))
	r, err := b.run("expect: {}", d)
	require.NoError(t, err)
	require.Equal(t, simulation.Errored, r.State)
	require.Equal(t, "stubs.charge", r.Failures[0].What)
	require.Equal(t, "step charge (test@1.0) has the effect write, which a test must not have: let a stub answer, as in stubs: {charge: [{outputs: {n: …, f: …, p: …}}]}", r.Failures[0].Message)
	b.passes(`
stubs:
  charge: [{outputs: {n: 3}}]
  ship: [{error: {kind: lost}}, {outputs: {}}, {decision: {approved: false, by: ada}, delay: 1d}]
  charge.undo: [{outputs: {}}]
expect: {error: {kind: lost, step: ship}, steps: {charge.undo: {status: completed, attempts: 1}, ship: {attempts: 1}}}
`, d)
}

// TestSubWorkflows: they run in the same test, from what is given or live, with stubs of their own.
func TestSubWorkflows(t *testing.T) {
	b := newBench(t, apptest.AddOne)
	child := flow("write", apptest.Step("one", "n", `"${inputs.n}"`))
	child.Workflow, child.Inputs, child.Result = "child", []domain.Item{{Name: "n", Type: "integer"}}, map[string]string{"m": "${steps.one.n}"}
	live := flow("pure", apptest.Step("tell", "n", "1"))
	live.Workflow = "notify"
	b.live = []app.Deployment{{Project: "p", Definition: live}, {Project: "other", Definition: child}}
	d := flow("pure",
		domain.StepSpec{ID: "sub", Kind: "workflow", Workflow: "child", With: map[string]json.RawMessage{"n": json.RawMessage("4")}},
		with(apptest.Step("next", "n", `"${steps.sub.m}"`), func(*domain.StepSpec) {}))
	d.OnFailure = "notify"
	d.Result = map[string]string{"n": "${steps.next.n}"}
	b.passes("stubs: {child/one: [{outputs: {n: 8}, delay: 1h}]}\nexpect: {result: {n: 9}}", d, child)
	b.passes("stubs: {sub: [{outputs: {m: 2}}]}\nexpect: {result: {n: 3}}", d)
	r := b.passes("stubs: {child/one: [{error: {kind: broken, message: gone}}]}\nexpect: {error: {kind: broken, step: sub, message: {matches: gone}}}", d, child)
	require.NotEmpty(t, r.Run.Handler)
	r, err := b.run("expect: {}", d)
	require.NoError(t, err)
	require.Equal(t, `step sub: there is no workflow "child" beside the tested one, and none of this name is deployed; or let a stub answer for the step`, r.Failures[0].Message)
}

// TestRefused: what cannot be meant is told whole, with its places, before anything runs.
func TestRefused(t *testing.T) {
	b := newBench(t, func(context.Context, app.Execution) apptest.Result {
		t.Error("something ran")
		return apptest.One()
	})
	d := flow("pure", apptest.Step("one", "n", "1"), domain.StepSpec{ID: "paid", Kind: "wait", Wait: &domain.WaitSpec{Signal: "s"}},
		domain.StepSpec{ID: "pause", Kind: "wait", Wait: &domain.WaitSpec{For: json.RawMessage(`"1s"`)}})
	d.Result = map[string]string{"n": "${steps.one.n}"}
	_, err := b.run(`
stubs:
  on: [{outputs: {}}]
  one: [{outputs: {m: 1}}, {outputs: {n: text, f: ./no.csv}}, {signal: {}}, {decision: {approved: true}}]
  paid: [{outputs: {}}]
  pause: [{outputs: {}}]
  other/step: [{outputs: {}}]
expect: {result: {m: 1}, steps: {too: {attempts: 1}}}
check: ["steps.none.n == 1", "secrets.x == 'y'"]
`, d)
	require.True(t, fault.Is(err, fault.Invalid))
	var told []string
	for _, f := range fault.As(err).Fields {
		told = append(told, fmt.Sprintf("%d: %s: %s", f.Line, f.Path, f.Message))
	}
	require.Equal(t, []string{
		`7: stubs.on: the workflow w has no step "on"`,
		`8: stubs.one[0].outputs.m: test@1.0 has no output "m"`,
		`8: stubs.one[1].outputs.f: a file value such as {"$file": "sha256:…"} is wanted, this is a string`,
		`8: stubs.one[1].outputs.n: an integer is wanted, this is a string`,
		`8: stubs.one[2]: the step does not wait for a signal`,
		`8: stubs.one[3]: the step asks nobody`,
		`9: stubs.paid[0]: the step runs no action`,
		`10: stubs.pause: nobody answers a step of this kind (wait)`,
		`11: stubs.other/step: there is no workflow "other" beside the tested one, and none of this name is deployed`,
		`12: expect.steps.too: the workflow w has no step "too"`,
		`12: expect.result.m: the result of w has no "m"`,
		`13: check[0]: the workflow w has no step "none"`,
		`13: check[1]: secrets cannot be read here`,
	}, told)

	d.Inputs = []domain.Item{{Name: "data", Type: "file"}, {Name: "n", Type: "integer"}}
	_, err = b.run("inputs: {data: ./none.csv, x: 1}\nexpect: {}", d)
	require.ErrorContains(t, err, `inputs.data: there is no file or folder "./none.csv" beside the test`)
	require.ErrorContains(t, err, "inputs.n: is required")
	require.ErrorContains(t, err, "inputs.x: the workflow has no such input")
}

// TestDifferences: every expectation that is not met is told, with what was wanted and what came.
func TestDifferences(t *testing.T) {
	b := newBench(t, apptest.AddOne)
	d := flow("pure", apptest.Step("one", "n", "1"), with(apptest.Step("two", "n", `"${steps.one.n}"`), func(s *domain.StepSpec) { s.If = "false" }))
	d.Result = map[string]string{"n": "${steps.one.n}"}
	r, err := b.run(`
expect:
  status: failed
  error: {kind: broken}
  result: {n: 3}
  steps: {one: {attempts: 2, items: 1, outputs: {n: 5}}, two: {status: completed}}
check: ["steps.one.n == 9"]
`, d)
	require.NoError(t, err)
	require.Equal(t, simulation.Failed, r.State)
	require.Equal(t, []simulation.Failure{
		{What: "status", Expected: "failed", Got: "completed", Line: 7, Column: 11},
		{What: "result.n", Expected: "3", Got: "2", Line: 9, Column: 15},
		{What: "steps.one.attempts", Expected: "2", Got: "1: completed", Line: 10, Column: 27},
		{What: "steps.one.items", Expected: "1", Got: "it is no list", Line: 10, Column: 37},
		{What: "steps.one.outputs.n", Expected: "5", Got: "2", Line: 10, Column: 49},
		{What: "steps.two.status", Expected: "completed", Got: "skipped: if is false", Line: 10, Column: 72},
		{What: "check[0]", Expected: "steps.one.n == 9", Got: "false, with steps.one.n = 2", Line: 11, Column: 9},
	}, r.Failures)
}

// TestSecrets: only the test's own are read, and they are masked as real ones are.
func TestSecrets(t *testing.T) {
	b := newBench(t, func(_ context.Context, x app.Execution) apptest.Result {
		return apptest.One("n", strconv.Itoa(len(x.Inputs["n"])), "p", string(x.Inputs["n"]))
	})
	d := flow("pure", apptest.Step("one", "n", `"${secrets.TOKEN}"`), apptest.Step("two", "n", `"${steps.one.p}"`), apptest.Step("three", "n", `"${inputs.pw}"`))
	d.Inputs = []domain.Item{{Name: "pw", Type: "password"}}
	text := "inputs: {pw: hidden}\nexpect: {steps: {one: {outputs: {n: 9}}, two: {outputs: {n: 9}}, three: {outputs: {n: 8}}}}\n"
	r := b.passes(text+"secrets: {TOKEN: made-up}", d)
	shown, err := json.Marshal(r.Run)
	require.NoError(t, err)
	require.NotContains(t, string(shown), "made-up")
	require.NotContains(t, string(shown), "hidden")
	r, err = b.run(text, d)
	require.NoError(t, err)
	require.Equal(t, "secrets.TOKEN", r.Failures[0].What)
	require.Contains(t, r.Failures[0].Message, "step one reads the secret TOKEN, which the test does not give")
}

// TestStops: a caller who leaves ends what is under way.
func TestStops(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	b := newBench(t, func(ctx context.Context, _ app.Execution) apptest.Result {
		close(begun)
		<-ctx.Done()
		close(ended)
		return apptest.Result{Outcome: app.Cancelled}
	})
	test, problems := wftest.Parse("t.yaml", []byte("apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: w\nexpect: {}"))
	require.Empty(t, problems)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	r, err := b.sim.Run(ctx, simulation.Order{Project: "p", Definitions: []domain.Definition{flow("pure", apptest.Step("one", "n", "1"))}, Test: test})
	require.NoError(t, err)
	require.Equal(t, simulation.Errored, r.State)
	<-ended
}

// TestConstructs: loops, caches, places and pauses keep their meaning.
func TestConstructs(t *testing.T) {
	b := newBench(t, apptest.AddOne)
	loop := flow("pure", with(apptest.Step("poll", "n", "1"), func(s *domain.StepSpec) {
		s.Loop = &domain.LoopSpec{Until: "pass.last.n == 3", Max: 5, Delay: time.Hour}
	}))
	r := b.passes("stubs: {poll: [{item: 2, outputs: {n: 3}}, {outputs: {n: 1}}]}\nexpect: {steps: {poll: {items: 3, outputs: {n: 3}}}}", loop)
	require.Equal(t, 2*time.Hour, r.Virtual)

	one := with(apptest.Step("one", "n", `"${item}"`), func(s *domain.StepSpec) {
		s.ForEach = &domain.ForEachSpec{In: "[1,2,3]", As: "item"}
		s.Concurrency = &domain.LimitSpec{Key: json.RawMessage(`"k"`)}
	})
	r = b.passes("stubs: {one: [{outputs: {n: 3}, delay: 1h}]}\nexpect: {steps: {one: {items: 3}}}", flow("pure", one))
	require.Equal(t, 3*time.Hour, r.Virtual, "one at a time")

	cached := func(id string, on ...string) domain.StepSpec {
		return with(apptest.Step(id, "n", "1"), func(s *domain.StepSpec) {
			s.Cache, s.Needs = &domain.CacheSpec{Key: json.RawMessage(`"k"`), TTL: time.Hour}, on
		})
	}
	b.passes("stubs: {a: [{outputs: {n: 3}}], b: [{error: {kind: broken}}]}\nexpect: {steps: {b: {attempts: 0, outputs: {n: 3}}}}", flow("pure", cached("a"), cached("b", "a")))

	late := flow("pure", domain.StepSpec{ID: "pause", Kind: "wait", Wait: &domain.WaitSpec{For: json.RawMessage(`"30d"`)}})
	b.passes("expect: {error: {kind: timeout}}", late)
}
