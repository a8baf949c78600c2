package wftest_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/wftest"
)

const head = "apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: report\n"

func TestParse(t *testing.T) {
	test, problems := wftest.Parse("tests/late.yaml", []byte(head+`title: Late
now: 2026-12-01T09:00:00+01:00
inputs: {data: ./a.csv, n: 3, list: [./b.csv, ./a.csv]}
variables: {region: eu}
secrets: {TOKEN: made-up}
stubs:
  chart:
    - {error: {kind: timeout, message: late}, delay: 1h}
    - {item: [1, 2], outputs: {svg: ./c.svg}}
    - {item: 0, outputs: [{n: 1}, {n: 2}]}
  paid: [{signal: {payload: {ok: true}}, delay: 2d}]
  ok: [{decision: {approved: true, by: ada, values: {n: 1}}}]
  other/step: [{outputs: {}}]
  book.undo: [{signal: {}}]
  never: []
expect:
  status: failed
  error: {kind: rejected, message: {matches: "^no"}}
  result: {report: exists, same: ./d.txt}
  steps: {chart: {status: completed, attempts: 2, items: 3, outputs: [{svg: exists}]}}
check: ["steps.chart.size() == 3"]
`))
	require.Empty(t, problems)
	require.Equal(t, "late", test.Name)
	require.Equal(t, wftest.Text{Place: wftest.Place{Line: 3, Column: 11}, Text: "report"}, test.Workflow)
	require.True(t, time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC).Equal(test.Now))
	require.Equal(t, map[string]string{"TOKEN": "made-up"}, test.Secrets)
	require.Equal(t, []string{"./a.csv", "./b.csv", "./c.svg", "./d.txt"}, test.Paths())
	require.Len(t, test.Stubs, 6)
	chart := test.Stubs[0].Answers
	require.Equal(t, &wftest.Error{Kind: "timeout", Message: "late"}, chart[0].Error)
	require.Equal(t, time.Hour, chart[0].Delay)
	require.Equal(t, []int{1, 2}, chart[1].Item)
	require.JSONEq(t, `[{"n":1},{"n":2}]`, string(chart[2].Outputs))
	require.JSONEq(t, `{"ok":true}`, string(test.Stubs[1].Answers[0].Signal))
	require.Equal(t, "ada", test.Stubs[2].Answers[0].Decision.By)
	require.JSONEq(t, `null`, string(test.Stubs[4].Answers[0].Signal))
	require.Empty(t, test.Stubs[5].Answers)
	require.Equal(t, 2, test.Expect.Steps[0].Attempts.N)
	require.Equal(t, wftest.Place{Line: 20, Column: 11}, test.Expect.Status.Place)
}

// TestProblems: all at once, each with its place and what would be right.
func TestProblems(t *testing.T) {
	_, problems := wftest.Parse("t.yaml", []byte(`apiVersion: pelton.dev/v1
kind: WorkflowTest
workflow: My Flow
now: tomorrow
inputs: [1]
variables: {1a: 2}
secrets: {T: 3}
stubs:
  A: [{outputs: {}}]
  b: [{outputs: 3}]
  c: [{}]
  d: [{outputs: {}, error: {kind: k}}]
  e: [{error: {}}]
  f: [{decision: {}}]
  g: [{outputs: {}, delay: soon, itm: 1}]
  h: {outputs: {}}
expect:
  status: done
  error: {knd: x}
  result: {a: {matches: "("}}
  steps: {a: {attempts: many}, w/b: {}}
check: ["steps..a"]
exspect: {}
`))
	var told []string
	for _, p := range problems {
		told = append(told, p.Error())
	}
	require.Equal(t, []string{
		`t.yaml:3: workflow: is "My Flow" (give the name of a workflow: 1 to 63 of a-z, 0-9 and -)`,
		`t.yaml:4: now: is "tomorrow" (give a time with its zone, such as 2026-12-01T09:00:00Z)`,
		`t.yaml:5: inputs: is no mapping (write fields, one a line: name: value)`,
		`t.yaml:6: variables.1a: "1a" cannot be a name here (use letters, digits and _, starting with a letter)`,
		`t.yaml:7: secrets.T: is no text (give a made-up text in quotes: tests never see the project's secrets)`,
		`t.yaml:9: stubs.A: "A" names no step (give the id of a step, or WORKFLOW/STEP for a step of a sub-workflow)`,
		`t.yaml:10: stubs.b[0].outputs: is no mapping (give the outputs by name: outputs: {rows: 3}, or a list of such for a list result)`,
		`t.yaml:11: stubs.c[0]: has 0 answers (give exactly one of outputs, error, signal and decision)`,
		`t.yaml:12: stubs.d[0]: has 2 answers (give exactly one of outputs, error, signal and decision)`,
		`t.yaml:13: stubs.e[0].error: kind is missing (say what kind of error: kind: user_error)`,
		`t.yaml:14: stubs.f[0].decision: approved is missing (say approved: true or false)`,
		`t.yaml:15: stubs.g[0].delay: is "soon" (give a duration such as 500ms, 30s, 5m, 2h or 1d)`,
		`t.yaml:15: stubs.g[0].itm: is no field here (did you mean item?)`,
		`t.yaml:16: stubs.h: is no list (write a list: one element a line behind -)`,
		`t.yaml:18: expect.status: is "done" (give one of completed, failed, cancelled)`,
		`t.yaml:20: expect.result.a: matches: error parsing regexp: missing closing ): ` + "`(`" + ` (give a regular expression as Go and RE2 know them)`,
		`t.yaml:19: expect.error.knd: an error has no "knd" (give kind, message, code, field, step)`,
		`t.yaml:21: expect.steps.a.attempts: is "many" (give a whole number from 0 to 2147483647)`,
		`t.yaml:21: expect.steps.w/b: "w/b" names no step (give the id of a step of this workflow)`,
		`t.yaml:22: check[0]: the expression "steps..a" is not valid: no viable alternative at input '..' at column 7 (give an expression without ${}, such as steps.a.n == 3)`,
		`t.yaml:23: exspect: is no field here (did you mean expect?)`,
	}, told)
	_, problems = wftest.Parse("t.yaml", []byte(head))
	require.Equal(t, "nothing is expected", problems[0].Message)
	_, problems = wftest.Parse("t.yaml", []byte("apiVersion: pelton.dev/v1\nkind: Workflow\nexpect: {}"))
	require.Len(t, problems, 2, "kind and workflow: %v", problems)
}

