package domain_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/domain/domaintest"
)

var start = time.UnixMicro(1e15)

func step(id string, needs ...string) domain.StepSpec {
	s := domain.StepSpec{ID: id, Uses: "b", Build: "b", Needs: needs, With: map[string]json.RawMessage{}}
	for _, n := range needs {
		s.With["in_"+n] = json.RawMessage(`"${steps.` + n + `.out}"`)
	}
	return s
}

func with(s domain.StepSpec, f func(*domain.StepSpec)) domain.StepSpec { f(&s); return s }

func workflow(steps ...domain.StepSpec) domain.Definition {
	return domain.Definition{Workflow: "w", Steps: steps, Builds: []domain.Build{{Digest: "b", Action: "b@1"}}}
}

// game plays a workflow by hand.
type game struct {
	t    *testing.T
	s    *domain.State
	now  time.Time
	cmds []domain.Command
	last []domain.Command
	rows [][]byte
}

func play(t *testing.T, d domain.Definition) *game {
	plan, problems := domain.Compile(d, domaintest.Compiler{})
	require.Empty(t, problems)
	g := &game{t: t, s: domain.NewState(domain.Run{ID: "run"}, plan), now: start}
	g.send(domain.EventStarted{})
	return g
}

func (g *game) send(ev domain.Event) {
	tr, err := g.s.Handle(ev, g.now, 0)
	require.NoError(g.t, err)
	if tr.Row != nil {
		g.rows = append(g.rows, tr.Row)
	}
	again := domain.NewState(g.s.Run, g.s.Plan)
	for _, row := range g.rows {
		require.NoError(g.t, again.Replay(row))
	}
	require.Equal(g.t, g.s.Fingerprint(), again.Fingerprint(), "the replay of the journal gives the same state")
	g.last = tr.Commands
	g.cmds = append(g.cmds, tr.Commands...)
}

func (g *game) end(id string, o domain.Outcome, attempt int32, path ...int32) {
	i, _ := g.s.Plan.StepIndex(id)
	ev := domain.EventAttempt{Step: i, Path: path, Attempt: attempt, Outcome: o}
	if o == domain.OutcomeCompleted {
		ev.Outputs = []domain.Values{{"out": domain.Value("1"), "flag": domain.Value("0")}}
	}
	if o == domain.OutcomeFailed {
		ev.Err = &domain.StepError{Kind: "user_error", Message: "no"}
	}
	g.send(ev)
}

func (g *game) list(id string, n int, path ...int32) {
	i, _ := g.s.Plan.StepIndex(id)
	ev := domain.EventAttempt{Step: i, Path: path, Attempt: 1, Outcome: domain.OutcomeCompleted, IsList: true}
	for j := range n {
		ev.Outputs = append(ev.Outputs, domain.Values{"out": domain.Value(fmt.Sprint(j))})
	}
	g.send(ev)
}

// look gives "state reason" by "step path".
func (g *game) look(at string) string {
	found := "none"
	g.s.StepRuns(func(v domain.StepRunView) {
		if fmt.Sprint(g.s.Plan.Nodes[v.Step].Spec.ID, v.Path) == at {
			found = string(v.State)
			if v.Reason != "" {
				found += ": " + v.Reason
			}
			if v.Err != nil {
				found += ": " + v.Err.Error()
			}
		}
	})
	return found
}

func TestReasons(t *testing.T) {
	g := play(t, workflow(step("a"), step("b", "a"), step("c", "b"), with(step("d"), func(s *domain.StepSpec) { s.If = "1 == 2" })))
	g.end("a", domain.OutcomeFailed, 1)
	require.Equal(t, "failed: user_error: no", g.look("a[]"))
	require.Equal(t, "skipped: a failed", g.look("b[]"))
	require.Equal(t, "skipped: b was skipped", g.look("c[]"))
	require.Equal(t, "skipped: if is false", g.look("d[]"))
	require.Equal(t, domain.RunFailed, g.s.Status)
	require.Equal(t, "no", g.s.Err.Message)
}

