package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
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

// kept is a run as a reader sees it, for comparing two platforms.
type keptRun struct {
	ID, State string
	Reason    string          `json:"reason"`
	Inputs    json.RawMessage `json:"inputs"`
	Result    json.RawMessage `json:"result"`
	Steps     json.RawMessage `json:"steps"`
}

func allRuns(t *testing.T, p *harness.Platform) map[string]keptRun {
	t.Helper()
	ctx := deadline(t, 2*time.Minute)
	out := map[string]keptRun{}
	for cursor := ""; ; {
		var page struct {
			Items      []struct{ ID string }
			NextCursor string `json:"next_cursor"`
		}
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?limit=200&cursor="+cursor, nil, &page))
		for _, item := range page.Items {
			var r keptRun
			require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs/"+item.ID, nil, &r))
			out[r.ID] = r
		}
		if cursor = page.NextCursor; cursor == "" {
			return out
		}
	}
}

// TestBackup backs a platform up while runs are under way and restores it elsewhere, run by run: what had
// ended by then is the same there; what had not is paused (restored), and nothing of it goes on, nothing is
// deployed and no schedule fires until somebody says so; then each comes to its end.
func TestBackup(t *testing.T) {
	runs := 150
	if testing.Short() {
		runs = 40
	}
	m := newMarks(t)
	p := start(t)
	steps, last := markSteps()
	deploy(t, p, workspace(t, merge(python("actions/mark", "[{name: file, type: string}]", "[{name: file, type: string}]", markHandler), map[string]string{
		"workflows/crash.yaml": workflowYAML("crash", "  inputs: [{name: file, type: string}]\n  steps:\n"+steps+"  result: {file: \"${"+last+"}\"}\n"),
		"workflows/asks.yaml":  workflowYAML("asks", "  inputs: [{name: big, type: string}]\n  steps:\n    - {id: ok, wait: {signal: ok}}\n    - {id: nap, wait: {for: 200ms}, needs: [ok]}\n  result: {size: \"${inputs.big.size()}\"}\n"),
		"workflows/one.yaml":   workflowYAML("one", "  concurrency: {key: same}\n  steps:\n    - {id: ok, wait: {signal: ok}}\n"),
		"workflows/tick.yaml":  workflowYAML("tick", "  triggers: [{id: every, uses: cron, with: {schedule: \"@every 1s\"}}]\n  steps:\n    - {id: nap, wait: {for: 1ms}}\n"),
	})), "crash")
	ctx := deadline(t, 4*time.Minute)
	for _, w := range []string{"asks", "one", "tick"} {
		require.NoError(t, p.WaitLive(ctx, w))
	}
	begin := func(workflow string, inputs map[string]any) string {
		r, err := p.StartRun(ctx, workflow, inputs)
		require.NoError(t, err)
		return r.ID
	}
	big := strings.Repeat("x", 100<<10) // a value by reference, in the filestore
	asked, queued := begin("asks", map[string]any{"big": big}), []string{begin("one", nil), begin("one", nil)}
	var ids []string
	for range runs / 2 {
		ids = append(ids, begin("crash", map[string]any{"file": m.where}))
	}
	_, err := p.WaitRun(ctx, ids[0]) // some have ended, some have not
	require.NoError(t, err)

	backup := filepath.Join(t.TempDir(), "backup.pelton")
	made := make(chan error, 1)
	var said string
	go func() {
		var err error
		said, err = harness.Adm(ctx, p.Options(), "backup", backup)
		made <- err
	}()
	for range runs - runs/2 {
		ids = append(ids, begin("crash", map[string]any{"file": m.where}))
	}
	require.NoError(t, <-made, "%s", said)
	t.Log(said)
	for _, id := range ids {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State)
	}
	before := allRuns(t, p)
	require.NoError(t, p.JSON(ctx, http.MethodPost, "/runner/v1/projects/default/runs/"+asked+"/cancel", map[string]any{}, nil))
	require.NoError(t, p.Stop())
	marks := func() string {
		data, err := os.ReadFile(m.file)
		require.NoError(t, err)
		return string(data)
	}
	was := marks()

	o := harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t)}
	require.NoError(t, os.Chmod(o.Home, 0o755))
	said, err = harness.Adm(ctx, o, "restore", backup)
	require.NoError(t, err, "%s", said)
	require.Contains(t, said, "nothing is deployed")
	t.Log(said)
	said, err = harness.Adm(ctx, o, "restore", backup)
	require.NoError(t, err, "the same again changes nothing: %s", said)
	q := startWith(t, o)

	after := allRuns(t, q)
	paused, ended := []string{}, 0
	for id, r := range after {
		old, ok := before[id]
		require.True(t, ok, "run %s is only in the restored platform", id)
		if r.State != "paused" {
			ended++
			require.Equal(t, old, r, "run %s had ended", id)
			continue
		}
		require.Equal(t, "restored", r.Reason)
		paused = append(paused, id)
	}
	t.Logf("%d runs in the backup: %d ended, %d paused (restored); %d began after it", len(after), ended, len(paused), len(before)-len(after))
	require.Greater(t, len(paused), 4)
	require.Greater(t, ended, 0)
	require.Equal(t, "paused", after[asked].State)
	var deployments struct {
		Items []struct{ State, Reason string }
	}
	require.NoError(t, q.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/deployments?limit=200", nil, &deployments))
	for _, d := range deployments.Items {
		require.Equal(t, "stopped", d.State)
	}
	// A restart changes nothing of that.
	require.NoError(t, q.Stop())
	require.NoError(t, q.Restart(ctx))
	require.Equal(t, len(after), len(allRuns(t, q)), "no schedule has fired")
	require.Equal(t, was, marks(), "no action has run")

	order := func(id, what string, in map[string]any) {
		require.NoError(t, q.JSON(ctx, http.MethodPost, "/runner/v1/projects/default/runs/"+id+what, in, nil))
	}
	order(asked, "/signals/ok", map[string]any{})
	order(queued[1], "/cancel", map[string]any{})
	for _, id := range paused {
		if id != queued[1] {
			order(id, "/resume", map[string]any{})
		}
	}
	order(queued[0], "/signals/ok", map[string]any{})
	for _, id := range paused {
		r, err := q.WaitRun(ctx, id)
		require.NoError(t, err)
		want := "completed"
		if id == queued[1] {
			want = "cancelled"
		}
		require.Equal(t, want, r.State, "run %s: %+v", id, r.Error)
		if id == asked {
			require.Equal(t, "102400", string(r.Result["size"]))
		}
	}
	var d any
	require.NoError(t, q.JSON(ctx, http.MethodPost, "/studio/v1/projects/default/workflows/crash/deploy", map[string]any{}, &d))
	require.NoError(t, q.WaitLive(ctx, "crash"))
	r, err := q.StartRun(ctx, "crash", map[string]any{"file": m.where})
	require.NoError(t, err)
	r, err = q.WaitRun(ctx, r.ID)
	require.NoError(t, err)
	require.Equal(t, "completed", r.State)
}

