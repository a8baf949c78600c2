package cel_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cel"
)

// world is a run in which `a` completed, `s` was skipped, `f` failed, `each` looped and
// `last` waits to be started with the input under test.
func result(t *testing.T, written string, needs ...string) (domain.Value, *domain.StepError) {
	t.Helper()
	step := func(id string, change func(*domain.StepSpec)) domain.StepSpec {
		s := domain.StepSpec{ID: id, Uses: "b", Build: "b", With: map[string]json.RawMessage{}}
		if change != nil {
			change(&s)
		}
		return s
	}
	d := domain.Definition{Workflow: "w", Revision: 3, Builds: []domain.Build{{Digest: "b", Inputs: []domain.Item{{Name: "x", Optional: true}}}},
		Inputs: []domain.Item{{Name: "n", Type: "integer"}, {Name: "pw", Type: "password"}},
		Steps: []domain.StepSpec{
			step("a", nil),
			step("s", func(s *domain.StepSpec) { s.If = "${inputs.n == 2}" }),
			step("f", nil),
			step("each", func(s *domain.StepSpec) {
				s.ForEach = &domain.ForEachSpec{In: "${[1, 2]}", As: "it"}
				s.With["x"] = json.RawMessage(`"${it * 10}"`)
			}),
			step("last", func(s *domain.StepSpec) {
				s.With["x"] = json.RawMessage(written)
				s.If = "always()"
				s.Needs = append(needs, "a", "s", "f", "each")
			}),
		}}
	plan, problems := domain.Compile(d, cel.New())
	require.Empty(t, problems)
	st := domain.NewState(domain.Run{ID: "run-1", Project: "p", CreatedAt: 1e15}, plan)
	var cmds []domain.Command
	send := func(ev domain.Event) {
		tr, err := st.Handle(ev, time.UnixMicro(1e15), 0)
		require.NoError(t, err)
		cmds = tr.Commands
	}
	send(domain.EventStarted{Inputs: domain.Values{"n": domain.Value("1"), "pw": domain.Value(`"sealed"`)}, Vars: domain.Values{"env": domain.Value(`"prod"`)},
		Event: domain.Value(`{"body":{"k":[1,2.5]}}`)})
	for i := range 2 {
		send(domain.EventAttempt{Step: 3, Path: []int32{int32(i)}, Attempt: 1, Outcome: domain.OutcomeCompleted,
			Outputs: []domain.Values{{"svg": domain.Value(fmt.Sprintf(`"p%d"`, i))}}})
	}
	send(domain.EventAttempt{Step: 2, Attempt: 1, Outcome: domain.OutcomeFailed})
	send(domain.EventAttempt{Step: 0, Attempt: 1, Outcome: domain.OutcomeCompleted, Outputs: []domain.Values{{
		"rows": domain.Value("12"), "my-name": domain.Value(`"odd"`), "ratio": domain.Value("0.5"), "big": domain.Value(`{"$ref":"sha256:aa","size":70000}`),
		"pic": domain.Value(`{"$file":"sha256:ff","size":3,"name":"a.svg","type":"image/svg+xml"}`), "list": domain.Value(`["x","y"]`)}}})
	if len(cmds) == 0 || cmds[len(cmds)-1].Kind != domain.CommandStart {
		if len(cmds) > 0 && cmds[len(cmds)-1].Kind == domain.CommandLoad {
			return domain.Value("load " + cmds[len(cmds)-1].Refs[0].Digest), nil
		}
		var failed *domain.StepError
		st.StepRuns(func(v domain.StepRunView) {
			if v.Step == 4 {
				failed = v.Err
			}
		})
		require.NotNil(t, failed, "%v", cmds)
		return nil, failed
	}
	x, err := st.Dispatch(cmds[len(cmds)-1], secrets{})
	if err != nil {
		var e *domain.StepError
		require.ErrorAs(t, err, &e)
		return nil, e
	}
	return x.Inputs["x"], nil
}

