package expr_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/expr"
)

func TestRefs(t *testing.T) {
	for text, want := range map[string][]expr.Ref{
		`pass.last.?done.orValue(false)`:                    {{Root: "pass", Name: "last", Sub: "done", Optional: true}},
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
