package e2e

import (
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestBuildsWithDependencies: packages of the language's own index are installed, and the action
// runs with them; a forced build makes it anew beside runs, and takes nothing away from them.
func TestBuildsWithDependencies(t *testing.T) {
	p := start(t)
	t.Cleanup(func() { tellBuilds(t, p) })
	deploy(t, p, workspace(t, merge(
		python("actions/pypad", "[{name: text, type: string}]", "[{name: text, type: string}]", "import idna\n\n\ndef handle(inputs):\n    return {'text': idna.encode(inputs['text']).decode()}\n"),
		map[string]string{
			"actions/pypad/requirements.txt": "idna==3.10\n",
			"actions/jspad/action.yaml":      "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: nodejs\n  inputs: [{name: text, type: string}]\n  outputs: [{name: text, type: string}]\n",
			"actions/jspad/package.json":     `{"type": "module", "dependencies": {"left-pad": "1.3.0"}}`,
			"actions/jspad/handler.ts":       "import pad from 'left-pad'\n\nexport const handle = (i: {text: string}) => ({text: pad(i.text, 20, '.')})\n",
			"workflows/both.yaml":            workflowYAML("both", "  inputs: [{name: text, type: string}]\n  steps:\n    - {id: py, uses: ./actions/pypad, with: {text: \"${inputs.text}\"}}\n    - {id: js, uses: ./actions/jspad, with: {text: \"${steps.py.text}\"}}\n  result: {text: \"${steps.js.text}\"}\n"),
		})), "both")
	ctx := deadline(t, 3*time.Minute)
	run := func() {
		r, err := p.StartRun(ctx, "both", map[string]any{"text": "bücher.example"})
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.JSONEq(t, `"xn--bcher-kva.example"`, string(r.Result["text"]))
	}
	run()
	for _, action := range []string{"pypad", "jspad"} {
		b := order(ctx, t, p, map[string]any{"action": action, "force": true})
		require.Equal(t, "succeeded", b.State, b.Message)
		require.Contains(t, b.PhasesMS, "dependencies", "installed anew")
		run()
		again := order(ctx, t, p, map[string]any{"action": action})
		require.Equal(t, b.ID, again.ID, "it is built")
	}
	if os.Geteuid() != 0 || onCluster() {
		return // pods build as nobody, and leave images alone
	}
	// What builds left is the platform's: no user that builds or runs can change it.
	for _, dir := range []string{"bundles", "deps", "tools"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(p.Home, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			require.Zero(t, info.Sys().(*syscall.Stat_t).Uid, path)
			if info.Mode()&fs.ModeSymlink == 0 {
				require.Zero(t, info.Mode().Perm()&0o022, "%s: %s", path, info.Mode())
			}
			return nil
		}))
	}
}

// tellBuilds says how builds went, when the test has failed.
func tellBuilds(t *testing.T, p *harness.Platform) {
	var list struct{ Items []map[string]any }
	if !t.Failed() || p.JSON(context.WithoutCancel(t.Context()), http.MethodGet, "/repository/v1/projects/default/builds", nil, &list) != nil {
		return
	}
	for _, b := range list.Items {
		t.Logf("%s is %s: %s", b["path"], b["state"], b["message"])
	}
}

type builtJSON struct {
	ID, State, Message string
	PhasesMS           map[string]int64 `json:"phases_ms"`
}

// order asks for a build and waits until it has ended.
func order(ctx context.Context, t *testing.T, p *harness.Platform, in any) (b builtJSON) {
	t.Helper()
	const builds = "/repository/v1/projects/default/builds"
	require.NoError(t, p.JSON(ctx, http.MethodPost, builds, in, &b))
	require.NoError(t, harness.Until(ctx, "the build has ended", func() (bool, error) {
		err := p.JSON(ctx, http.MethodGet, builds+"/"+b.ID, nil, &b)
		return b.State != "queued" && b.State != "building", err
	}))
	return b
}