// TestLargeList reads the results of a forEach that are more than an expression can read.
func TestLargeList(t *testing.T) {
	d := domain.Definition{Workflow: "w", Steps: []domain.StepSpec{
		{ID: "each", Kind: "action", Build: "b", ForEach: &domain.ForEachSpec{In: "[1,2]", As: "item"}},
		{ID: "count", Kind: "action", Build: "b", Needs: []string{"each"}, If: "steps.each.size() > 1"},
	}, Builds: []domain.Build{{Digest: "b", Action: "b@1", Outputs: []domain.Item{{Name: "text", Type: "string"}}}}}
	plan, problems := domain.Compile(d, cel.New())
	require.Empty(t, problems)
	st := domain.NewState(domain.Run{ID: "run-1"}, plan)
	_, err := st.Handle(domain.EventStarted{}, time.UnixMicro(1e15), 0)
	require.NoError(t, err)
	for i := range int32(2) {
		_, err := st.Handle(domain.EventAttempt{Step: 0, Path: []int32{i}, Attempt: 1, Outcome: domain.OutcomeCompleted,
			Outputs: []domain.Values{{"text": domain.Value(`"` + strings.Repeat("x", 600<<10) + `"`)}}}, time.UnixMicro(1e15), 0)
		require.NoError(t, err)
	}
	require.Equal(t, domain.RunFailed, st.Status)
	require.Equal(t, "value_too_large", st.Err.Kind)
	require.Contains(t, st.Err.Message, "the results of each are")
}

type secrets struct{}

func (secrets) Secret(name string) (string, bool)         { return "s3cret", name == "token" }
func (secrets) Unseal(domain.Value) (domain.Value, error) { return domain.Value(`"open"`), nil }

func TestValues(t *testing.T) {
	for written, want := range map[string]string{
		`3`:                                     `3`,
		`"plain"`:                               `"plain"`,
		`"$${x}"`:                               `"${x}"`,
		`"${inputs.n}"`:                         `1`,
		`"n=${inputs.n}"`:                       `"n=1"`,
		`"${inputs.n + 1}"`:                     `2`,
		`"${double(inputs.n) * steps.a.ratio}"`: `0.5`,
		`{"b":["${steps.a.rows}","x"],"a":"<${vars.env}>"}`:           `{"b":[12,"x"],"a":"<prod>"}`,
		`"${steps.a[\"my-name\"]}"`:                                   `"odd"`,
		`"${steps.a.pic}"`:                                            `{"$file":"sha256:ff","size":3,"name":"a.svg","type":"image/svg+xml"}`,
		`"${[steps.a.pic]}"`:                                          `[{"$file":"sha256:ff","name":"a.svg","size":3,"type":"image/svg+xml"}]`,
		`"${steps.a.pic.digest + steps.a.pic.name}"`:                  `"sha256:ffa.svg"`,
		`"${steps.each.map(c, c.svg)}"`:                               `["p0","p1"]`,
		`"${steps.each}"`:                                             `[{"svg":"p0"},{"svg":"p1"}]`,
		`"${steps.s.?x.orValue(\"none\")}"`:                           `"none"`,
		`"${has(steps.s.x)}"`:                                         `false`,
		`"${steps.a.list.join(\"-\")}"`:                               `"x-y"`,
		`"${trigger.body.k[1]}"`:                                      `2.5`,
		`"${run.workflow + \" \" + string(run.revision)}"`:            `"w 3"`,
		`"${{\"a\": {\"b\": 1}}}"`:                                    `{"a":{"b":1}}`,
		`"Bearer ${secrets.token}"`:                                   `"Bearer s3cret"`,
		`"${secrets.token}"`:                                          `"s3cret"`,
		`"${inputs.pw}"`:                                              `"open"`,
		`"pw ${inputs.pw}"`:                                           `"pw open"`,
		`"${failed()}"`:                                               `true`,
		`"${sets.contains([1, 2], [1])}"`:                             `true`,
		`"${skipped(\"s\")}"`:                                         `true`,
		`"${skipped(\"a\")}"`:                                         `false`,
		`"${math.greatest(1, 3)}"`:                                    `3`,
		`"${base64.encode(b\"hi\")}"`:                                 `"aGk="`,
		`"${timestamp(\"2026-01-02T03:04:05Z\") + duration(\"1h\")}"`: `"2026-01-02T04:04:05.000Z"`,
		`"${steps.a.big}"`:                                            `{"$ref":"sha256:aa","size":70000}`,
		`"${size(steps.a.big)}"`:                                      `load sha256:aa`,
	} {
		v, err := result(t, written)
		require.Nil(t, err, "%s: %v", written, err)
		require.Equal(t, want, string(v), written)
	}
}

