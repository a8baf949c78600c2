package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

const copyHandler = `import os, shutil


def handle(inputs, ctx):
    path = os.path.join(ctx.workdir, "copy")
    with open(inputs["data"], "rb") as src, open(path, "wb") as dst:
        dst.write(bytes([(src.read(1)[0] + 1) % 256]))
        shutil.copyfileobj(src, dst, 1 << 20)
    return {"data": path}
`

// noise is a stream of bytes that no disk or store makes smaller, the same for the same seed.
func noise(seed byte, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

// peak is the largest resident memory that a process had so far, in MiB; 0 where it cannot be told.
func peak(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(v)[0])
			require.NoError(t, err)
			return kib >> 10
		}
	}
	return 0
}

// TestLargeFile: a file goes in over HTTP, through three steps that each write it anew, and out again;
// the platform holds none of it in memory. PELTON_FILE_MIB says how large it is, 512 by default.
func TestLargeFile(t *testing.T) {
	mib := int64(512)
	if n, err := strconv.ParseInt(os.Getenv("PELTON_FILE_MIB"), 10, 64); err == nil {
		mib = n
	}
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/copy", "[{name: data, type: file}]", "[{name: data, type: file}]", copyHandler),
		map[string]string{"workflows/large.yaml": workflowYAML("large", `  inputs: [{name: data, type: file}]
  triggers:
    - {id: http, uses: http, with: {method: POST, path: /large, body: data, timeout: 5m, response: {body: "${steps.c.data}"}}}
  steps:
    - {id: a, uses: ./actions/copy, with: {data: "${inputs.data}"}}
    - {id: b, uses: ./actions/copy, with: {data: "${steps.a.data}"}}
    - {id: c, uses: ./actions/copy, with: {data: "${steps.b.data}"}}
`)})), "large")
	size := mib << 20
	began := time.Now()
	resp, err := p.Do(deadline(t, 5*time.Minute), http.MethodPost, "/user-api/default/large", "application/octet-stream", noise(1, size))
	require.NoError(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		t.Fatalf("%d %s", resp.StatusCode, said)
	}
	want, got := sha256.New(), sha256.New()
	source := noise(1, size)
	first := []byte{0}
	_, err = io.ReadFull(source, first)
	require.NoError(t, err)
	want.Write([]byte{first[0] + 3})
	_, err = io.Copy(want, source)
	require.NoError(t, err)
	n, err := io.Copy(got, resp.Body)
	require.NoError(t, err)
	require.Equal(t, size, n)
	require.Equal(t, hex.EncodeToString(want.Sum(nil)), hex.EncodeToString(got.Sum(nil)))
	most := peak(t, p.PID())
	t.Logf("%d MiB through three steps and back in %s, peltond held at most %d MiB", mib, time.Since(began).Round(time.Millisecond), most)
	require.Less(t, most, 300, "MiB of memory")
}

