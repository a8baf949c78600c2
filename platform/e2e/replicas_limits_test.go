package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// countHandler counts how many of its kind are under way, itself among them: each holds a slot by a
// lock that the kernel takes back when its process dies. Slots are taken one at a time, so that those
// which are found locked were so together.
//
// A pod has no such files: there each holds a connection to the test instead, which its end closes.
const countHandler = `import fcntl
import random
import socket
import time


def handle(inputs):
    if inputs["dir"].startswith("tcp:"):
        return over_tcp(inputs)
    place, n, mine = inputs["dir"], 1, None
    with open(place + "/gate", "r+") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for i in range(12):
            slot = open(place + "/slot%d" % i, "r+")
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                n += 1
                slot.close()
                continue
            if mine is None:
                mine = slot
            else:
                slot.close()
        with open(place + "/seen", "a") as seen:
            seen.write("%d\n" % n)
    time.sleep(random.uniform(0.02, 0.2) * inputs["slow"])
    mine.close()
    return {"n": n}


def over_tcp(inputs):
    _, host, port = inputs["dir"].split(":")
    with socket.create_connection((host, int(port)), 10) as s:
        s.settimeout(None)
        answers = s.makefile("r")
        n = int(answers.readline())
        time.sleep(random.uniform(0.02, 0.2) * inputs["slow"])
        s.sendall(b"-")
        answers.readline()
        return {"n": n}
`

// countFolder is where actions of any user count, and what they are given of it.
func countFolder(t *testing.T) (dir, where string) {
	t.Helper()
	dir = filepath.Dir(newMarks(t).file)
	for _, name := range append([]string{"gate", "seen"}, slots()...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o666))
		require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o666))
	}
	if !onCluster() {
		return dir, dir
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(os.Getenv("PELTON_CLUSTER_NODE_IP"), "0"))
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go countConnections(listener, filepath.Join(dir, "seen"))
	return dir, "tcp:" + listener.Addr().String()
}

// countConnections tells each connection how many there are with it, and writes that down, until the listener is closed.
// One that says that it ends is answered once it counts no more.
func countConnections(listener net.Listener, file string) {
	var mu sync.Mutex
	n := 0
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			mu.Lock()
			n++
			line := fmt.Sprintln(n)
			if f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0); err == nil {
				_, _ = f.WriteString(line)
				_ = f.Close()
			}
			mu.Unlock()
			_, _ = conn.Write([]byte(line))
			_, _ = conn.Read(make([]byte, 1)) // or it was killed
			mu.Lock()
			n--
			mu.Unlock()
			_, _ = conn.Write([]byte("\n"))
		}()
	}
}

func slots() (names []string) {
	for i := range 12 {
		names = append(names, fmt.Sprint("slot", i))
	}
	return names
}

// seen is how many were under way at most, and how often somebody counted.
func seen(t *testing.T, dir string) (most, times int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "seen"))
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		require.NoError(t, err)
		most, times = max(most, n), times+1
	}
	return most, times
}

// limitedCluster starts a cluster with a workflow whose action has a cap of 5, and one whose step has a key
// that one may hold.
func limitedCluster(t *testing.T) *cluster {
	t.Helper()
	c := startCluster(t, 3)
	in := "[{name: dir, type: string}, {name: slow, type: integer}]"
	flow := func(name, step string) string {
		return workflowYAML(name, "  inputs: [{name: dir, type: string}, {name: slow, type: integer}]\n  steps:\n    - {id: s, uses: ./actions/"+name+
			", with: {dir: \"${inputs.dir}\", slow: \"${inputs.slow}\"}"+step+"}\n")
	}
	deploy(t, c.replicas[0], workspace(t, merge(python("actions/capped", in, "[{name: n, type: integer}]", countHandler),
		python("actions/keyed", in, "[{name: n, type: integer}]", countHandler),
		map[string]string{"workflows/capped.yaml": flow("capped", ""), "workflows/keyed.yaml": flow("keyed", ", concurrency: {key: customer-42, limit: 1}")})), "capped", "keyed")
	require.NoError(t, c.replicas[0].JSON(deadline(t, time.Minute), http.MethodPut, "/runner/v1/projects/default/caps", map[string]any{"actions": map[string]int{"capped": 5}}, nil))
	return c
}

