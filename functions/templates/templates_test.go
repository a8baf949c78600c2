package templates_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	"github.com/pelton-run/pelton/functions/templates"
)

func write(t *testing.T, files []templates.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, f.Data, 0o644))
	}
	return dir
}

// TestActionsPassTheScan: what is written is what a scan takes, for ids of every form.
func TestActionsPassTheScan(t *testing.T) {
	for _, language := range templates.Languages {
		for _, id := range []string{"greet", "my-first.action", "2nd"} {
			files, err := templates.Action(language, templates.Values{ID: id})
			require.NoError(t, err)
			a, problems := action.Load(os.DirFS(write(t, files)), ".", id)
			require.Empty(t, problems, language)
			require.Equal(t, id, a.ID)
			require.Equal(t, "1.0", a.Version)
			require.Equal(t, language, a.Runtime)
			require.Len(t, a.Tests, 2)
		}
	}
}

func TestSourcePassesTheScan(t *testing.T) {
	for _, language := range templates.Languages {
		files, err := templates.Source(language, templates.Values{ID: "ticker"})
		require.NoError(t, err)
		a, problems := action.Load(os.DirFS(write(t, files)), ".", "ticker")
		require.Empty(t, problems)
		require.Equal(t, "Source", a.Kind)
		require.Equal(t, language, a.Runtime)
		require.Equal(t, language != "go", a.Export == "run")
	}
}

func TestWorkflowPassesTheCheck(t *testing.T) {
	for _, id := range []string{"greet", "my-first.action", "2nd"} {
		v := templates.Values{ID: id, Uses: "./actions/" + id}
		text, err := templates.Workflow(v)
		require.NoError(t, err)
		w, problems := workflow.Parse("w.yaml", text)
		require.Empty(t, problems, string(text))
		problems = w.CheckUses("w.yaml", func(uses string) (action.Action, error) {
			require.Equal(t, v.Uses, uses)
			files, err := templates.Action("python3", v)
			if err != nil {
				return action.Action{}, err
			}
			a, _ := action.Load(os.DirFS(write(t, files)), ".", id)
			return a, nil
		}, nil)
		require.Empty(t, problems, string(text))
	}
}

// TestGoCompiles: the Go action and the Go source compile by themselves, so editors show no error.
func TestGoCompiles(t *testing.T) {
	for _, files := range [][]templates.File{goAction(t), goSource(t)} {
		vet(t, files)
	}
}

func goAction(t *testing.T) []templates.File {
	t.Helper()
	files, err := templates.Action("go", templates.Values{ID: "greet"})
	require.NoError(t, err)
	return files
}

func goSource(t *testing.T) []templates.File {
	t.Helper()
	files, err := templates.Source("go", templates.Values{ID: "ticker"})
	require.NoError(t, err)
	return files
}

func vet(t *testing.T, files []templates.File) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir = write(t, files)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
