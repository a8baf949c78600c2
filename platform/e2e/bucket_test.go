package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/miniotest"
)

// bucket is a new filestore in a bucket; below folder its objects lie by their keys.
func bucket(t *testing.T) (files harness.Files, folder string) {
	t.Helper()
	server := miniotest.Shared(t)
	name := server.Bucket(t)
	return harness.Files{URL: server.URL(name), Credentials: server.Credentials(t)}, server.Folder(name)
}

// TestBucket: sources, files, folders and large values go through a bucket and nothing through the home;
// while the store is away /readyz says so, steps that need it fail or wait, and all goes on when it is back.
func TestBucket(t *testing.T) {
	server := miniotest.New(t)
	name := server.Bucket(t)
	p := startOn(t, newHome(t), harness.Files{URL: server.URL(name), Credentials: server.Credentials(t)})
	code := `
import os

def handle(inputs):
    os.mkdir("made")
    with open("made/a.txt", "w") as f:
        f.write(inputs["text"])
    with open("one.txt", "w") as f:
        f.write(inputs["text"][:4])
    return {"folder": "made", "file": "one.txt", "text": inputs["text"] * 2}
`
	check := `
def handle(inputs):
    with open(inputs["folder"] + "/a.txt") as f, open(inputs["file"]) as g:
        return {"said": str(len(f.read())) + " " + g.read() + " " + str(len(inputs["text"]))}
`
	deploy(t, p, workspace(t, merge(
		python("actions/make", "[{name: text, type: string}]", "[{name: folder, type: directory}, {name: file, type: file}, {name: text, type: string}]", code),
		python("actions/check", "[{name: folder, type: directory}, {name: file, type: file}, {name: text, type: string}]", "[{name: said, type: string}]", check),
		map[string]string{"workflows/bucket.yaml": workflowYAML("bucket", `  inputs: [{name: text, type: string}]
  steps:
    - {id: make, uses: ./actions/make, with: {text: "${inputs.text}"}}
    - {id: check, uses: ./actions/check, with: {folder: "${steps.make.folder}", file: "${steps.make.file}", text: "${steps.make.text}"}}
  result: {said: "${steps.check.said}"}
`)})), "bucket")
	ctx := deadline(t, 3*time.Minute)
	run := func(size int, says string) {
		t.Helper()
		r, err := p.StartRun(ctx, "bucket", map[string]any{"text": strings.Repeat("x", size)})
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		require.JSONEq(t, says, string(r.Result["said"]))
	}
	run(100_000, `"100000 xxxx 200000"`)
	_, err := os.Stat(filepath.Join(p.Home, "files"))
	require.ErrorIs(t, err, os.ErrNotExist)
	sources, err := filepath.Glob(filepath.Join(server.Folder(name), "default", "source", "*", "*"))
	require.NoError(t, err)
	require.Len(t, sources, 2)

	waiting := func() string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/readyz", nil)
		require.NoError(t, err)
		resp, err := p.HTTP.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		var answer struct {
			For map[string]string `json:"waiting_for"`
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
		return answer.For["runner"]
	}
	p.StopKills()
	server.Kill()
	require.NoError(t, harness.Until(ctx, "readyz says that the store is away", func() (bool, error) {
		return strings.Contains(waiting(), "the store at "+server.Addr+" cannot be reached"), nil
	}))
	require.NoError(t, server.Restart(context.WithoutCancel(ctx)))
	require.NoError(t, harness.Until(ctx, "it is ready again", func() (bool, error) { return waiting() == "", nil }))
	run(90_000, `"90000 xxxx 180000"`)
}
