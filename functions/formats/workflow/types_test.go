package workflow_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/problem"
	"github.com/pelton-run/pelton/functions/formats/workflow"
)

var every = action.Action{ID: "every", Kind: "Processor",
	Inputs: []action.Item{
		{Name: "s", Type: "string", Optional: true}, {Name: "i", Type: "integer", Optional: true}, {Name: "f", Type: "float", Optional: true},
		{Name: "b", Type: "boolean", Optional: true}, {Name: "l", Type: "list", Optional: true}, {Name: "j", Type: "json", Optional: true},
		{Name: "file", Type: "file", Optional: true},
	},
	Outputs: []action.Item{
		{Name: "s", Type: "string"}, {Name: "i", Type: "integer"}, {Name: "f", Type: "float"}, {Name: "b", Type: "boolean"}, {Name: "l", Type: "list"},
		{Name: "j", Type: "json"}, {Name: "file", Type: "file"}, {Name: "odd-name", Type: "integer"},
	}}

// typed checks one line of a second step against the outputs of a first one, a.
func typed(line string) []string {
	yaml := head + "  steps:\n    - {id: a, uses: every}\n    - {id: m, uses: every, if: steps.a.b}\n    - {id: x, uses: every, " + line + "}\n"
	w, problems := workflow.Parse("w.yaml", []byte(yaml))
	if !problems.Errors() {
		problems = append(problems, w.CheckUses("w.yaml", func(string) (action.Action, error) { return every, nil }, nil)...)
	}
	var out problem.List
	for _, p := range problems {
		p.File, p.Line, p.Column, p.Path = "", 0, 0, ""
		out = append(out, p)
	}
	return texts(out)
}

func TestTypesThatFit(t *testing.T) {
	for _, line := range []string{
		`with: {i: "${steps.a.i + 1}"}`, `with: {f: "${steps.a.i}"}`, `with: {f: "${double(steps.a.i) * steps.a.f}"}`, `with: {s: "${string(steps.a.i)}"}`,
		`with: {s: "n=${steps.a.i}"}`, `with: {b: "${steps.a.i > 3 && steps.a.s != \"\"}"}`, `with: {l: "${steps.a.l.map(x, x)}"}`, `with: {l: "${[1, 2]}"}`,
		`with: {l: ["${steps.a.i}", 2]}`, `with: {j: {a: "${steps.a.file}"}}`, `with: {file: "${steps.a.file}"}`, `with: {s: "${steps.a.file.name}"}`,
		`with: {i: "${steps.a.file.size}"}`, `with: {i: "${steps.a[\"odd-name\"] + 1}"}`, `with: {i: "${steps.a.j.deep.inside}"}`, `with: {i: "${vars.x}"}`,
		`with: {s: "${steps.a.?s.orValue(\"none\")}"}`, `with: {s: "${has(steps.a.s) ? steps.a.s : \"\"}"}`, `with: {s: "${secrets.token}"}`,
		`if: steps.a.b`, `if: "steps.a.i > 0"`, `if: "failed() || skipped(\"a\")"`, `if: "steps.a.j.ready"`,
		`forEach: {in: "${steps.a.l}", as: it}, with: {i: "${it}"}`, `forEach: {in: "${[1, 2]}", as: it}, with: {i: "${it + 1}"}`,
		`if: always(), with: {s: "${steps.m.?s.orValue(\"\")}"}`, `if: always(), with: {s: "${has(steps.m.s) ? steps.m.s : \"\"}"}`,
		`if: always(), with: {s: "${steps.a.s}"}`, `with: {s: "${steps.m.s}"}`, `with: {s: "${timestamp(\"2026-01-02T03:04:05Z\")}"}`,
	} {
		require.Empty(t, typed(line), line)
	}
}

