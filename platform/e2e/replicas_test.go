package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner"
)

// cluster is several peltond on one home and one store: the first runs every service, the others are
// further replicas of the runner.
type cluster struct {
	replicas []*harness.Platform
	database string // of the runner
	env      []string
}

func startCluster(t *testing.T, n int, env ...string) *cluster {
	t.Helper()
	store := pgtest.Empty(t, "pelton_authorization", "pelton_repository", "pelton_studio", "pelton_runner", "pelton_bridge")
	u, err := url.Parse(store)
	require.NoError(t, err)
	u.Path += "pelton_runner"
	home, err := os.MkdirTemp("", "pelton-e2e-") //nolint:usetesting // short, and reachable for other users
	require.NoError(t, err)
	require.NoError(t, os.Chmod(home, 0o755))
	t.Cleanup(func() { os.RemoveAll(home) })
	c := &cluster{database: u.String()}
	var files harness.Files
	if onCluster() { // replicas on this machine, their actions pods
		var pods []string
		pods, files = clusterEnv(t)
		env = append(pods, env...)
	}
	env = append([]string{"PELTON_STORE=" + store, "PELTON_RUNNER_LEASE=2s", "PELTON_RUNNER_BEAT=250ms"}, env...)
	c.env = env
	for i := range n {
		o := harness.Options{Home: home, Files: files, Replica: fmt.Sprintf("r%d", i), Env: env, Violation: func(err error) { t.Errorf("the OpenAPI document differs: %v", err) }}
		if i > 0 {
			o.Env = append([]string{"PELTON_TARGET=runner"}, env...)
		}
		p, err := harness.Start(deadline(t, time.Minute), o)
		require.NoError(t, err)
		c.replicas = append(c.replicas, p)
		t.Cleanup(func() {
			if err := p.Stop(); err != nil && !t.Failed() {
				t.Errorf("stop: %v\n%s", err, p.LogTail(20))
			}
			if t.Failed() {
				t.Logf("the end of replica %d's log:\n%s", i, p.LogTail(60))
			}
		})
	}
	return c
}

// any is a replica that answers.
func (c *cluster) any() *harness.Platform { return c.replicas[rand.IntN(len(c.replicas))] }

// markSteps is a chain of five steps that mark their start and end, and the name of the last output.
func markSteps() (steps, last string) {
	last = "inputs.file"
	for i := range 5 {
		steps += fmt.Sprintf("    - {id: s%d, uses: ./actions/mark, with: {file: \"${%s}\"}}\n", i, last)
		last = fmt.Sprintf("steps.s%d.file", i)
	}
	return steps, last
}

// TestReplicas kills and freezes replicas at random while runs are under way, as TestCrash does with
// one process: every acknowledged run completes, no finished step runs again, attempts of one
// step never overlap.
func TestReplicas(t *testing.T) {
	unsplit(t, "it starts replicas beside one peltond that runs everything")
	kills, runs := 20, 200
	if testing.Short() {
		kills, runs = 5, 40
	}
	if n, err := strconv.Atoi(os.Getenv("PELTON_CRASH_KILLS")); err == nil {
		kills = n
	}
	m := newMarks(t)
	c := startCluster(t, 3)
	steps, last := markSteps()
	deploy(t, c.replicas[0], workspace(t, merge(python("actions/mark", "[{name: file, type: string}]", "[{name: file, type: string}]", markHandler),
		map[string]string{"workflows/crash.yaml": workflowYAML("crash", "  inputs: [{name: file, type: string}]\n  steps:\n"+steps+"  result: {file: \"${"+last+"}\"}\n")})), "crash")
	ctx := deadline(t, 8*time.Minute)
	var ids []string
	for i := range runs {
		r, err := c.replicas[i%3].StartRun(ctx, "crash", map[string]any{"file": m.where})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	finished := map[string]int{} // "run step" -> lines when the journal first had it as finished
	for k := range kills {
		c.trouble(ctx, t, k)
		journal, err := runner.ReadJournal(ctx, c.database, "default")
		require.NoError(t, err)
		marks := readMarks(t, m.file)
		for _, r := range journal {
			for _, s := range r.Steps {
				key := r.ID + " " + s.Step
				if _, seen := finished[key]; !seen && s.State == "completed" {
					finished[key] = len(marks[key])
				}
			}
		}
	}
	for _, id := range ids {
		r, err := c.any().WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
		judge(t, r, readMarks(t, m.file))
	}
	final := readMarks(t, m.file)
	for key, n := range finished {
		require.Equal(t, n, len(final[key]), "%s has lines after it had finished", key)
	}
	again := 0
	for _, m := range final {
		again += max(0, starts(m)-1)
	}
	t.Logf("%d runs of 5 steps on 3 replicas, %d kills and freezes, %d finished steps watched, %d attempts made again", runs, kills, len(finished), again)
}

// trouble kills a replica and starts it again, or, each fifth time, freezes it for longer than its
// lease.
func (c *cluster) trouble(ctx context.Context, t *testing.T, k int) {
	t.Helper()
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	p := c.any()
	if k%5 == 3 {
		require.NoError(t, syscall.Kill(p.PID(), syscall.SIGSTOP))
		pause(3 * time.Second)
		require.NoError(t, syscall.Kill(p.PID(), syscall.SIGCONT))
		return
	}
	pause(time.Duration(100+rand.IntN(600)) * time.Millisecond)
	p.Kill()
	pause(time.Duration(rand.IntN(600)) * time.Millisecond)
	require.NoError(t, p.Restart(ctx))
}

// TestReplicasKeepSources: a source runs at one replica at a time and goes on at another when that dies,
// without a lost or a doubled event. Every replica answers a trigger.
func TestReplicasKeepSources(t *testing.T) {
	unsplit(t, "it starts replicas beside one peltond that runs everything")
	c := startCluster(t, 3)
	deploy(t, c.replicas[0], counted(t), "counted")
	ctx := deadline(t, 3*time.Minute)
	deploy(t, c.replicas[0], filepath.Join(harness.Root(), "functions", "examples", "hello"), "hello")
	for i, p := range c.replicas {
		status, _, body := post(t, p, "/hello", "application/json", `{"name":"Ada"}`)
		require.Equal(t, http.StatusOK, status, "replica %d: %s", i, body)
	}
	for i, p := range c.replicas {
		need := 20 * (i + 1)
		require.NoError(t, harness.Until(ctx, "some runs have started", func() (bool, error) { return countRuns(ctx, t, p) >= need, nil }))
		p.Kill()
		require.NoError(t, p.Restart(ctx))
	}
	require.NoError(t, harness.Until(ctx, "every event has its run", func() (bool, error) { return countRuns(ctx, t, c.any()) >= 200, nil }))
	eachOnce(ctx, t, c.any())
}

// TestOneProcessRunsEveryService: a second process with every service is refused on a store; a further replica is not.
func TestOneProcessRunsEveryService(t *testing.T) {
	c := startCluster(t, 2)
	ctx := deadline(t, 2*time.Minute)
	home := t.TempDir()
	require.NoError(t, os.Chmod(home, 0o755))
	p, err := harness.Start(ctx, harness.Options{Home: home, Replica: "other", Env: c.env})
	if err == nil {
		_ = p.Stop()
	}
	require.ErrorContains(t, err, "another process runs every service on this store: stop it, or start this one with --target runner --replica NAME")
	c.replicas[0].Kill()
	require.NoError(t, c.replicas[0].Restart(ctx), "the place of a dead one is free")
}
