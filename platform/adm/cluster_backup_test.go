package adm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// asksWorkflow waits for the test, which is how it is not over when a backup is made.
const asksWorkflow = `apiVersion: pelton.dev/v1
kind: Workflow
metadata: {name: asks}
spec:
  inputs: [{name: big, type: string}]
  steps:
    - {id: ok, wait: {signal: ok}}
  result: {size: "${inputs.big.size()}"}
`

// keptRun is a run as a reader sees it.
type keptRun struct {
	ID, State string
	Reason    string          `json:"reason"`
	Inputs    json.RawMessage `json:"inputs"`
	Result    json.RawMessage `json:"result"`
	Steps     json.RawMessage `json:"steps"`
}

func (p *place) allRuns(ctx context.Context, t *testing.T) map[string]keptRun {
	t.Helper()
	out := map[string]keptRun{}
	for cursor := ""; ; {
		var page struct {
			Items      []struct{ ID string }
			NextCursor string `json:"next_cursor"`
		}
		require.NoError(t, p.p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?limit=200&cursor="+cursor, nil, &page))
		for _, item := range page.Items {
			var r keptRun
			require.NoError(t, p.p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs/"+item.ID, nil, &r))
			out[r.ID] = r
		}
		if cursor = page.NextCursor; cursor == "" {
			return out
		}
	}
}

// kept is a backup, and what the installation had when it had come to rest after it.
type kept struct {
	file, password string
	before         map[string]keptRun // that had ended when it was begun
	runs           map[string]keptRun
	asked          []string // runs that waited for the test
}

// backUp makes a backup while runs begin and end.
func backUp(t *testing.T, p *place, k *kept) {
	ctx := deadline(t, 5*time.Minute)
	big := strings.Repeat("x", 100<<10) // by reference, in the filestore
	var ids []string
	begin := func(workflow string, inputs map[string]any) string {
		r, err := p.p.StartRun(ctx, workflow, inputs)
		require.NoError(t, err)
		return r.ID
	}
	for range 5 {
		k.asked = append(k.asked, begin("asks", map[string]any{"big": big}))
	}
	k.before = p.allRuns(ctx, t)
	maps.DeleteFunc(k.before, func(_ string, r keptRun) bool { return r.State != "completed" && r.State != "failed" })
	k.file = filepath.Join(t.TempDir(), "installation.pelton")
	made := make(chan error, 1)
	begun := time.Now()
	go func() {
		_, err := p.adm("backup", k.file, "-n", p.ns)
		made <- err
	}()
	load := time.NewTicker(100 * time.Millisecond)
	defer load.Stop()
	for under := true; under; {
		select {
		case err := <-made:
			require.NoError(t, err)
			under = false
		case <-load.C:
			ids = append(ids, begin("marks", map[string]any{"is": fmt.Sprintf("backup-%d", len(ids))}))
		case <-ctx.Done():
			require.NoError(t, ctx.Err())
		}
	}
	p.figure(fmt.Sprintf("a backup while %d runs were started took %%s", len(ids)), time.Since(begun))
	for _, id := range ids {
		r, err := p.p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State)
	}
	data, err := os.ReadFile(k.file) // the folder of the test goes with it
	require.NoError(t, err)
	k.file = filepath.Join(p.t.TempDir(), "installation.pelton")
	require.NoError(t, os.WriteFile(k.file, data, 0o600))
	s, err := p.kube.CoreV1().Secrets(p.ns).Get(ctx, "pelton-passwords", metav1.GetOptions{})
	require.NoError(t, err)
	k.password, k.runs = string(s.Data["admin"]), p.allRuns(ctx, t)
}

// restoreElsewhere fills a second installation, with databases, bucket and broker of its own, and compares it
// run by run. What had not ended is paused, and comes to its end once somebody says so.
func restoreElsewhere(t *testing.T, p *place, k *kept) {
	ctx := deadline(t, 12*time.Minute)
	values := p.values(map[string]any{
		"postgresql": map[string]any{"prefix": p.prefix() + "again"}, "rabbitmq": map[string]any{"vhost": p.ns + "-again"}, "s3": map[string]any{"prefix": p.ns + "-again"},
		"knative": map[string]any{"namespace": p.ns + "-again-{project}"}, "builds": map[string]any{"namespace": p.ns + "-again-builds"},
	})
	_, err := p.adm("install", "again", "-n", p.ns, "-f", values)
	require.NoError(t, err)
	_, err = p.adm("restore", k.file, "-n", p.ns, "--installation", "again")
	require.ErrorContains(t, err, "is not empty: restore into an empty platform, or say --replace")
	require.ErrorContains(t, err, "nothing was changed")
	running, err := p.kube.AppsV1().Deployments(p.ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=again"})
	require.NoError(t, err)
	require.Len(t, running.Items, 7)
	for _, d := range running.Items {
		require.Positive(t, d.Status.AvailableReplicas, "%s goes on: a restore that is refused stops nothing", d.Name)
	}
	begun := time.Now()
	said, err := p.adm("restore", k.file, "-n", p.ns, "--installation", "again", "--replace")
	require.NoError(t, err)
	t.Log(said)
	p.figure("a restore took %s", time.Since(begun))
	p.signIn(k.password)

	after := p.allRuns(ctx, t)
	require.Greater(t, len(k.before), 100)
	for id, r := range k.before {
		require.Equal(t, r, after[id], "run %s had ended before the backup was begun", id)
	}
	var paused []string
	for id, r := range after {
		old, ok := k.runs[id]
		require.True(t, ok, "run %s is only in the restored installation", id)
		if r.State != "paused" {
			require.Equal(t, old, r, "run %s had ended", id)
			continue
		}
		require.Equal(t, "restored", r.Reason)
		paused = append(paused, id)
	}
	t.Logf("figure: %d runs in the backup, %d of them had not ended; %d began after it", len(after), len(paused), len(k.runs)-len(after))
	require.Greater(t, len(after), len(paused))
	require.Subset(t, paused, k.asked)
	require.Greater(t, len(paused), len(k.asked), "some were under way")
	require.Greater(t, len(k.runs), len(after), "some began later")
	order := func(id, what string) {
		require.NoError(t, p.p.JSON(ctx, http.MethodPost, "/runner/v1/projects/default/runs/"+id+what, map[string]any{}, nil))
	}
	for _, id := range k.asked {
		order(id, "/signals/ok")
	}
	for _, id := range paused {
		order(id, "/resume")
	}
	for _, id := range paused {
		r, err := p.p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
		if slices.Contains(k.asked, id) {
			require.Equal(t, "102400", string(r.Result["size"]))
		}
	}
	require.NoError(t, p.p.JSON(ctx, http.MethodPost, "/studio/v1/projects/default/workflows/hello/deploy", map[string]any{}, nil))
	require.NoError(t, p.p.WaitLive(ctx, "hello"))
	require.Contains(t, p.post(ctx, t, "/hello", "application/json", `{"name":"Ada"}`), "Hello, Ada!")
	_, err = p.adm("uninstall", "again", "-n", p.ns)
	require.NoError(t, err)
}
