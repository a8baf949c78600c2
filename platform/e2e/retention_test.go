package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestRetention: ended runs go once they are older than their workflow, their project or the server
// keeps them, and when somebody deletes them; the answers say why. What has not ended stays, and so
// does what it has started.
func TestRetention(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	write(t, settings, "runner: {retention: {runs: 1h, every: 1s}}\n")
	p := start(t, "--config", settings)
	dir := workspace(t, merge(python("actions/add", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    print('adding')\n    return {'n': inputs['n'] + 1}\n"),
		map[string]string{
			"workflows/short.yaml": workflowYAML("short", "  retention: 2s\n  inputs: [{name: n, type: integer}]\n  steps: [{id: add, uses: ./actions/add, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.add.n}\"}\n"),
			"workflows/long.yaml":  workflowYAML("long", "  inputs: [{name: n, type: integer}]\n  steps: [{id: add, uses: ./actions/add, with: {n: \"${inputs.n}\"}}]\n"),
			"workflows/outer.yaml": workflowYAML("outer", "  steps:\n    - {id: inner, workflow: short, with: {n: 1}}\n    - {id: ok, wait: {signal: ok}, needs: [inner]}\n  result: {n: \"${steps.inner.n}\"}\n"),
		}))
	deploy(t, p, dir, "outer")
	a := newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	ctx := deadline(t, 3*time.Minute)
	for _, w := range []string{"short", "long"} {
		require.NoError(t, p.WaitLive(ctx, w))
	}
	id := func(args ...string) string {
		return strings.TrimSpace(a.ok(append([]string{"run", "start"}, append(args, "-o", "name")...)...))
	}
	outer := id("outer")
	list := func(workflow string) []string {
		return strings.Fields(a.ok("run", "list", "--workflow", workflow, "-o", "name"))
	}
	var inner string
	require.NoError(t, harness.Until(ctx, "the inner run has ended", func() (bool, error) {
		ended := strings.Fields(a.ok("run", "list", "--workflow", "short", "--state", "completed", "-o", "name"))
		if len(ended) == 1 {
			inner = ended[0]
		}
		return len(ended) == 1, nil
	}))
	long, short := id("long", "-i", "n=1", "--wait"), id("short", "-i", "n=1", "--wait")
	long, short = strings.Fields(long)[0], strings.Fields(short)[0]

	require.NoError(t, harness.Until(ctx, "the short run is removed", func() (bool, error) {
		code, _, _ := a.pelton("", "run", "show", short)
		return code == 5, nil
	}))
	_, _, errs := a.pelton("", "run", "show", short)
	require.Contains(t, errs, "ended runs are kept for 1h here, those of short for 2s")
	_, _, errs = a.pelton("", "run", "logs", short)
	require.Contains(t, errs, "ended runs are kept for 1h here")
	require.Equal(t, []string{inner}, list("short"), "what a run under way has started is kept")
	code, _, errs := a.pelton("", "run", "delete", inner, "--yes")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "run "+outer+", which started it, has not ended")
	code, _, errs = a.pelton("", "run", "delete", outer, "--yes")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "has not ended: cancel it first, or wait")

	p.Kill()
	require.NoError(t, p.Restart(ctx, "--config", settings))
	a = newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token) // on another port
	a.ok("run", "signal", outer, "ok")
	r, err := p.WaitRun(ctx, outer)
	require.NoError(t, err)
	require.Equal(t, "2", string(r.Result["n"]), "the inner run was not started again")
	require.NoError(t, harness.Until(ctx, "the inner run is removed", func() (bool, error) { return len(list("short")) == 0, nil }))

	require.Regexp(t, `server\s+1h0m0s\nproject default\s+as the server\nworkflow short\s+2s\n`, a.ok("project", "retention"))
	code, _, errs = a.pelton("", "project", "retention", "2h")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the server keeps runs for 1h")
	code, _, errs = a.pelton("", "project", "retention", "soon")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "soon is no duration: write 30d, 12h, or default")
	require.Equal(t, []string{long}, list("long"))
	a.ok("project", "retention", "1s")
	require.NoError(t, harness.Until(ctx, "the project keeps nothing for long", func() (bool, error) { return len(list("long"))+len(list("outer")) == 0, nil }))
	require.Regexp(t, `project default\s+as the server`, a.ok("project", "retention", "default"))

	long = strings.Fields(id("long", "-i", "n=1", "--wait"))[0]
	code, _, _ = a.pelton("", "run", "delete", long) // nobody can be asked here
	require.Equal(t, 2, code)
	require.Equal(t, "run "+long+" is deleted\n", a.ok("run", "delete", long, "--yes"))
	code, _, _ = a.pelton("", "run", "delete", long, "--yes")
	require.Equal(t, 5, code)
	for range 3 {
		id("long", "-i", "n=1", "--wait")
	}
	require.Contains(t, a.ok("run", "bulk", "delete", "--workflow", "long", "--plan"), "3 runs would be ordered to delete")
	a.ok("run", "bulk", "delete", "--workflow", "long", "--yes")
	require.NoError(t, harness.Until(ctx, "all are deleted", func() (bool, error) { return len(list("long")) == 0, nil }))

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/metrics", nil)
	require.NoError(t, err)
	resp, err := p.HTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`(?m)^pelton_retention_runs_removed_total [1-9]`), string(text))
	require.Regexp(t, regexp.MustCompile(`(?m)^pelton_retention_sweep_seconds_count [1-9]`), string(text))
}