func TestFanOut(t *testing.T) {
	d := workflow(step("a"), step("x"), step("b", "a"), step("c", "b", "x"))
	d.Result = map[string]string{"all": "${steps.c.out}", "one": "${steps.x.out}"}
	g := play(t, d)
	g.list("a", 2)
	g.end("b", domain.OutcomeCompleted, 1, 1)
	require.Equal(t, "pending", g.look("c[]"), "x has not ended")
	g.end("x", domain.OutcomeCompleted, 1)
	g.list("b", 2, 0)
	require.Equal(t, "running", g.look("c[1]"))
	for _, p := range [][]int32{{0, 0}, {0, 1}, {1}} {
		g.end("c", domain.OutcomeCompleted, 1, p...)
	}
	require.Equal(t, domain.RunCompleted, g.s.Status)
	require.Equal(t, "[1,1,1]", string(g.s.Result["all"]))

	g = play(t, d)
	g.end("x", domain.OutcomeCompleted, 1)
	g.list("a", 0)
	require.Equal(t, domain.RunCompleted, g.s.Status)
	require.Equal(t, "skipped: the list of a is empty", g.look("c[]"))
	require.Equal(t, "[]", string(g.s.Result["all"]))
	require.Equal(t, "1", string(g.s.Result["one"]))
}

func TestAmbiguousFanOut(t *testing.T) {
	g := play(t, workflow(step("a"), step("b"), step("c", "a", "b")))
	g.list("a", 2)
	g.list("b", 2)
	require.Equal(t, domain.RunFailed, g.s.Status)
	require.Equal(t, "ambiguous_fanout", g.s.Err.Kind)
	require.Contains(t, g.s.Err.Message, "a and of b")
}

func TestLost(t *testing.T) {
	g := play(t, workflow(step("a")))
	for i := range int32(domain.LostLimit) {
		g.end("a", domain.OutcomeLost, i+1)
		require.Equal(t, domain.RunRunning, g.s.Status)
	}
	g.end("a", domain.OutcomeLost, domain.LostLimit+1)
	require.Equal(t, "lost", g.s.Err.Kind)

	d := workflow(step("a"))
	d.Builds[0].Effect = "irreversible"
	g = play(t, d)
	g.end("a", domain.OutcomeLost, 1)
	require.Contains(t, g.look("a[]"), "waiting for a decision")
	g.decide("a", false)
	require.Equal(t, domain.RunFailed, g.s.Status)
	require.Contains(t, g.s.Err.Message, "ada decided not to try it again")
	g = play(t, d)
	g.end("a", domain.OutcomeLost, 1)
	g.decide("a", true)
	g.end("a", domain.OutcomeCompleted, 2)
	require.Equal(t, domain.RunCompleted, g.s.Status)
}

func TestRetry(t *testing.T) {
	retry := domain.RetrySpec{Attempts: 4, Backoff: time.Second, Factor: 3, Cap: 5 * time.Second}
	g := play(t, workflow(with(step("a"), func(s *domain.StepSpec) { s.Retry = &retry })))
	for i, wait := range []time.Duration{time.Second, 3 * time.Second, 5 * time.Second} {
		g.end("a", domain.OutcomeFailed, int32(i+1))
		require.Contains(t, g.look("a[]"), "waiting: backing off until")
		g.now = g.now.Add(wait - time.Microsecond)
		g.send(domain.EventTick{})
		require.Empty(t, g.last)
		g.now = g.now.Add(time.Microsecond)
		g.send(domain.EventTick{})
		require.Len(t, g.last, 1)
	}
	g.end("a", domain.OutcomeFailed, 4)
	require.Equal(t, domain.RunFailed, g.s.Status)

	retry.On = []string{"timeout"}
	g = play(t, workflow(with(step("a"), func(s *domain.StepSpec) { s.Retry = &retry })))
	g.end("a", domain.OutcomeFailed, 1)
	require.Equal(t, domain.RunFailed, g.s.Status, "user_error is not among the kinds")
}

func TestRunTimeout(t *testing.T) {
	d := workflow(step("a"), step("b", "a"))
	d.Timeout = time.Minute
	g := play(t, d)
	g.now = g.now.Add(time.Minute)
	g.send(domain.EventTick{})
	require.Equal(t, domain.RunCancelling, g.s.Status)
	require.Equal(t, domain.CommandCancel, g.last[0].Kind)
	g.end("a", domain.OutcomeCancelled, 1)
	require.Equal(t, domain.RunFailed, g.s.Status)
	require.Equal(t, "timeout: the run took longer than its timeout of 1m0s", g.s.Err.Error())
	require.Equal(t, "cancelled: run cancelled", g.look("b[]"))
}