func TestMatch(t *testing.T) {
	m := wftest.Matcher{
		Files: map[string]json.RawMessage{"./a.txt": json.RawMessage(`{"$file":"sha256:a"}`)},
		Read: func(f map[string]any) ([]byte, error) {
			if f["$file"] == "sha256:big" {
				return nil, errors.New("it is too large")
			}
			return []byte("first\ncontent of " + f["$file"].(string)), nil
		},
	}
	for _, c := range []struct {
		want, got string
		diff      []wftest.Difference
	}{
		{`3`, `3.0`, nil},
		{`"exists"`, `false`, nil},
		{`"exists"`, `null`, []wftest.Difference{{Path: "v", Expected: "a value", Got: "null"}}},
		{`"exists"`, ``, []wftest.Difference{{Path: "v", Expected: "a value", Got: "nothing"}}},
		{`null`, ``, nil},
		{`{"a":1}`, `{"a":1,"b":2}`, nil},
		{`{"a":{"b":1}}`, `{"a":{}}`, []wftest.Difference{{Path: "v.a.b", Expected: "1", Got: "nothing"}}},
		{`[1,{"matches":"^x"}]`, `[1,"xy"]`, nil},
		{`[1]`, `[1,2]`, []wftest.Difference{{Path: "v", Expected: "a list of 1: [1]", Got: "a list of 2: [1,2]"}}},
		{`[1,"a"]`, `[1,"b"]`, []wftest.Difference{{Path: "v[1]", Expected: `"a"`, Got: `"b"`}}},
		{`{"matches":"^x"}`, `"y"`, []wftest.Difference{{Path: "v", Expected: "a text that matches ^x", Got: `"y"`}}},
		{`{"matches":"content"}`, `{"$file":"sha256:a"}`, nil},
		{`{"matches":"none"}`, `{"$file":"sha256:a"}`, []wftest.Difference{{Path: "v", Expected: "a file that matches none", Got: `"first\ncontent of sha256:a"`}}},
		{`{"matches":"x"}`, `{"$file":"sha256:big"}`, []wftest.Difference{{Path: "v", Expected: "a file that matches x", Got: "it is too large"}}},
		{`{"name":"r","digest":"sha256:a"}`, `{"$file":"sha256:a","name":"r"}`, nil},
		{`"./a.txt"`, `{"$file":"sha256:a"}`, nil},
		{`"./a.txt"`, `"./a.txt"`, nil},
		{`"./a.txt"`, `{"$file":"sha256:b"}`, []wftest.Difference{{Path: "v", Expected: `line 2: "content of sha256:a"`, Got: `line 2: "content of sha256:b"`}}},
		{`"./no.txt"`, `{"$file":"sha256:b"}`, []wftest.Difference{{Path: "v", Expected: "the file ./no.txt", Got: "there is no such file beside the test"}}},
		{`{"a":1}`, `[]`, []wftest.Difference{{Path: "v", Expected: `{"a":1}`, Got: `[]`}}},
	} {
		got := json.RawMessage(c.got)
		if c.got == "" {
			got = nil
		}
		require.Equal(t, c.diff, m.Match("v", json.RawMessage(c.want), got), "%s against %s", c.want, c.got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(head + "stubs: {a: [{outputs: {x: 1}}]}\nexpect: {result: {a: {matches: x}}}\ncheck: [a]")
	f.Add("a: &a [*a]")
	f.Fuzz(func(_ *testing.T, text string) {
		test, _ := wftest.Parse("t.yaml", []byte(text))
		test.Paths()
	})
}
