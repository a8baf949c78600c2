// Package e2e holds the black-box tests: each starts a real platform from its binaries and uses
// it as a person or a program would, by command line and HTTP.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// start starts a platform that ends with the test.
func start(t *testing.T, args ...string) *harness.Platform {
	t.Helper()
	return startIn(t, newHome(t), args...)
}

// newHome is a folder for a platform, which removes it.
func newHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "pelton-e2e-") //nolint:usetesting // short, and reachable for other users
	require.NoError(t, err)
	return home
}

// startIn starts a platform in a home that ends with the test too.
func startIn(t *testing.T, home string, args ...string) *harness.Platform {
	t.Helper()
	return startOn(t, home, filestore(t), args...)
}

// filestore is the one that PELTON_E2E_FILES names.
func filestore(t *testing.T) harness.Files {
	t.Helper()
	switch kind := os.Getenv("PELTON_E2E_FILES"); kind {
	case "":
	case "s3":
		files, _ := bucket(t)
		return files
	default:
		t.Fatalf("PELTON_E2E_FILES: is %s: set it to s3, or leave it out", kind)
	}
	return harness.Files{}
}

// startOn starts a platform on a filestore.
func startOn(t *testing.T, home string, files harness.Files, args ...string) *harness.Platform {
	t.Helper()
	return startWith(t, harness.Options{Home: home, Args: args, Files: files, Split: backends(t)})
}

func startWith(t *testing.T, o harness.Options) *harness.Platform {
	t.Helper()
	require.NoError(t, os.Chmod(o.Home, 0o755))
	if onCluster() {
		var env []string
		env, o.Files = clusterEnv(t)
		o.Env = withDeployer(env, o.Env)
	}
	if o.Split != nil && os.Getenv("PELTON_E2E_KILLS") != "" && !o.Patient { // a patient one has its own
		o.Patient, o.Kills = true, func(err error) { t.Errorf("a service killed at random: %v", err) }
	}
	o.Violation = func(err error) { t.Errorf("the OpenAPI document differs: %v", err) }
	p, err := harness.Start(deadline(t, 2*time.Minute), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := p.Stop(); err != nil && !t.Failed() {
			t.Errorf("stop: %v\n%s", err, p.LogTail(20))
		}
		if o.Kills != nil {
			t.Logf("%d kills of services at random", p.Kills())
		}
		if t.Failed() {
			t.Logf("the end of the platform's log:\n%s", p.LogTail(60))
		}
		os.RemoveAll(o.Home)
	})
	return p
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// workspace writes files (path -> text) into a new folder that actions' users may read.
func workspace(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-work-") //nolint:usetesting // reachable for other users
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// deploy has the platform watch a workspace and waits until the workflows are live.
func deploy(t *testing.T, p *harness.Platform, dir string, workflows ...string) {
	t.Helper()
	ctx := deadline(t, patience())
	require.NoError(t, p.AddFolder(ctx, filepath.Base(dir), dir))
	for _, w := range workflows {
		require.NoError(t, p.WaitLive(ctx, w))
	}
}

// post calls an HTTP trigger as the administrator.
func post(t *testing.T, p *harness.Platform, path, contentType, body string) (int, http.Header, string) {
	t.Helper()
	resp, err := p.Do(deadline(t, time.Minute), http.MethodPost, "/user-api/default"+path, contentType, strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(bytes.TrimSpace(data))
}

// python is a Python action with inputs and outputs in YAML flow style.
func python(dir, inputs, outputs, handler string) map[string]string {
	return map[string]string{
		dir + "/action.yaml": "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: python3\n  inputs: " + inputs + "\n  outputs: " + outputs + "\n",
		dir + "/handler.py":  handler,
	}
}

func merge(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func workflowYAML(name, rest string) string {
	return fmt.Sprintf("apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: %s}\nspec:\n%s", name, rest)
}

// TestHello: the walking skeleton. An HTTP call runs a Python action durably and answers.
func TestHello(t *testing.T) {
	hello(t, start(t))
}

func hello(t *testing.T, p *harness.Platform) {
	t.Helper()
	deploy(t, p, filepath.Join(harness.Root(), "functions", "examples", "hello"), "hello")
	code, header, body := post(t, p, "/hello", "application/json", `{"name":"Ada"}`)
	require.Equal(t, http.StatusOK, code, body)
	require.Contains(t, body, "Ada")
	run, err := p.Run(t.Context(), header.Get("Pelton-Run"))
	require.NoError(t, err)
	require.Equal(t, "completed", run.State)
	require.Len(t, run.Steps, 1)
	require.Len(t, run.Steps[0].Attempts, 1)
}

// TestKilledInTheMiddle: SIGKILL while a step runs; after the restart the run completes, and the
// answer, the history and the schedule of steps are there.
func TestKilledInTheMiddle(t *testing.T) {
	m := newMarks(t)
	slow := markPython + "import time\n\n\ndef handle(inputs, ctx):\n" +
		"    mark(inputs['file'], f'{ctx.step} {ctx.attempt}')\n" +
		"    time.sleep(inputs['seconds'])\n    return {'file': inputs['file']}\n"
	p := start(t)
	deploy(t, p, workspace(t, merge(
		python("actions/slow", "[{name: file, type: string}, {name: seconds, type: float}]", "[{name: file, type: string}]", slow),
		map[string]string{"workflows/slow.yaml": workflowYAML("slow", `  inputs: [{name: file, type: string}]
  steps:
    - {id: a, uses: ./actions/slow, with: {file: "${inputs.file}", seconds: 0}}
    - {id: b, uses: ./actions/slow, with: {file: "${steps.a.file}", seconds: 1.5}}
    - {id: c, uses: ./actions/slow, with: {file: "${steps.b.file}", seconds: 0}}
  result: {file: "${steps.c.file}"}
`)})), "slow")
	ctx := deadline(t, time.Minute)
	run, err := p.StartRun(ctx, "slow", map[string]any{"file": m.where})
	require.NoError(t, err)
	require.NoError(t, harness.Until(ctx, "step b has started", func() (bool, error) {
		data, err := os.ReadFile(m.file)
		return bytes.Contains(data, []byte("b 1")), err
	}))
	p.Kill()
	require.NoError(t, p.Restart(ctx))
	run, err = p.WaitRun(ctx, run.ID)
	require.NoError(t, err)
	require.Equal(t, "completed", run.State)
	data, err := os.ReadFile(m.file)
	require.NoError(t, err)
	lines := strings.Fields(strings.ReplaceAll(string(data), " ", ":"))
	require.Equal(t, "a:1", lines[0], "a finished step never runs again")
	require.Equal(t, 1, strings.Count(string(data), "a "), "a finished step never runs again")
	require.Equal(t, 1, strings.Count(string(data), "c "))
}
