package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// TestBuildQueue: what is under way and what waits for it is told, a log is followed as it grows, and a build that
// somebody cancels ends at once and lets the next one begin.
func TestBuildQueue(t *testing.T) {
	if onCluster() {
		t.Skip("pods do not reach this test's package index; TestClusterCancel says the same of Jobs")
	}
	asked := make(chan string, 100)
	index := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
		<-r.Context().Done() // it never answers
	}))
	t.Cleanup(index.Close)
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	write(t, settings, "builder: {parallel: 1}\n")
	p := start(t, "--config", settings)
	hangs := func(name string) map[string]string {
		return merge(python("actions/"+name, "[]", "[]", "def handle(inputs):\n    return {}\n"),
			map[string]string{"actions/" + name + "/requirements.txt": name + " @ " + index.URL + "/" + name + "-1.0-py3-none-any.whl\n"})
	}
	require.NoError(t, p.AddFolder(deadline(t, patience()), "ws", workspace(t, merge(hangs("first"), hangs("second")))))
	a := newAuthor(t, t.TempDir(), "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	ids := func(state string) []string {
		return strings.Fields(a.ok("build", "list", "--state", state, "-o", "name"))
	}
	var under, waits string
	require.NoError(t, harness.Until(a.ctx, "one is under way and one waits", func() (bool, error) {
		building, queued := ids("building"), ids("queued")
		if len(building) != 1 || len(queued) != 1 {
			return false, fmt.Errorf("%v are under way, %v wait", building, queued)
		}
		under, waits = building[0], queued[0]
		return true, nil
	}))
	require.Contains(t, a.ok("build", "list"), "building")
	<-asked // it installs
	follow := a.command("build", "log", under, "--follow")
	var log lockedBuffer
	follow.Stdout, follow.Stderr = &log, &log
	require.NoError(t, follow.Start())
	require.NoError(t, harness.Until(a.ctx, "the log is followed", func() (bool, error) { return log.String() != "", nil }))
	require.Contains(t, a.ok("build", "cancel", under), "is cancelled")
	require.Error(t, follow.Wait())
	require.Equal(t, 1, follow.ProcessState.ExitCode())
	require.Contains(t, log.String(), "cancelled")
	require.NoError(t, harness.Until(a.ctx, "the next one begins", func() (bool, error) { return slices.Equal(ids("building"), []string{waits}), nil }))
	a.ok("build", "cancel", waits)
	code, _, said := a.pelton("", "build", "cancel", under)
	require.Equal(t, 1, code)
	require.Contains(t, said, "cancelled")
	require.Len(t, ids("cancelled"), 2)
	code, _, said = a.pelton("", "build", "list", "--state", "done")
	require.Equal(t, 2, code)
	require.Contains(t, said, "is none of [queued building succeeded failed cancelled]")
}

// lockedBuffer is what a program prints, read while it does.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
