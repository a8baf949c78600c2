package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const readHandler = `def handle(inputs, ctx):
    if inputs["n"] == 6:
        raise ValueError("cannot read " + str(len(inputs["token"])))
    return {"text": open(inputs["data"]).read()}
`

// TestRunDebug: the exact inputs of a failed attempt, its file and its secret, under the debugger; secrets by
// permission alone.
func TestRunDebug(t *testing.T) {
	p := start(t)
	ctx := t.Context()
	dir := workspace(t, merge(python("actions/read", "[{name: data, type: file}, {name: token, type: password}, {name: n, type: integer}]", "[{name: text, type: string}]", readHandler),
		map[string]string{"workflows/read.yaml": workflowYAML("read", `  inputs: [{name: data, type: file}]
  steps:
    - id: a
      uses: ./actions/read
      forEach: {in: "${[5, 6]}", as: item}
      with: {data: "${inputs.data}", token: "${secrets.TOKEN}", n: "${item}"}
`)}))
	deploy(t, p, dir, "read")
	require.NoError(t, p.JSON(ctx, "PUT", "/runner/v1/projects/default/secrets/TOKEN", map[string]string{"value": "correct-horse"}, nil))
	var file any
	require.NoError(t, p.JSON(ctx, "POST", "/runner/v1/projects/default/files?name=a.txt", "the file's content", &file))
	run, err := p.StartRun(ctx, "read", map[string]any{"data": file})
	require.NoError(t, err)
	run, err = p.WaitRun(ctx, run.ID)
	require.NoError(t, err)
	require.Equal(t, "failed", run.State)

	a := newAuthor(t, t.TempDir(), "PELTON_HOME="+p.Home)
	code, _, errs := a.pelton("", "run", "debug", run.ID, "a", "--item", "1")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "the inputs token hold secrets: give --secrets to read them from the server")
	code, _, errs = a.pelton("", "run", "debug", run.ID, "a", "--secrets")
	require.Equal(t, 5, code)
	require.Contains(t, errs, `the step a was not tried for the item ""; it was for ["0" "1"]`)
	require.NotContains(t, p.LogTail(100), "secret inputs")

	path := "/runner/v1/projects/default/runs/" + run.ID + "/steps/a/inputs?item=1"
	for role, want := range map[string]int{"operator": http.StatusForbidden, "developer": http.StatusOK} {
		var key struct{ Key string }
		require.NoError(t, p.JSON(ctx, "POST", "/authorization/v1/projects/default/keys", map[string]string{"name": role, "role": role}, &key))
		req, err := http.NewRequestWithContext(ctx, "GET", p.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+key.Key)
		resp, err := p.HTTP.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, role)
	}
	var shown struct {
		Inputs map[string]any
		Secret []string
	}
	require.NoError(t, p.JSON(ctx, "GET", path, nil, &shown))
	require.Equal(t, "•••", shown.Inputs["token"])
	require.Equal(t, []string{"token"}, shown.Secret)

	// The debugger: item 0 completes here as it did there.
	debug := func(item string, more ...string) (*printed, func() (int, string)) {
		args := append([]string{"run", "debug", run.ID, "a", "--item", item, "--secrets", "--yes"}, more...)
		return a.debugged(strings.NewReader("p inputs\nc\n"), args...)
	}
	if exec.CommandContext(ctx, "python3", "-c", "import debugpy").Run() == nil {
		told, _ := debug("0")
		told.until(`waits for a debugger at 127\.0\.0\.1:\d+$`)
		return
	}
	told, result := debug("0")
	told.until(`'token': 'correct-horse'`)
	code, out := result()
	require.Zero(t, code, told.all.String())
	require.Contains(t, out, "the file's content")
	told, result = debug("1")
	told.until(`'n': 6`)
	code, _ = result()
	require.Equal(t, 1, code)
	require.Contains(t, told.all.String(), "ValueError: cannot read 13")
	log := p.LogTail(100)
	require.Contains(t, log, "secret inputs of an attempt were read")
	require.Contains(t, log, "step=a")
	require.NotContains(t, log, "correct-horse")

	// A folder that is gone is told; another one can be named.
	moved := filepath.Join(workspace(t, nil), "read")
	require.NoError(t, os.Rename(filepath.Join(dir, "actions", "read"), moved))
	code, _, errs = a.pelton("", "run", "debug", run.ID, "a", "--item", "0", "--secrets", "--yes")
	require.Equal(t, 2, code)
	require.Contains(t, errs, fmt.Sprintf("the folder %s of the server's machine is not on this one. Name its folder with --dir", filepath.Join(dir, "actions", "read")))
	told, result = debug("0", "--dir", moved)
	told.until(`'n': 5`)
	code, _ = result()
	require.Zero(t, code, told.all.String())
}
