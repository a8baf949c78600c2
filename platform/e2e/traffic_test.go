package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// told is a workflow of two steps, each of which tells which version of the action it is. The second has another name in
// each version, and so the answer of its trigger reads another step.
func told(version int) map[string]string {
	return merge(python("actions/version", "[{name: after, type: integer}]", "[{name: version, type: integer}]", fmt.Sprintf("def handle(inputs):\n    return {'version': %d}\n", version)),
		map[string]string{"workflows/told.yaml": workflowYAML("told", strings.ReplaceAll(`  triggers: [{id: in, uses: http, with: {path: /told, response: {body: {a: "${steps.a.version}", b: "${steps.second.version}"}}}}]
  steps:
    - {id: a, uses: ./actions/version, with: {after: 0}}
    - {id: second, uses: ./actions/version, with: {after: "${steps.a.version}"}}
`, "second", fmt.Sprint("second", version)))})
}

// versions calls the workflow's HTTP trigger and tells how many runs were of each version. A run that mixes them, or is not
// of the revision with its number, fails the test.
func versions(t *testing.T, p *harness.Platform, calls int) map[int]int {
	t.Helper()
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for lane := range 4 {
		wg.Go(func() {
			for range calls/4 + min(1, max(0, calls%4-lane)) {
				_, v, problem := version(t, p, "")
				mu.Lock()
				if got[v]++; problem != "" {
					t.Error(problem)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.False(t, t.Failed())
	return got
}

// version calls the trigger once and gives the run and its version.
func version(t *testing.T, p *harness.Platform, key string) (run string, version int, problem string) {
	ctx := deadline(t, time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/user-api/default/told", strings.NewReader("{}"))
	if err != nil {
		return "", 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return "", 0, err.Error()
	}
	defer resp.Body.Close()
	var out struct{ A, B int }
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Sprintf("%s: %v", resp.Status, err)
	}
	run = resp.Header.Get("Pelton-Run")
	var r struct{ Revision int }
	if err := p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs/"+run, nil, &r); err != nil {
		return run, 0, err.Error()
	}
	if out.A != out.B || out.A != r.Revision {
		problem = fmt.Sprintf("run %s of revision %d ran versions %d and %d", run, r.Revision, out.A, out.B)
	}
	return run, out.A, problem
}

// TestTraffic: a new version takes some of a workflow's runs, more, none, all; no run mixes versions.
func TestTraffic(t *testing.T) {
	p := start(t)
	dir := workspace(t, told(1))
	ctx := deadline(t, 2*patience())
	require.NoError(t, p.JSON(ctx, http.MethodPost, "/repository/v1/projects/default/repositories", map[string]any{"name": "told", "path": dir, "watch": true}, nil))
	// ordered gives an order again while what it is about is being found and built.
	ordered := func(says string, args ...string) {
		t.Helper()
		require.NoError(t, harness.Until(ctx, strings.Join(args, " "), func() (bool, error) {
			code, out := cli(t, p, append([]string{"workflow"}, args...)...)
			if code == 0 && strings.Contains(out, says) {
				return true, nil
			}
			return false, fmt.Errorf("exit code %d: %s", code, out)
		}))
	}
	ordered("revision 1: live", "deploy", "told")
	require.Equal(t, map[int]int{1: 8}, versions(t, p, 8))

	for name, text := range told(2) {
		write(t, dir+"/"+name, text)
	}
	ordered("revision 1=75 2=25: live", "deploy", "told", "--traffic", "25")
	got := versions(t, p, 400)
	require.Equal(t, 400, got[1]+got[2])
	// Five standard deviations of 400 draws at 1/4 are 43.
	require.InDelta(t, 100, got[2], 43, "%v", got)
	code, out := cli(t, p, "workflow", "show", "told")
	require.Zero(t, code, out)
	require.Contains(t, out, "revision 1=75 2=25 is live")
	require.Regexp(t, `2 .*deployed, takes 25 of 100 runs\n`, out)
	require.Regexp(t, `1 .*deployed, takes 75 of 100 runs, its triggers listen\n`, out)

	// A repeated request finds its run, whatever the weights are by then.
	runs, of := map[string]string{}, map[int]bool{}
	for i := range 40 {
		key := fmt.Sprint("request-", i)
		run, v, problem := version(t, p, key)
		require.Empty(t, problem)
		runs[key], of[v] = run, true
	}
	require.Len(t, of, 2, "40 keys were all of one version")
	same := func() {
		t.Helper()
		for key, run := range runs {
			again, _, problem := version(t, p, key)
			require.Empty(t, problem)
			require.Equal(t, run, again, key)
		}
	}
	same()

	p.Kill()
	require.NoError(t, p.Restart(ctx))
	got = versions(t, p, 60)
	require.Positive(t, got[1], "%v", got)
	require.Positive(t, got[2], "a restart keeps the split: %v", got)

	wrongTraffic(t, p)
	require.Len(t, versions(t, p, 60), 2, "what was refused changed nothing")

	ordered("revision 1=10 2=90: live", "traffic", "told", "1=10", "2=90")
	require.Greater(t, versions(t, p, 60)[2], 30)
	same()
	ordered("revision 2: live", "traffic", "told", "2=100")
	require.Equal(t, map[int]int{2: 20}, versions(t, p, 20))
	same()
	ordered("revision 1: live", "traffic", "told", "1=100", "2=0")
	require.Equal(t, map[int]int{1: 20}, versions(t, p, 20))
	ordered("revision 1=50 2=50: live", "traffic", "told", "2=50", "1=50")
	require.Len(t, versions(t, p, 40), 2)
	ordered("revision 1: live", "rollback", "told")
	require.Equal(t, map[int]int{1: 20}, versions(t, p, 20))
	ordered("revision 1=50 2=50: live", "traffic", "told", "2=50", "1=50")
	ordered("revision 2: live", "deploy", "told")
	require.Equal(t, map[int]int{2: 20}, versions(t, p, 20), "a deployment without the option takes all")
	ordered("undeployed", "undeploy", "told")
	require.NoError(t, harness.Until(ctx, "it does not listen", func() (bool, error) {
		status, _, _ := post(t, p, "/told", "application/json", "{}")
		return status == http.StatusNotFound, nil
	}))
	ordered("revision 1=50 2=50: live", "traffic", "told", "2=50", "1=50")
	require.Len(t, versions(t, p, 40), 2)
}

// wrongTraffic: what is wrong with weights is told by field; told has the revisions 1 and 2, which share.
func wrongTraffic(t *testing.T, p *harness.Platform) {
	const workflows = "/studio/v1/projects/default/workflows/"
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PUT", "told/traffic", `{"weights":[{"revision":1,"weight":90},{"revision":2,"weight":9}]}`, 400, "weights: sum to 99 (give weights that sum to 100)"},
		{"PUT", "told/traffic", `{"weights":[{"revision":1,"weight":90},{"revision":9,"weight":10}]}`, 400, "weights[1].revision: is 9, and workflow told has no such revision (its newest is 2)"},
		{"PUT", "told/traffic", `{"weights":[{"revision":1,"weight":90},{"revision":1,"weight":10}]}`, 400, "weights[1].revision: names revision 1 a second time (give each revision once)"},
		{"PUT", "told/traffic", `{"weights":[{"revision":1,"weight":-10},{"revision":2,"weight":110}]}`, 400, "weights[0].weight: is -10 (give a whole number from 0 to 100)"},
		{"PUT", "told/traffic", `{"weights":[{"revision":0,"weight":100}]}`, 400, "weights[0].revision: is 0 (revisions are counted from 1)"},
		{"PUT", "told/traffic", `{"weights":[{"revision":1,"weight":99.5}]}`, 400, "weights.weight"},
		{"PUT", "told/traffic", `{"weights":[]}`, 400, "weights: is missing (give revisions with weights that sum to 100)"},
		{"PUT", "told/traffic", `{"wieghts":[]}`, 400, "wieghts"},
		{"PUT", "none/traffic", `{"weights":[{"revision":1,"weight":100}]}`, 404, `there is no workflow "none", or it has no revision yet`},
		{"POST", "told/deploy", `{"revision":2,"traffic":0}`, 400, "traffic: is 0 (give a whole number from 1 to 100)"},
		{"POST", "told/deploy", `{"revision":2,"traffic":101}`, 400, "traffic: is 101 (give a whole number from 1 to 100)"},
		{"POST", "told/rollback", `{"traffic":10}`, 400, "traffic: is not for a rollback, which takes all runs"},
	} {
		resp, err := p.Do(deadline(t, 30*time.Second), c.method, workflows+c.path, "application/json", strings.NewReader(c.body))
		require.NoError(t, err)
		var problem harness.Problem
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&problem))
		resp.Body.Close()
		require.Equal(t, c.status, resp.StatusCode, c.body)
		require.Contains(t, problem.Error(), c.says, c.body)
	}
	code, out := cli(t, p, "workflow", "traffic", "told", "1=90", "2=9")
	require.NotZero(t, code)
	require.Contains(t, out, "weights: sum to 99")
}
