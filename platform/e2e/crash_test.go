package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

const markHandler = `import os, random, time


def handle(inputs, ctx):
    def mark(what):
        with open(inputs["file"], "a") as f:
            f.write(f"{ctx.run_id} {ctx.step} {ctx.attempt} {what}\n")
    mark("start")
    time.sleep(random.uniform(0.1, 0.4))
    mark("end")
    return {"file": inputs["file"]}
`

// mark is one line that an attempt wrote.
type mark struct {
	attempt int
	what    string
}

// TestCrash kills peltond at random points while runs are under way. An action appends a line at
// its start and at its end; nothing is deduplicated there. Before each restart the journal is read
// from the database: a step that it has as finished gets no later line; k starts are k recorded
// attempts, all but the last of them lost; attempts of one step never overlap; every acknowledged
// run completes.
func TestCrash(t *testing.T) {
	kills, runs := 50, 200
	if testing.Short() {
		kills, runs = 6, 60
	}
	if n, err := strconv.Atoi(os.Getenv("PELTON_CRASH_KILLS")); err == nil {
		kills = n
	}
	dir, err := os.MkdirTemp("", "pelton-marks-") //nolint:usetesting // other users have to reach it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	file := filepath.Join(dir, "marks")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	require.NoError(t, os.Chmod(file, 0o666))

	p := start(t)
	steps, from := "", "inputs.file"
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("s%d", i))
		steps += fmt.Sprintf("    - {id: s%d, uses: ./actions/mark, with: {file: \"${%s}\"}}\n", i, from)
		from = fmt.Sprintf("steps.s%d.file", i)
	}
	deploy(t, p, workspace(t, merge(python("actions/mark", "[{name: file, type: string}]", "[{name: file, type: string}]", markHandler),
		map[string]string{"workflows/crash.yaml": workflowYAML("crash", "  inputs: [{name: file, type: string}]\n  steps:\n"+steps+"  result: {file: \"${"+from+"}\"}\n")})), "crash")

	ctx := deadline(t, 8*time.Minute)
	var ids []string
	for range runs {
		r, err := p.StartRun(ctx, "crash", map[string]any{"file": file})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	finished := map[string]int{} // "run step" -> its lines when the journal first had it as finished
	machines := 0
	for k := range kills {
		pause := time.Duration(100+rand.IntN(900)) * time.Millisecond
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		p.Kill()
		if k%max(kills/3, 1) == 1 && machines < 3 { // as when the machine fails; a fourth lost attempt of a step would be its last
			killWrappers(t, p)
			machines++
		}
		told := readJournal(ctx, t, p, names)
		lines := readMarks(t, file) // after the journal: what it has as finished has written its last line
		for key := range told {
			if _, seen := finished[key]; !seen && told.finished(key) {
				finished[key] = len(lines[key])
			}
		}
		for key, n := range finished {
			require.True(t, told.finished(key), "%s was finished, and is no longer", key)
			require.Equal(t, n, len(lines[key]), "%s has lines after it had finished", key)
		}
		require.NoError(t, p.Restart(ctx), "restart %d", k)
	}
	var completed []harness.Run
	for _, id := range ids {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
		completed = append(completed, r)
	}
	p.Kill()
	told, final := readJournal(ctx, t, p, names), readMarks(t, file)
	require.NoError(t, p.Restart(ctx))
	require.Len(t, told, len(ids)*len(names))
	for _, r := range completed {
		require.Len(t, r.Steps, len(names))
		for _, s := range r.Steps {
			key := r.ID + " " + s.Step
			told.judge(t, key, final[key])
			require.Len(t, s.Attempts, len(told[key]), "%s: the history tells what the journal has", key)
		}
	}
	for key, n := range finished {
		require.Equal(t, n, len(final[key]), "%s has lines after it had finished", key)
	}
	require.NotEmpty(t, finished)
	lost := 0
	for _, m := range final {
		lost += max(0, starts(m)-1)
	}
	t.Logf("%d runs of 5 steps, %d kills, %d steps finished before one, %d attempts lost and made again", runs, kills, len(finished), lost)
}

// killWrappers ends the processes that run actions, which outlive the platform for a while.
func killWrappers(t *testing.T, p *harness.Platform) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Home, "run", "wrappers", "*.json"))
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var wrapper struct{ PID int }
		require.NoError(t, json.Unmarshal(data, &wrapper))
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", wrapper.PID))
		if err != nil || !bytes.Contains(cmdline, []byte(p.Home)) {
			continue // gone; the number may be somebody else's by now
		}
		if err := syscall.Kill(wrapper.PID, syscall.SIGKILL); err != nil {
			require.ErrorIs(t, err, syscall.ESRCH)
		}
	}
}

func starts(m []mark) int {
	n := 0
	for _, x := range m {
		if x.what == "start" {
			n++
		}
	}
	return n
}

// readMarks reads the lines by "run step".
func readMarks(t *testing.T, file string) map[string][]mark {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	out := map[string][]mark{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		require.Len(t, f, 4, line)
		attempt, err := strconv.Atoi(f[2])
		require.NoError(t, err)
		key := f[0] + " " + f[1]
		out[key] = append(out[key], mark{attempt, f[3]})
	}
	return out
}
