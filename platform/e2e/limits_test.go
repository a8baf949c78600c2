package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

const relayHandler = `import os
import shutil


def handle(inputs):
    shutil.copyfile(inputs["data"], "copy.bin")
    with open("copy.bin", "ab") as f:
        f.write(b"x")
    return {"data": "copy.bin", "size": os.path.getsize("copy.bin")}
`

// TestLargeFile: a file of 2 GiB goes through an HTTP trigger and three steps that each change it,
// while the platform itself stays below 300 MiB of memory.
func TestLargeFile(t *testing.T) { largeFile(t, start(t), 2<<30) }

// TestLargeFileInBucket: the same with 1 GiB and a store that wrappers speak to themselves, in pieces.
func TestLargeFileInBucket(t *testing.T) {
	files, _ := bucket(t)
	largeFile(t, startOn(t, newHome(t), files), 1<<30)
}

func largeFile(t *testing.T, p *harness.Platform, size int64) {
	const limit = 300 << 20
	switch {
	case testing.Short():
		size = 256 << 20
	case p.IsSplit(): // the other mode has more: both at once would take 30 GiB of the disk, and its whole speed
		size = 640 << 20
	}
	steps, from := "", "inputs.data"
	for i := range 3 {
		steps += fmt.Sprintf("    - {id: s%d, uses: ./actions/relay, with: {data: \"${%s}\"}}\n", i, from)
		from = fmt.Sprintf("steps.s%d.data", i)
	}
	deploy(t, p, workspace(t, merge(python("actions/relay", "[{name: data, type: file}]", "[{name: data, type: file}, {name: size, type: integer}]", relayHandler),
		map[string]string{"workflows/large.yaml": workflowYAML("large", "  inputs: [{name: data, type: file}]\n  triggers:\n    - {id: http, uses: http, with: {method: POST, path: /large, body: data, mode: async}}\n  steps:\n"+steps+"  result: {data: \"${"+from+"}\", size: \"${steps.s2.size}\"}\n")})), "large")
	ctx := deadline(t, 15*time.Minute)
	resp, err := p.Do(ctx, http.MethodPost, "/user-api/default/large", "application/octet-stream", io.LimitReader(pattern{}, size))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	r, err := p.WaitRun(ctx, resp.Header.Get("Pelton-Run"))
	require.NoError(t, err)
	require.Equal(t, "completed", r.State, "%+v", r.Error)
	require.Equal(t, strconv.FormatInt(size+3, 10), string(r.Result["size"]))
	peak := peakMemory(t, p.PID())
	require.Less(t, peak, int64(limit), "peak memory of the platform")
	t.Logf("%d MiB through three steps; the platform's peak was %d MiB", size>>20, peak>>20)
}

// pattern is an endless file that compresses to nothing and is cheap to make.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// peakMemory is the largest resident size that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestDiskFull: the disk of the home fills up under running workflows. Callers are told, nothing
// that was acknowledged is lost, and all goes on once there is room again.
func TestDiskFull(t *testing.T) {
	home, err := os.MkdirTemp("", "pelton-full-") //nolint:usetesting // reachable for other users
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(home) })
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "pelton-full", home).CombinedOutput(); err != nil {
		t.Skipf("a small disk cannot be mounted here (that needs root): %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", home).Run() }) //nolint:noctx // after the test's context
	p := startIn(t, home)
	deploy(t, p, workspace(t, merge(python("actions/nap", "[{name: x, type: integer}]", "[{name: x, type: integer}]", "import time\n\n\ndef handle(inputs):\n    time.sleep(0.05)\n    print('line', 'x' * 2000)\n    return {'x': inputs['x'] + 1}\n"),
		map[string]string{"workflows/nap.yaml": workflowYAML("nap", "  inputs: [{name: x, type: integer}]\n  steps:\n    - {id: a, uses: ./actions/nap, with: {x: \"${inputs.x}\"}}\n    - {id: b, uses: ./actions/nap, with: {x: \"${steps.a.x}\"}}\n  result: {x: \"${steps.b.x}\"}\n")})), "nap")
	ctx := deadline(t, 4*time.Minute)
	r, err := p.StartRun(ctx, "nap", map[string]any{"x": 1})
	require.NoError(t, err)
	_, err = p.WaitRun(ctx, r.ID)
	require.NoError(t, err)

	p.StopKills() // a process that starts writes where it is
	ballast := filepath.Join(home, "ballast")
	fill(t, ballast)
	var acknowledged []string
	refused := 0
	for end := time.Now().Add(20 * time.Second); refused < 3 && time.Now().Before(end); {
		r, err := p.StartRun(ctx, "nap", map[string]any{"x": 10})
		if err != nil {
			refused++
			continue
		}
		acknowledged = append(acknowledged, r.ID)
	}
	require.NoError(t, os.Remove(ballast))
	var last error
	require.NoError(t, harness.Until(ctx, "a run starts again", func() (bool, error) {
		r, err := p.StartRun(ctx, "nap", map[string]any{"x": 20})
		if err == nil {
			acknowledged = append(acknowledged, r.ID)
			return true, nil
		}
		last = err
		return false, nil
	}), "%v", &last)
	for _, id := range acknowledged {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "%s: %+v", id, r.Error)
	}
	t.Logf("%d runs were acknowledged around the full disk, %d refused; all that were acknowledged completed", len(acknowledged), refused)
}

// fill writes a file until there is no room left.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	block := make([]byte, 1<<20)
	for {
		if _, err := f.Write(block); err != nil {
			if len(block) == 1 {
				return
			}
			block = block[:len(block)/2]
		}
	}
}

// TestManyRuns: the list of some thousand runs comes page by page, each run once, newest first.
func TestManyRuns(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/same", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n"),
		map[string]string{"workflows/same.yaml": workflowYAML("same", "  inputs: [{name: n, type: integer}]\n  steps: [{id: a, uses: ./actions/same, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.a.n}\"}\n")})), "same")
	ctx := deadline(t, 3*time.Minute)
	const total = 1000
	var last string
	for i := range total {
		r, err := p.StartRun(ctx, "same", map[string]any{"n": i})
		require.NoError(t, err)
		last = r.ID
	}
	_, err := p.WaitRun(ctx, last)
	require.NoError(t, err)
	seen := map[string]bool{}
	cursor, before := "", "~"
	for pages := 0; ; pages++ {
		var page struct {
			Items      []struct{ ID string }
			NextCursor string `json:"next_cursor"`
		}
		began := time.Now()
		require.NoError(t, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs?limit=50&cursor="+cursor, nil, &page))
		if pages == 0 {
			t.Logf("the first page of %d runs took %s", total, time.Since(began).Round(time.Millisecond/10))
		}
		for _, r := range page.Items {
			require.Less(t, r.ID, before, "newest first, each once")
			before = r.ID
			seen[r.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	require.Len(t, seen, total)
}
