package cli_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGen: every language's types, from the command; an author's own file is told and stays.
func TestGen(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, l := range []string{"python3", "nodejs", "go"} {
		require.Zero(t, pelton(t, nil, "", "action", "new", "my-"+l, "--lang", l).code)
	}
	r := pelton(t, nil, "", "action", "gen", ".")
	require.Equal(t, result{0, "actions/my-go/pelton_types.go: unchanged\nactions/my-nodejs/pelton_types.d.ts: written\nactions/my-python3/pelton_types.py: written\n", ""}, r)
	require.Equal(t, result{0, "3 checked, no errors\n", ""}, pelton(t, nil, "", "action", "check"))
	put(t, "actions/my-nodejs/pelton_types.d.ts", "export {};\n")
	r = pelton(t, nil, "", "action", "gen", ".", "-o", "json")
	require.Equal(t, 1, r.code)
	require.JSONEq(t, `{"items":[{"file":"actions/my-go/pelton_types.go","state":"unchanged"},{"file":"actions/my-python3/pelton_types.py","state":"unchanged"}]}`, r.out)
	require.Equal(t, "actions/my-nodejs/pelton_types.d.ts is your own file (its first line does not say that Pelton generated it): rename or delete it\npelton: 1 file not replaced\n", r.err)
	text, err := os.ReadFile("actions/my-nodejs/pelton_types.d.ts")
	require.NoError(t, err)
	require.Equal(t, "export {};\n", string(text))
	require.Equal(t, result{2, "", "pelton: none is no folder: name the folder of an action, or one above\n"}, pelton(t, nil, "", "action", "gen", "none"))
}