func TestTypesThatDoNot(t *testing.T) {
	for line, want := range map[string]string{
		`with: {i: "${steps.a.f + 1.0}"}`:                           `steps.a.f + 1.0 is a float and the input "i" is an integer (write int(…) around it)`,
		`with: {f: "${steps.a.i + 1.5}"}`:                           `steps.a.i + 1.5: an integer and a float do not mix in + (write double(x) around the integer)`,
		`with: {s: "${steps.a.i + 1}"}`:                             `steps.a.i + 1 is an integer and the input "s" is a string (write string(…) around it)`,
		`with: {s: "${steps.a.s + steps.a.i}"}`:                     `steps.a.s + steps.a.i: + cannot be applied to (string, integer) (write string(x) around what is no string)`,
		`with: {b: "${steps.a.i}"}`:                                 `steps.a.i is an integer and the input "b" is a boolean (compare it, as in x > 0)`,
		`with: {b: "${steps.a.i && true}"}`:                         `steps.a.i && true: a boolean is wanted here, this is an integer (a condition is a boolean: compare, as in x > 0 or x != "")`,
		`with: {l: "n=${steps.a.i}"}`:                               `this is a string and the input "l" is a list (give a list)`,
		`with: {i: ["${steps.a.i}"]}`:                               `this is a list and the input "i" is an integer (give an integer)`,
		`with: {file: "${steps.a.file.name}"}`:                      `steps.a.file.name is a string and the input "file" is a file (give a file)`,
		`with: {s: "${steps.a.file}"}`:                              `steps.a.file is a file and the input "s" is a string (give a string)`,
		`with: {s: "${steps.a.file.nme}"}`:                          `steps.a.file.nme: there is no field "nme" here (did you mean .name?)`,
		`with: {s: "${steps.a.file.owner}"}`:                        `steps.a.file.owner: there is no field "owner" here (a file offers .digest .name .size .type)`,
		`with: {s: "${steps.a.?s}"}`:                                `steps.a.?s is a value that may be missing and the input "s" is a string (say what stands in for it: x.orValue(…))`,
		`with: {j: {a: "${steps.a.i + \"x\"}"}}`:                    `steps.a.i + "x": + cannot be applied to (integer, string) (write string(x) around what is no string)`,
		`if: steps.a.i`:                                             `if wants a condition, this is an integer (compare it, as in x > 0)`,
		`if: "steps.a.s == 3"`:                                      `steps.a.s == 3: == cannot be applied to (string, integer)`,
		`forEach: {in: "${steps.a.i}", as: it}, with: {i: "${it}"}`: `forEach.in wants a list, this is an integer (give a list, such as steps.a.items)`,
		`forEach: {in: "${[\"a\"]}", as: it}, with: {i: "${it}"}`:   `it is a string and the input "i" is an integer (write int(…) around it)`,
		`if: always(), with: {s: "${steps.m.s}"}`:                   `step x runs even when step m is skipped, and m then has no output "s" (write steps.m.?s.orValue(…))`,
		`if: "always() && steps.m.i > 1"`:                           `step x runs even when step m is skipped, and m then has no output "i" (write steps.m.?i.orValue(…))`,
	} {
		got := typed(line)
		require.Len(t, got, 1, "%s: %v", line, got)
		require.Contains(t, got[0], want, line)
	}
}

func TestSourceSettings(t *testing.T) {
	source := action.Action{ID: "src", Kind: "Source", Inputs: every.Inputs}
	look := func(with string) []string {
		yaml := head + "  triggers: [{id: s, uses: src, with: {" + with + "}}]\n  steps:\n    - {id: a, uses: every}\n"
		w, problems := workflow.Parse("w.yaml", []byte(yaml))
		if !problems.Errors() {
			problems = append(problems, w.CheckUses("w.yaml", func(uses string) (action.Action, error) {
				if uses == "src" {
					return source, nil
				}
				return every, nil
			}, nil)...)
		}
		return texts(problems)
	}
	require.Empty(t, look(`s: "x ${vars.x}", i: "${vars.n}", l: [1, "${secrets.t}"], b: true`))
	for with, want := range map[string]string{
		`s: "${inputs.city}"`:    "a source starts before any run: its settings may read vars and secrets, and not inputs",
		`s: "${steps.a.s}"`:      "and not steps",
		`i: "n ${vars.n}"`:       `this is a string and the input "i" is an integer`,
		`i: "${vars.n + \"x\"}"`: "",
		`i: "x"`:                 "integer",
		`s: "${vars.}"`:          "is not valid",
		`s: "${vars.x"`:          "close every ${ with }",
	} {
		got := look(with)
		if want == "" {
			continue // what a variable holds is known at run time only
		}
		require.Len(t, got, 1, "%s: %v", with, got)
		require.Contains(t, got[0], want, with)
	}
}
