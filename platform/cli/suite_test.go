package cli_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTestRefuses: wrong calls, and actions whose tests cannot run. Tests that run are in platform/e2e.
func TestTestRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("empty", 0o755))
	for _, c := range []struct {
		args []string
		want result
	}{
		{[]string{"test", "a", "b"}, result{2, "", "pelton: \"b\" is one argument too many: pelton test [DIR] [flags]\n"}},
		{[]string{"test", "none"}, result{2, "", "pelton: none is no folder: name the folder of an action, or one above\n"}},
		{[]string{"test", "empty"}, result{2, "", "pelton: empty holds no action.yaml and no ryax_metadata.yaml: make an action with `pelton action new NAME`\n"}},
		{[]string{"test", "--run", "("}, result{2, "", "pelton: --run \"(\" is no regular expression: error parsing regexp: missing closing ): `(`\n"}},
		{[]string{"test", "--parallel", "-1"}, result{2, "", "pelton: --parallel -1 is negative\n"}},
	} {
		require.Equal(t, c.want, pelton(t, nil, "", c.args...), c.args)
	}
	require.Zero(t, pelton(t, nil, "", "action", "new", "one").code)
	require.Equal(t, result{1, "", "pelton: --run nothing matches no test in 1 action\n"}, pelton(t, nil, "", "test", "--run", "nothing"))

	put(t, "actions/one/action.yaml", "apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtim: python3}\n")
	put(t, "actions/two/action.yaml", "apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtime: python3}\n")
	put(t, "actions/two/handler.py", "def handle(inputs):\n    return {}\n")
	put(t, "tests/late.yaml", "apiVersion: pelton.dev/v1\nkind: WorkflowTest\nworkflow: flow\nnow: soon\nexpect: {}\n")
	put(t, "tests/other.yaml", "kind: Other\n")
	r := pelton(t, nil, "", "test", "--junit", "r.xml")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.out, "one      loads  error  0   one/action.yaml:3: spec: runtime is missing (give python3, nodejs, go or container)\n")
	require.Contains(t, r.err, "did you mean runtime?")
	require.Contains(t, r.err, "FAIL  flow: late\n      tests/late.yaml:4: now: is \"soon\" (give a time with its zone, such as 2026-12-01T09:00:00Z)\n")
	require.Contains(t, r.err, "pelton: 0 passed, 2 failed; without a test: 1 action\n")
	report, err := os.ReadFile("r.xml")
	require.NoError(t, err)
	require.Contains(t, string(report), `<testsuites tests="2" failures="0" errors="2" time="0.000">`)
	require.Contains(t, string(report), `<error message="one/action.yaml:3: spec: runtime is missing (give python3, nodejs, go or container)">`)

	require.Contains(t, string(report), `<testcase name="late" classname="flow" file="tests/late.yaml" time="0.000">`)

	require.NoError(t, os.RemoveAll("actions/one"))
	require.NoError(t, os.RemoveAll("tests"))
	r = pelton(t, nil, "", "test", "-o", "json")
	require.Zero(t, r.code, r.err)
	require.JSONEq(t, `{"items":[],"passed":0,"failed":0,"errors":0}`, r.out)
}
