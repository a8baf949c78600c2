package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestCompat scans, builds, deploys and runs actions that use every feature of the ryax.tech/v2.0
// format as they are; platform/docs/ryax-compat.md names the parts of this test row by row.
func TestCompat(t *testing.T) {
	p := start(t)
	ctx := deadline(t, 2*patience())
	dir := filepath.Join(harness.Root(), "functions", "compat")
	if onCluster() {
		dir = withoutGPU(t, dir)
	}
	require.NoError(t, p.AddFolder(ctx, "compat", dir))
	for _, w := range []string{"compat-types", "compat-words", "compat-refuse", "compat-clock", "compat-form"} {
		require.NoError(t, p.WaitLive(ctx, w))
	}
	result := func(t *testing.T, workflow string, inputs map[string]any) map[string]any {
		t.Helper()
		r, err := p.StartRun(ctx, workflow, inputs)
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "%+v", r.Error)
		out := map[string]any{}
		for name, text := range r.Result {
			var v any
			require.NoError(t, json.Unmarshal(text, &v))
			out[name] = v
		}
		return out
	}
	content := func(t *testing.T, v any) []byte {
		t.Helper()
		ref := v.(map[string]any)
		name := "$file"
		if ref[name] == nil {
			name = "$dir"
		}
		resp, err := p.Do(ctx, http.MethodGet, "/runner/v1/projects/default/files/"+ref[name].(string), "", nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return data
	}

	t.Run("types", func(t *testing.T) {
		resp, err := p.Do(ctx, http.MethodPost, "/runner/v1/projects/default/files?name=a.txt", "text/plain", bytes.NewReader([]byte("content")))
		require.NoError(t, err)
		defer resp.Body.Close()
		var file any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&file))
		out := result(t, "compat-types", map[string]any{"document": file, "password": "hush-hush"})
		require.Equal(t, "one line", out["text"])
		require.EqualValues(t, 4, out["count"], "the default is 3")
		require.InDelta(t, 0.25, out["share"], 0)
		require.Equal(t, false, out["sure"])
		require.Equal(t, "b2xsZWg=", out["raw"], "hello, the other way round")
		require.Equal(t, "bytes 9 None", out["seen"])
		require.Equal(t, "CONTENT", string(content(t, out["document"])))
		require.NotEmpty(t, content(t, out["folder"]))
	})
	t.Run("fan out, async, nodejs, publisher, src folder, python3-cuda", func(t *testing.T) {
		out := result(t, "compat-words", map[string]any{"words": "abc,def"})
		require.Equal(t, []any{"cba", "fed"}, out["turned"])
		require.EqualValues(t, 42, out["sum"])
	})
	t.Run("errors", func(t *testing.T) {
		for how, want := range map[string]struct{ code, message string }{
			"coded": {"404", "the order is not known"},
			"plain": {"", "KeyError: 'order'"},
		} {
			r, err := p.StartRun(ctx, "compat-refuse", map[string]any{"how": how})
			require.NoError(t, err)
			r, err = p.WaitRun(ctx, r.ID)
			require.NoError(t, err)
			require.Equal(t, "failed", r.State)
			require.Equal(t, "user_error", r.Error.Kind)
			require.Equal(t, want.code, r.Error.Code)
			require.Contains(t, r.Error.Message, want.message)
		}
	})
	t.Run("sources", func(t *testing.T) {
		var page struct {
			Items []struct{ ID, State string }
		}
		ended := func(workflow string, n int) {
			require.NoError(t, harness.Until(ctx, "runs of "+workflow, func() (bool, error) {
				err := p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?state=completed&workflow="+workflow, nil, &page)
				return len(page.Items) >= n, err
			}))
		}
		ended("compat-clock", 3)
		r, err := p.WaitRun(ctx, page.Items[0].ID)
		require.NoError(t, err)
		require.JSONEq(t, `"tick 2 of tick,names"`, string(r.Steps[0].Inputs["message"]))
		ended("compat-form", 1)
		r, err = p.WaitRun(ctx, page.Items[0].ID)
		require.NoError(t, err)
		require.JSONEq(t, `"Ada"`, string(r.Result["name"]))
		require.JSONEq(t, `true`, string(r.Result["member"]))
	})
	t.Run("what is told", func(t *testing.T) {
		if onCluster() {
			t.Skip("is told of an action that asks for a GPU")
		}
		var a struct {
			Notes []string
			GPU   struct{ Count int }
		}
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/studio/v1/projects/default/actions/gpu-task", nil, &a))
		require.Equal(t, 1, a.GPU.Count)
		require.Len(t, a.Notes, 3, "%v", a.Notes)
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/studio/v1/projects/default/actions/notify", nil, &a))
		require.Contains(t, a.Notes[0], "Nix")
	})
}

// withoutGPU is a copy in which no action asks for what the test cluster's node has not: a GPU, a runtime class, a disk.
func withoutGPU(t *testing.T, from string) string {
	t.Helper()
	dir := workspace(t, nil)
	require.NoError(t, os.CopyFS(dir, os.DirFS(from)))
	file := filepath.Join(dir, "actions", "gpu-task", "ryax_metadata.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	start, end := bytes.Index(text, []byte("    gpu:")), bytes.Index(text, []byte("  inputs:"))
	require.True(t, 0 < start && start < end, "%s", text)
	write(t, file, string(text[:start])+string(text[end:]))
	return dir
}