// TestBackupHoldsRemoval: while a backup is being written, neither a run past its retention goes nor a file that nothing
// mentions any more; both do once it has come to its end.
func TestBackupHoldsRemoval(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "settings.yaml")
	write(t, settings, "runner: {retention: {files: 2s, every: 1s}}\n")
	p := start(t, "--config", settings)
	deploy(t, p, workspace(t, map[string]string{
		"workflows/brief.yaml": workflowYAML("brief", "  retention: 2s\n  inputs: [{name: doc, type: file}]\n  steps:\n    - {id: ok, wait: {signal: ok}}\n"),
		"workflows/keep.yaml":  workflowYAML("keep", "  inputs: [{name: doc, type: file}]\n  steps:\n    - {id: ok, wait: {signal: ok}}\n"),
	}), "keep")
	ctx := deadline(t, 3*time.Minute)
	require.NoError(t, p.WaitLive(ctx, "brief"))
	upload := func(text io.Reader) (doc map[string]any) {
		resp, err := p.Do(ctx, http.MethodPost, "/runner/v1/projects/default/files?name=a", "application/octet-stream", text)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusCreated, resp.StatusCode)
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&doc))
		return doc
	}
	begin := func(workflow string, doc map[string]any) string {
		r, err := p.StartRun(ctx, workflow, map[string]any{"doc": doc})
		require.NoError(t, err)
		return r.ID
	}
	there := func(path string) (bool, error) {
		resp, err := p.Do(ctx, http.MethodGet, "/runner/v1/projects/default/"+path, "", nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	}
	// More than a pipe and what is before it take: the backup stands still until somebody reads on.
	begin("keep", upload(io.LimitReader(rand.Reader, 16<<20)))
	doc := upload(strings.NewReader("soon of no use"))
	run := begin("brief", doc)

	cmd, err := harness.AdmCommand(ctx, p.Options(), "backup", "-")
	require.NoError(t, err)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var file bytes.Buffer
	_, err = io.CopyN(&file, out, 1<<20) // it is at the files
	require.NoError(t, err, "%s", said.String())
	require.NoError(t, p.JSON(ctx, http.MethodPost, "/runner/v1/projects/default/runs/"+run+"/signals/ok", map[string]any{}, nil))
	_, err = p.WaitRun(ctx, run)
	require.NoError(t, err)
	blob := "files/" + doc["$file"].(string)
	wait(ctx, t, 8*time.Second) // several sweeps would have come, and have removed first the run, then its file
	for _, path := range []string{"runs/" + run, blob} {
		ok, err := there(path)
		require.NoError(t, err)
		require.True(t, ok, "%s is kept while the backup is written", path)
	}
	_, err = io.Copy(&file, out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s", said.String())
	for _, path := range []string{"runs/" + run, blob} {
		require.NoError(t, harness.Until(ctx, path+" is removed after the backup", func() (bool, error) {
			ok, err := there(path)
			return !ok, err
		}))
	}

	o := harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t)}
	require.NoError(t, os.Chmod(o.Home, 0o755))
	whole := filepath.Join(t.TempDir(), "whole.pelton")
	require.NoError(t, os.WriteFile(whole, file.Bytes(), 0o600))
	text, err := harness.Adm(ctx, o, "restore", whole)
	require.NoError(t, err, "%s", text)
	require.Contains(t, text, "2 runs, ")
}

