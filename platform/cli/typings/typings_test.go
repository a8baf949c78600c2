package typings_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/templates"
	"github.com/pelton-run/pelton/platform/cli/typings"
)

var update = flag.Bool("update", false, "write the golden files anew")

func every(runtime string) action.Action {
	items := []action.Item{
		{Name: "text", Type: "longstring", Help: "What is read;\nends a comment */ not"},
		{Name: "word", Type: "string", Optional: true},
		{Name: "count", Type: "integer", Optional: true, Default: []byte("3")},
		{Name: "ratio", Type: "float"},
		{Name: "deep", Type: "boolean"},
		{Name: "mode", Type: "enum", EnumValues: []string{"fast", `"quoted"`, "é"}},
		{Name: "raw", Type: "bytes"},
		{Name: "any", Type: "json"},
		{Name: "all", Type: "list"},
		{Name: "data", Type: "file", Title: "The table"},
		{Name: "folder", Type: "directory"},
	}
	return action.Action{ID: "every", Runtime: runtime, Inputs: items, Outputs: items}
}

// TestGolden: the same metadata gives the same bytes, which are those of testdata.
func TestGolden(t *testing.T) {
	odd := action.Action{Runtime: "python3", Inputs: []action.Item{{Name: "my-name", Type: "string"}, {Name: "str", Type: "string"}}, Outputs: []action.Item{{Name: "class", Type: "string", Optional: true}}}
	oddNode := odd
	oddNode.Runtime = "nodejs"
	for file, a := range map[string]action.Action{
		"every.py": every("python3"), "every.d.ts": every("nodejs"), "every.go.txt": every("go"),
		"odd.py": odd, "odd.d.ts": oddNode,
		"none.py": {Runtime: "python3", DynamicOutputs: true}, "none.d.ts": {Runtime: "nodejs", DynamicOutputs: true},
	} {
		got, err := typings.Text(a)
		require.NoError(t, err)
		path := filepath.Join("testdata", file)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), got, "%s: run the test with -update", file)
	}
	_, err := typings.Text(action.Action{Runtime: "container"})
	require.ErrorContains(t, err, "the runtime container has no generated types")
}

// TestPythonReads: Python itself takes the files and resolves every annotation.
func TestPythonReads(t *testing.T) {
	const check = `
import importlib.util, sys, typing
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("pelton_types", path)
    m = importlib.util.module_from_spec(spec)
    sys.modules["pelton_types"] = m
    spec.loader.exec_module(m)
    for name in m.__all__:
        if isinstance(getattr(m, name), type):
            typing.get_type_hints(getattr(m, name))
    print(sorted(typing.get_type_hints(m.Inputs)))
`
	cmd := exec.CommandContext(t.Context(), "python3", "-I", "-B", "-c", check, "testdata/every.py", "testdata/odd.py", "testdata/none.py")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "['my-name', 'str']")
}

// TestWrite: written, unchanged, updated; an author's own file stays.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	a := every("python3")
	file := filepath.Join(dir, "pelton_types.py")
	require.False(t, typings.Generated(dir, a))
	for _, want := range []string{"written", "unchanged"} {
		got, state, err := typings.Write(dir, a)
		require.NoError(t, err)
		require.Equal(t, file, got)
		require.Equal(t, want, state)
		require.True(t, typings.Generated(dir, a))
	}
	a.Inputs = a.Inputs[:1]
	_, state, err := typings.Write(dir, a)
	require.NoError(t, err)
	require.Equal(t, "updated", state)

	require.NoError(t, os.WriteFile(file, []byte("mine = 1\n"), 0o644))
	require.False(t, typings.Generated(dir, a))
	_, _, err = typings.Write(dir, a)
	require.ErrorIs(t, err, typings.ErrOwn)
	require.ErrorContains(t, err, file+" is your own file")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine = 1\n", string(text))
}

// TestGoScaffold: what `action new` writes for Go is what is generated, of a processor and of a source.
func TestGoScaffold(t *testing.T) {
	processor, err := templates.Action("go", templates.Values{ID: "greet"})
	require.NoError(t, err)
	source, err := templates.Source("go", templates.Values{ID: "ticker"})
	require.NoError(t, err)
	for _, files := range [][]templates.File{processor, source} {
		dir := t.TempDir()
		for _, f := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, f.Path), f.Data, 0o644))
		}
		a, problems := action.Load(os.DirFS(dir), ".", "scaffold")
		require.Empty(t, problems)
		_, state, err := typings.Write(dir, a)
		require.NoError(t, err)
		require.Equal(t, "unchanged", state)
	}
}
