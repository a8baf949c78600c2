package expr_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/expr"
)

func TestLoopIsAName(t *testing.T) {
	for text, want := range map[string]string{
		`loop.index > 0 ? loop.last.x : 1`:     `lo_p.index > 0 ? lo_p.last.x : 1`,
		`"loop" + 'loop' + """a "loop" b"""`:   `"loop" + 'loop' + """a "loop" b"""`,
		`"a\"loop" + loop`:                     `"a\"loop" + lo_p`,
		`r"a\" + loop`:                         `r"a\" + lo_p`,
		`steps.loop.x + steps.?loop + loops.x`: `steps.loop.x + steps.?loop + loops.x`,
		`a ?loop.index:aloop`:                  `a ?lo_p.index:aloop`,
		`"loop`:                                `"loop`,
	} {
		require.Equal(t, want, expr.Source(text))
	}
}

func TestRefs(t *testing.T) {
	for text, want := range map[string][]expr.Ref{
		`loop.last.?done.orValue(false)`:                    {{Root: "loop", Name: "last", Sub: "done", Optional: true}},
		`errorOf("a").kind`:                                 {{Root: "steps", Step: "a", Optional: true}},
		`failed("a") || failed()`:                           {{Root: "steps", Step: "a", Optional: true}},
		`steps.a["b-c"].size`:                               {{Root: "steps", Step: "a", Name: "b-c", Sub: "size"}},
		`[1].map(x, x + inputs.n).exists(steps, steps > 1)`: {{Root: "inputs", Name: "n"}},
		`error.details.code`:                                {{Root: "error", Name: "details", Sub: "code"}},
	} {
		got, err := expr.Refs(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, want := range map[string]string{
		`skipped(inputs.x)`: `skipped wants the id of a step in quotes, as in skipped("x")`,
		`errorOf("")`:       `errorOf wants the id of a step in quotes`,
		`for + 1`:           "for",
		``:                  "it is empty",
	} {
		_, err := expr.Refs(text)
		require.ErrorContains(t, err, want, text)
	}
}