// TestFilesAreCollected: what runs made and were given goes with the last run that mentions it, also
// out of a large value; what others mention stays, and so does what was just uploaded.
func TestFilesAreCollected(t *testing.T) {
	home := newHome(t)
	filesAreCollected(t, home, harness.Files{}, filepath.Join(home, "files"))
}

// TestFilesAreCollectedInBucket: the same in a bucket, where no lock keeps who puts and who removes apart.
func TestFilesAreCollectedInBucket(t *testing.T) {
	files, folder := bucket(t)
	filesAreCollected(t, newHome(t), files, folder)
}

func filesAreCollected(t *testing.T, home string, files harness.Files, folder string) {
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	write(t, settings, "runner: {retention: {files: 3s, every: 1s}}\n")
	p := startOn(t, home, files, "--config", settings)
	code := `
def handle(inputs):
    with open("out.txt", "w") as f:
        f.write("made of " + inputs["word"])
    with open(inputs["given"]) as f:
        return {"file": "out.txt", "long": [f.read()] * 20000}
`
	dir := workspace(t, merge(python("actions/make", "[{name: word, type: string}, {name: given, type: file}]", "[{name: file, type: file}, {name: long, type: list}]", code),
		map[string]string{"workflows/files.yaml": workflowYAML("files", `  inputs: [{name: word, type: string}, {name: given, type: file}]
  steps: [{id: make, uses: ./actions/make, with: {word: "${inputs.word}", given: "${inputs.given}"}}]
  result: {file: "${steps.make.file}"}
`)}))
	deploy(t, p, dir, "files")
	a := newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	ctx := deadline(t, 3*time.Minute)
	upload := filepath.Join(t.TempDir(), "given.txt")
	write(t, upload, "given")
	run := func(word string) (id, digest string) {
		id = strings.Fields(a.ok("run", "start", "files", "-i", "word="+word, "-i", "given=@"+upload, "-o", "name"))[0]
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		var file struct {
			File string `json:"$file"`
		}
		require.NoError(t, json.Unmarshal(r.Result["file"], &file), "%v", r)
		return id, file.File
	}
	get := func(digest string) (int, error) {
		resp, err := p.Do(ctx, http.MethodGet, "/runner/v1/projects/default/files/"+digest, "", nil)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	status := func(digest string) int {
		code, err := get(digest)
		require.NoError(t, err)
		return code
	}
	// gone may be asked while the file is being removed, which breaks the answer off.
	gone := func(digest string) func() (bool, error) {
		return func() (bool, error) {
			code, err := get(digest)
			return code == http.StatusNotFound, err
		}
	}
	blobs := func() int {
		found, err := filepath.Glob(filepath.Join(folder, "default", "sha256", "*", "*"))
		require.NoError(t, err)
		return len(found)
	}
	first, x := run("x")
	second, also := run("x")
	third, y := run("y")
	require.Equal(t, x, also)
	require.Equal(t, 4, blobs(), "what was given, the long value, x and y")
	a.ok("run", "delete", first, "--yes")
	a.ok("run", "delete", third, "--yes")
	require.NoError(t, harness.Until(ctx, "y has gone", gone(y)))
	require.Equal(t, http.StatusOK, status(x), "the second run mentions it")
	require.Equal(t, 3, blobs())
	p.Kill()
	require.NoError(t, p.Restart(ctx, "--config", settings))
	a = newAuthor(t, dir, "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)
	require.Equal(t, http.StatusOK, status(x))
	again := strings.Fields(a.ok("run", "again", second, "-i", "word=z", "--wait"))[1]
	a.ok("run", "delete", second, "--yes")
	require.NoError(t, harness.Until(ctx, "x has gone", gone(x)))
	require.Equal(t, 3, blobs(), "what was given, the long value and z")
	a.ok("run", "delete", again, "--yes")
	require.NoError(t, harness.Until(ctx, "all has gone", func() (bool, error) { return blobs() == 0, nil }))
}