// TestRestoreRefuses: what cannot be restored is told before anything is written.
func TestRestoreRefuses(t *testing.T) {
	p := start(t)
	ctx := deadline(t, 2*time.Minute)
	dir := t.TempDir()
	file := filepath.Join(dir, "b")
	said, err := harness.Adm(ctx, p.Options(), "backup", file)
	require.NoError(t, err, "%s", said)
	refused := func(words string, o harness.Options, args ...string) {
		t.Helper()
		said, err := harness.Adm(ctx, o, args...)
		require.Error(t, err, "%s", said)
		require.Contains(t, said, words)
	}
	refused("is there already", p.Options(), "backup", file)
	if !p.IsSplit() { // elsewhere a running platform is not seen, but its data
		refused("stop it, or restore into another home", p.Options(), "restore", file)
	}
	require.NoError(t, p.Stop())
	refused("is not empty: restore into an empty platform, or say --replace", p.Options(), "restore", file)
	require.NoError(t, p.Restart(ctx), "a refused restore has changed nothing")
	require.NoError(t, p.Stop())
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	short, other := filepath.Join(dir, "short"), filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(short, data[:len(data)/2], 0o600))
	require.NoError(t, os.WriteFile(other, []byte("hello"), 0o600))
	refused("the file is no backup, or is damaged", p.Options(), "restore", short)
	refused("the file is no backup", p.Options(), "restore", other)
	refused("there is no file", p.Options(), "restore", filepath.Join(dir, "none"))
	refused("usage: pelton-adm restore FILE", p.Options(), "restore")
	said, err = harness.Adm(ctx, p.Options(), "restore", file, "--replace")
	require.NoError(t, err, "%s", said)
	require.NoError(t, p.Restart(ctx))
}