func TestFailures(t *testing.T) {
	for written, want := range map[string]string{
		`"${inputs.n + 1.5}"`:   "an integer and a float do not mix, write double(x)",
		`"${steps.s.out + 1}"`:  "a step that was skipped has no outputs",
		`"${steps.a.rows / 0}"`: "division by zero",
		`"${1.0 / 0.0}"`:        "JSON cannot hold",
		`"${secrets.nope}"`:     "the secret nope is not set",
		`"${[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, [1,2,3,4,5,6,7,8,9,10].map(e, [1,2,3,4,5,6,7,8,9,10].map(f, [1,2,3,4,5,6,7,8,9,10].map(g, a)))))))}"`: "it takes too long",
	} {
		v, err := result(t, written)
		require.NotNil(t, err, "%s gave %s", written, v)
		require.Contains(t, err.Message, want, written)
	}
}

func TestCompile(t *testing.T) {
	c := cel.New()
	for text, want := range map[string]string{
		"":                  "empty",
		"inputs.":           "column",
		"foo.bar":           "column 1: undeclared reference to 'foo'; expressions know inputs, steps",
		"skipped(inputs.x)": `skipped wants the id of a step in quotes`,
		"nope(1)":           "undeclared reference to 'nope'",
	} {
		_, err := c.Text(text, domain.Env{})
		require.ErrorContains(t, err, want, text)
	}
	_, err := c.Value(json.RawMessage(`"${a"`), domain.Env{})
	require.ErrorContains(t, err, "not closed")

	e, err := c.Text(`always() && steps.a.x > 1 && has(steps["b"].y) && inputs.z == steps.?c.?v.orValue(1) && [1].all(steps, steps > 0)`, domain.Env{})
	require.NoError(t, err)
	require.True(t, e.Tolerant())
	require.ElementsMatch(t, []string{"a", "b", "c"}, e.Steps())
	require.Equal(t, []string{"z"}, e.Inputs())
	require.False(t, e.Tainted())
	e, err = c.Value(json.RawMessage(`{"a":["x ${secrets.t}"]}`), domain.Env{})
	require.NoError(t, err)
	require.True(t, e.Tainted())

	for text, want := range map[string]domain.Ref{
		"inputs.x": {Root: "inputs", Name: "x"}, "steps.a": {Root: "steps", Step: "a"}, "steps.a.b": {Root: "steps", Step: "a", Name: "b"},
		"it": {Root: "it"}, "${vars.v}": {Root: "vars", Name: "v"}, "trigger": {Root: "trigger"}, `steps.a["b-c"]`: {Root: "steps", Step: "a", Name: "b-c"},
	} {
		e, err := c.Text(text, domain.Env{Item: "it"})
		require.NoError(t, err)
		r, ok := e.Ref()
		require.True(t, ok, text)
		require.Equal(t, want, r)
	}
	for _, text := range []string{"inputs.x.y", "it.a", "has(inputs.x)", "secrets.x", "run.id", "steps.a.b[0]", "trigger.x", `steps["a"]`} {
		e, err := c.Text(text, domain.Env{Item: "it"})
		require.NoError(t, err)
		_, ok := e.Ref()
		require.False(t, ok, text)
	}
	e, err = c.Value(json.RawMessage(`"${event.query.city}"`), domain.Env{Event: true})
	require.NoError(t, err)
	v, err := e.Eval(domain.EventScope(domain.Value(`{"query":{"city":"Oslo"}}`), nil, nil))
	require.NoError(t, err)
	require.Equal(t, `"Oslo"`, string(v))
}