func TestForEachFailure(t *testing.T) {
	g := play(t, workflow(with(step("a"), func(s *domain.StepSpec) {
		s.ForEach = &domain.ForEachSpec{In: "[1,2,3,4]", Concurrency: 2}
	}), step("b", "a")))
	g.end("a", domain.OutcomeFailed, 1, 1)
	require.Equal(t, "running", g.look("a[0]"), "what is under way goes on")
	require.Equal(t, "none", g.look("a[2]"), "nothing new starts")
	g.end("a", domain.OutcomeCompleted, 1, 0)
	require.Equal(t, "failed: user_error: item 1: no", g.look("a[]"))
	require.Equal(t, domain.RunFailed, g.s.Status)
}

func TestExpressionErrors(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*domain.StepSpec)
		want   string
	}{
		"if fails":        {func(s *domain.StepSpec) { s.If = `error("boom")` }, "failed: expression_error: if: boom"},
		"if is no bool":   {func(s *domain.StepSpec) { s.If = `3` }, "failed: expression_error: if: a boolean is wanted, this is a number"},
		"forEach no list": {func(s *domain.StepSpec) { s.ForEach = &domain.ForEachSpec{In: "3"} }, "failed: invalid_input: forEach.in: a list is wanted, this is a number"},
		"input fails":     {func(s *domain.StepSpec) { s.With["x"] = json.RawMessage(`"${error("boom")}"`) }, ""},
		"input missing":   {func(s *domain.StepSpec) { s.With["x"] = json.RawMessage(`"${vars.nope}"`) }, "failed: invalid_input: x: vars.nope has no value here: the step was skipped or did not give it"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == "" {
				s := step("a")
				s.With["x"] = json.RawMessage(`"${error(1)}"`)
				require.Equal(t, "failed: expression_error: with.x: 1", play(t, workflow(s)).look("a[]"))
				return
			}
			require.Equal(t, c.want, play(t, workflow(with(step("a"), c.change))).look("a[]"))
		})
	}
}

func TestCompileProblems(t *testing.T) {
	for want, d := range map[string]domain.Definition{
		"circle":                           workflow(step("a", "b"), step("b", "a")),
		"no step \"z\"":                    workflow(step("a", "z")),
		"an id of its own":                 workflow(step("a"), step("a")),
		"is not part of the definition":    workflow(with(step("a"), func(s *domain.StepSpec) { s.Build = "other" })),
		"neither all, any nor a number":    workflow(step("a"), with(step("b", "a"), func(s *domain.StepSpec) { s.Join = "2" })),
		"none of fail, skip and collect":   workflow(with(step("a"), func(s *domain.StepSpec) { s.ForEach = &domain.ForEachSpec{In: "[]", OnError: "ignore"} })),
		"nonsense is not defined":          workflow(with(step("a"), func(s *domain.StepSpec) { s.If = "nonsense" })),
		"must not be used here":            workflow(with(step("a"), func(s *domain.StepSpec) { s.If = "secrets.x == 1" })),
		"it counts the first try":          workflow(with(step("a"), func(s *domain.StepSpec) { s.Retry = &domain.RetrySpec{} })),
		"must not be negative":             workflow(with(step("a"), func(s *domain.StepSpec) { s.Retry = &domain.RetrySpec{Attempts: 1, Backoff: -1} })),
		"must not be used in a result":     {Workflow: "w", Result: map[string]string{"x": "${secrets.y}"}},
		"result.x: there is no step \"y\"": {Workflow: "w", Result: map[string]string{"x": "${steps.y.z}"}},
	} {
		_, problems := domain.Compile(d, domaintest.Compiler{})
		require.NotEmpty(t, problems, want)
		require.Contains(t, fmt.Sprint(problems), want)
	}
}