// TestSharedLimits: three replicas keep a cap of 5 and a key of 1 together while they are killed and
// frozen at random. The action itself never sees a sixth, or a second, and every run completes.
func TestSharedLimits(t *testing.T) {
	kills, runs := 15, 300
	if testing.Short() {
		kills, runs = 4, 60
	}
	if n, err := strconv.Atoi(os.Getenv("PELTON_CRASH_KILLS")); err == nil {
		kills = n
	}
	c := limitedCluster(t)
	five, atFive := countFolder(t)
	one, atOne := countFolder(t)
	limit := 9 * time.Minute
	if onCluster() {
		limit = 20 * time.Minute // after each kill what no pod knows is waited for until its tokens have run out
	}
	ctx := deadline(t, limit)
	var ids []string
	for i := range runs {
		name, where := "capped", atFive
		if i%3 == 2 {
			name, where = "keyed", atOne
		}
		r, err := c.replicas[i%3].StartRun(ctx, name, map[string]any{"dir": where, "slow": 1})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	for k := range kills {
		c.trouble(ctx, t, k)
	}
	for _, id := range ids {
		r, err := c.any().WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
	}
	most, times := seen(t, five)
	require.LessOrEqual(t, most, 5)
	require.Greater(t, most, 1, "they do run side by side")
	alone, keyed := seen(t, one)
	require.Equal(t, 1, alone)
	t.Logf("%d runs on 3 replicas, %d kills and freezes: at most %d of 5 in %d attempts, at most %d of 1 in %d", runs, kills, most, times, alone, keyed)
}

// TestSharedLimitsTellWhy: a step that waits at one replica for a place that is held at another says
// so, and says while nobody knows who holds it.
func TestSharedLimitsTellWhy(t *testing.T) {
	c := limitedCluster(t)
	dir, where := countFolder(t)
	ctx := deadline(t, 3*time.Minute)
	first, err := c.replicas[1].StartRun(ctx, "keyed", map[string]any{"dir": where, "slow": 1000})
	require.NoError(t, err)
	require.NoError(t, harness.Until(ctx, "the first holds the key", func() (bool, error) {
		r, err := c.replicas[1].Run(ctx, first.ID)
		return err == nil && len(r.Steps) == 1 && r.Steps[0].State == "running", err
	}))
	second, err := c.replicas[2].StartRun(ctx, "keyed", map[string]any{"dir": where, "slow": 1})
	require.NoError(t, err)
	says := func(p *harness.Platform, want string) {
		t.Helper()
		got := ""
		require.NoError(t, harness.Until(ctx, want, func() (bool, error) {
			r, err := p.Run(ctx, second.ID)
			if err == nil && len(r.Steps) == 1 {
				got = r.Steps[0].Reason
			}
			return got == want, err
		}), "it says %q", got)
	}
	for _, p := range c.replicas {
		says(p, "key customer-42 is held by run "+first.ID)
	}
	c.replicas[1].Kill()
	require.NoError(t, c.replicas[1].Restart(ctx))
	for _, p := range c.replicas {
		says(p, "key customer-42 is held by run "+first.ID)
	}
	require.NoError(t, c.replicas[0].JSON(ctx, http.MethodPost, "/runner/v1/projects/default/runs/"+first.ID+"/cancel", map[string]any{"reason": "enough"}, nil))
	r, err := c.replicas[0].WaitRun(ctx, second.ID)
	require.NoError(t, err)
	require.Equal(t, "completed", r.State)
	most, _ := seen(t, dir)
	require.Equal(t, 1, most)
}