// TestDiskQuota: an execution whose files grow beyond its limit is ended with that reason, whether or
// not it stops writing; the next one is not harmed.
func TestDiskQuota(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/fill", "[{name: files, type: integer}]", "[{name: files, type: integer}]", `import os, time


def handle(inputs, ctx):
    for n in range(inputs["files"]):
        with open(os.path.join(ctx.workdir, str(n)), "wb") as f:
            f.truncate(4 << 30)
    while inputs["files"] > 0:
        time.sleep(1)
    return {"files": 0}
`), map[string]string{"workflows/fill.yaml": workflowYAML("fill", "  inputs: [{name: files, type: integer}]\n  steps: [{id: f, uses: ./actions/fill, with: {files: \"${inputs.files}\"}}]\n")})), "fill")
	ctx := deadline(t, 2*time.Minute)
	for _, c := range []struct {
		files int
		state string
	}{{3, "failed"}, {0, "completed"}} {
		r, err := p.StartRun(ctx, "fill", map[string]any{"files": c.files})
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		require.Equal(t, c.state, r.State, "%+v", r.Error)
		if r.Error != nil {
			require.Equal(t, "disk_full", r.Error.Kind)
			require.Contains(t, r.Error.Message, "limit of 10240 MiB")
		}
	}
}

// TestManyRuns: a list of thousands of runs has every one once, newest first, on pages that
// stay what they are while more runs start.
func TestManyRuns(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/same", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n"),
		map[string]string{"workflows/many.yaml": workflowYAML("many", "  inputs: [{name: n, type: integer}]\n  steps: [{id: s, if: inputs.n < 0, uses: ./actions/same, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${inputs.n}\"}\n")})), "many")
	ctx := deadline(t, 4*time.Minute)
	begin := func(n int) []string {
		ids, failures := make([]string, n), make([]error, n)
		var wg sync.WaitGroup
		slots := make(chan struct{}, 16)
		for i := range n {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				r, err := p.StartRun(ctx, "many", map[string]any{"n": i})
				ids[i], failures[i] = r.ID, err
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(failures...))
		return ids
	}
	type page struct {
		Items      []struct{ ID, State string }
		NextCursor string `json:"next_cursor"`
	}
	read := func(limit int, cursor string) (got page) {
		require.NoError(t, p.JSON(ctx, http.MethodGet, fmt.Sprintf("/runner/v1/projects/default/runs?workflow=many&limit=%d&cursor=%s", limit, cursor), nil, &got))
		return got
	}
	ids := begin(1000)
	began := time.Now()
	require.Len(t, read(50, "").Items, 50)
	t.Logf("the first page of 1,000 runs took %s", time.Since(began).Round(10*time.Microsecond))
	ids = append(ids, begin(2000)...)
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	require.Len(t, want, 3000)
	var seen []string
	for cursor, pages := "", 0; ; pages++ {
		got := read(70, cursor)
		for _, r := range got.Items {
			seen = append(seen, r.ID)
		}
		if cursor = got.NextCursor; cursor == "" {
			break
		}
		if pages%10 == 0 {
			begin(3) // newer than everything that this list still has to show
		}
	}
	require.Len(t, seen, 3000, "every run once, none that started since")
	for _, id := range seen {
		require.True(t, want[id], id)
		delete(want, id)
	}
	require.True(t, slices.IsSortedFunc(seen, func(a, b string) int { return strings.Compare(b, a) }), "newest first")
}

const diskSpace = "PELTON_TEST_DISK" // set in the process that has a small disk of its own

// TestDiskFull: on a full disk the platform says so, and goes on by itself once there is space. The
// disk is one in memory, mounted in a namespace of this test's own.
func TestDiskFull(t *testing.T) {
	dir := os.Getenv(diskSpace)
	if dir == "" {
		withSmallDisk(t)
		return
	}
	p, err := harness.Start(deadline(t, time.Minute), harness.Options{Home: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	deploy(t, p, workspace(t, merge(python("actions/make", "[{name: mib, type: integer}]", "[{name: data, type: file}]", `import os


def handle(inputs, ctx):
    path = os.path.join(ctx.workdir, "made")
    with open(path, "wb") as f:
        for _ in range(inputs["mib"]):
            f.write(os.urandom(1 << 20))
    return {"data": path}
`), map[string]string{"workflows/make.yaml": workflowYAML("make", "  inputs: [{name: mib, type: integer}]\n  steps: [{id: m, uses: ./actions/make, with: {mib: \"${inputs.mib}\"}}]\n  result: {size: \"${steps.m.data.size}\"}\n"),
		"workflows/take.yaml": workflowYAML("take", "  inputs: [{name: data, type: file}]\n  triggers: [{id: http, uses: http, with: {method: POST, path: /take, body: data}}]\n  steps: [{id: m, uses: ./actions/make, with: {mib: 1}}]\n  result: {size: \"${inputs.data.size}\"}\n")})), "make", "take")
	ctx := deadline(t, 3*time.Minute)
	ballast := filepath.Join(dir, "ballast")
	run := func(mib int) harness.Run {
		r, err := p.StartRun(ctx, "make", map[string]any{"mib": mib})
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		return r
	}
	require.Equal(t, "completed", run(1).State)

	// Little is left: what is too large fails in words, what is small goes on.
	fill(t, ballast, 40<<20)
	r := run(60)
	require.Equal(t, "failed", r.State)
	t.Logf("an action: %s: %s", r.Error.Kind, r.Error.Message)
	require.Regexp(t, "(?i)disk|space", r.Error.Message)
	resp, err := p.Do(ctx, http.MethodPost, "/user-api/default/take", "application/octet-stream", noise(2, 60<<20))
	require.NoError(t, err)
	said, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.NoError(t, err)
	t.Logf("an upload: %d %s", resp.StatusCode, said)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, string(said), "disk")
	left, err := filepath.Glob(filepath.Join(dir, "files", "default", "tmp", "*"))
	require.NoError(t, err)
	require.Empty(t, left, "a refused upload leaves nothing")
	require.Equal(t, "completed", run(1).State, "there is room for a small one")

	// Nothing is left, not for the database either: calls fail, or are not answered, until there is
	// space again.
	fill(t, ballast, 0)
	var acknowledged []string
	try := func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		r, err := p.StartRun(ctx, "make", map[string]any{"mib": 1})
		if err == nil {
			acknowledged = append(acknowledged, r.ID)
		}
		return err
	}
	require.NoError(t, harness.Until(ctx, "the full disk is felt", func() (bool, error) {
		err := try()
		if err != nil {
			t.Logf("a call: %v", err)
		}
		return err != nil, nil
	}))
	require.NoError(t, os.Remove(ballast))
	require.NoError(t, harness.Until(ctx, "the platform takes runs again", func() (bool, error) { return try() == nil, nil }))
	for _, id := range acknowledged {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		if r.State != "completed" { // one that met the full disk
			require.Regexp(t, "(?i)disk|space", r.Error.Message)
		}
	}
	require.Equal(t, "completed", run(1).State)
	t.Logf("%d runs acknowledged around the full disk", len(acknowledged))
}

// withSmallDisk runs the calling test again in a mount namespace of its own, on a disk of 400 MiB.
func withSmallDisk(t *testing.T) {
	t.Helper()
	bin, err := harness.Bin()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	dir := workspace(t, nil)
	script := `mount -t tmpfs -o size=400m,mode=755 none "$0" && exec "$@"`
	args := []string{"-m", "--propagation", "private"}
	if os.Geteuid() != 0 {
		args = append(args, "-r") // root of a user namespace of one's own
	}
	cmd := exec.CommandContext(deadline(t, 4*time.Minute), "unshare", append(args, "sh", "-c", script, dir, self, "-test.run", "^"+t.Name()+"$", "-test.v")...)
	cmd.Env = append(os.Environ(), diskSpace+"="+dir, "PELTON_BIN="+bin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

// fill writes a file until so many bytes are left on its disk.
func fill(t *testing.T, path string, left int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer f.Close()
	for {
		var st syscall.Statfs_t
		require.NoError(t, syscall.Statfs(filepath.Dir(path), &st))
		free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // its type differs between systems
		if free <= left {
			return
		}
		_, err := f.Write(make([]byte, min(1<<20, free-left)))
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		require.NoError(t, err)
	}
}