func TestCheckInputs(t *testing.T) {
	items := []domain.Item{{Name: "s", Type: "string"}, {Name: "i", Type: "integer", Default: domain.Value("7")}, {Name: "b", Type: "boolean", Optional: true},
		{Name: "e", Type: "enum", EnumValues: []string{"x", "y"}, Optional: true}, {Name: "f", Type: "file", Optional: true}, {Name: "l", Type: "list", Optional: true}, {Name: "n", Type: "float", Optional: true}}
	in := domain.Values{"s": domain.Value(`"a"`), "b": domain.Value("null")}
	require.Empty(t, domain.CheckInputs(items, in))
	require.Equal(t, domain.Values{"s": domain.Value(`"a"`), "i": domain.Value("7")}, in)
	for text, want := range map[string]string{
		`{}`:                       "s: is required: give a value of type string",
		`{"s":1}`:                  "s: a string is wanted, this is a number",
		`{"s":"","i":1.5}`:         "i: an integer is wanted, this is a number",
		`{"s":"","i":"1"}`:         "i: an integer is wanted, this is a string",
		`{"s":"","b":1}`:           "b: true or false is wanted, this is a number",
		`{"s":"","e":"z"}`:         `e: one of ["x" "y"] is wanted, this is "z"`,
		`{"s":"","f":"x"}`:         `f: a file value such as {"$file": "sha256:…"} is wanted, this is a string`,
		`{"s":"","l":{}}`:          "l: a list is wanted, this is an object",
		`{"s":"","n":"1"}`:         "n: a number is wanted, this is a string",
		`{"s":"","zz":1}`:          "zz: the workflow has no such input",
		`{"s":"","b":[],"e":true}`: `b: true or false is wanted, this is a list; e: one of ["x" "y"] is wanted, this is true`,
	} {
		var v domain.Values
		require.NoError(t, json.Unmarshal([]byte(text), &v))
		var got []string
		for _, p := range domain.CheckInputs(items, v) {
			got = append(got, p.String())
		}
		require.Equal(t, want, strings.Join(got, "; "), text)
	}
}

// FuzzDecodeRow: a damaged row is an error, never a panic.
func FuzzDecodeRow(f *testing.F) {
	plan, _ := domain.Compile(workflow(step("a"), step("b", "a")), domaintest.Compiler{})
	s := domain.NewState(domain.Run{ID: "run"}, plan)
	tr, _ := s.Handle(domain.EventStarted{Inputs: domain.Values{"x": domain.Value("1")}}, start, 0)
	f.Add(tr.Row)
	tr, _ = s.Handle(domain.EventAttempt{Attempt: 1, Outcome: domain.OutcomeFailed, Err: &domain.StepError{Kind: "k"}, Phases: []domain.Phase{{Kind: "booted", AtMicros: 5}, {Kind: "new", AtMicros: 9}}}, start, 0)
	f.Add(tr.Row)
	f.Fuzz(func(_ *testing.T, row []byte) {
		if facts, err := domain.DecodeRow(row); err == nil && len(facts) > 0 {
			_ = domain.NewState(domain.Run{ID: "run"}, plan).Replay(row)
		}
	})
}

func TestNewerRow(t *testing.T) {
	_, err := domain.DecodeRow([]byte{1, 200, 1, 0})
	var unknown *domain.UnknownFactError
	require.ErrorAs(t, err, &unknown)
	_, err = domain.DecodeRow([]byte{2})
	require.ErrorAs(t, err, &unknown)
}

func TestNeverStarts(t *testing.T) {
	g := play(t, workflow(step("a")))
	for range 20 {
		g.end("a", domain.OutcomeUnknown, 1)
		require.Equal(t, domain.CommandStart, g.last[0].Kind)
	}
	g.end("a", domain.OutcomeUnknown, 1)
	require.Equal(t, "unavailable", g.s.Err.Kind)
}

func TestLoads(t *testing.T) {
	ref := func(i int) domain.Value { return domain.Value(fmt.Sprintf(`{"$ref":"sha256:%d","size":10}`, i)) }
	d := workflow(with(step("a"), func(s *domain.StepSpec) { s.If = "size(inputs.x) == 2" }))
	d.Result = map[string]string{"n": "${size(inputs.y)}"}
	plan, problems := domain.Compile(d, domaintest.Compiler{})
	require.Empty(t, problems)
	g := &game{t: t, s: domain.NewState(domain.Run{ID: "run"}, plan), now: start}
	g.send(domain.EventStarted{Inputs: domain.Values{"x": ref(1), "y": ref(2)}})
	require.Equal(t, domain.CommandLoad, g.last[0].Kind)
	g.send(domain.EventLoaded{Digest: "sha256:1", Value: domain.Value("[1,2]")})
	require.Equal(t, domain.CommandStart, g.last[0].Kind)
	g.end("a", domain.OutcomeCompleted, 1)
	require.Equal(t, domain.RunRunning, g.s.Status, "the result waits")
	g.send(domain.EventLoaded{Digest: "sha256:2", Err: &domain.StepError{Kind: "value_unavailable", Message: "gone"}})
	require.Equal(t, "value_unavailable: result.n: gone", g.s.Err.Error())
}

// TestArchivedJournal replays a journal as it was written when the format was made: rows
// stay readable for ever.
func TestArchivedJournal(t *testing.T) {
	d := workflow(step("a"), step("b", "a"), with(step("c"), func(s *domain.StepSpec) {
		s.ForEach = &domain.ForEachSpec{In: "[1,2]", Concurrency: 1}
		s.With["x"] = json.RawMessage(`"n ${item}"`)
		s.Retry = &domain.RetrySpec{Attempts: 2, Backoff: time.Second}
	}), with(step("d", "c"), func(s *domain.StepSpec) { s.If = "1 == 2"; s.With = nil }))
	d.Result = map[string]string{"r": "${steps.b.out}"}
	plan, problems := domain.Compile(d, domaintest.Compiler{})
	require.Empty(t, problems)
	live := domain.NewState(domain.Run{ID: "run"}, plan)
	var rows []string
	now := start
	send := func(ev domain.Event) {
		tr, err := live.Handle(ev, now, 0.5)
		require.NoError(t, err)
		if tr.Row != nil {
			rows = append(rows, fmt.Sprintf("%x", tr.Row))
		}
		now = now.Add(time.Second)
	}
	one := func(s string) []domain.Values { return []domain.Values{{"out": domain.Value(s)}} }
	send(domain.EventStarted{Inputs: domain.Values{"i": domain.Value(`"x"`)}, Event: domain.Value("{}")})
	send(domain.EventAttempt{Step: 0, Attempt: 1, Outcome: domain.OutcomeCompleted, IsList: true, Outputs: append(one("1"), one("2")...), Instance: "i",
		Usage: domain.Usage{CPUMicros: 1, MaxRSS: 2, WallMicros: 3}, Phases: []domain.Phase{{Kind: "booted", AtMicros: 7}, {Kind: "later", AtMicros: 9}}})
	send(domain.EventAttempt{Step: 2, Path: []int32{0}, Attempt: 1, Outcome: domain.OutcomeFailed, Err: &domain.StepError{Kind: "user_error", Message: "m"}})
	send(domain.EventTick{})
	send(domain.EventAttempt{Step: 2, Path: []int32{0}, Attempt: 2, Outcome: domain.OutcomeLost})
	send(domain.EventAttempt{Step: 2, Path: []int32{0}, Attempt: 3, Outcome: domain.OutcomeCompleted, Outputs: one("3")})
	send(domain.EventAttempt{Step: 2, Path: []int32{1}, Attempt: 1, Outcome: domain.OutcomeCompleted, Outputs: one("4")})
	send(domain.EventAttempt{Step: 1, Path: []int32{1}, Attempt: 1, Outcome: domain.OutcomeCompleted, Outputs: one("5")})
	send(domain.EventCancel{Command: "c", Reason: "why"})
	send(domain.EventAttempt{Step: 1, Path: []int32{0}, Attempt: 1, Outcome: domain.OutcomeCancelled})
	require.Equal(t, domain.RunCancelled, live.Status)

	file := "testdata/journal-v1.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(rows, "\n")+"\n"), 0o644))
	}
	archived, err := os.ReadFile(file)
	require.NoError(t, err)
	s := domain.NewState(domain.Run{ID: "run"}, plan)
	for line := range strings.Lines(string(archived)) {
		row, err := hex.DecodeString(strings.TrimSpace(line))
		require.NoError(t, err)
		require.NoError(t, s.Replay(row))
	}
	require.Equal(t, live.Fingerprint(), s.Fingerprint())
}
