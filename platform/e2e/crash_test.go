package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
// its start and at its end; nothing is deduplicated there. A step that the journal had as
// finished before a kill gets no later line; k starts are k recorded attempts, all but the last
// of them lost; attempts of one step never overlap; every acknowledged run completes.
func TestCrash(t *testing.T) {
	kills, runs := 50, 200
	if testing.Short() {
		kills, runs = 5, 30
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
	for i := range 5 {
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
	finished := map[string]int{} // "run step" -> lines at the first kill after its end
	for k := range kills {
		pause := time.Duration(100+rand.IntN(900)) * time.Millisecond
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		killed := time.Now()
		p.Kill()
		before := readMarks(t, file)
		require.NoError(t, p.Restart(ctx), "restart %d", k)
		for _, id := range ids {
			r, err := p.Run(ctx, id)
			require.NoError(t, err)
			for _, s := range r.Steps {
				// History is read from the journal. A step that it has as finished, with an end that
				// lies before the kill, was finished at the kill.
				if s.State == "completed" && s.FinishedAt.Before(killed) {
					key := id + " " + s.Step
					if n, seen := finished[key]; seen {
						require.Equal(t, n, len(before[key]), "%s has lines after it had finished", key)
					} else {
						finished[key] = len(before[key])
					}
				}
			}
		}
	}
	for _, id := range ids {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
		judge(t, r, readMarks(t, file))
	}
	final := readMarks(t, file)
	for key, n := range finished {
		require.Equal(t, n, len(final[key]), "%s has lines after it had finished", key)
	}
	lost := 0
	for _, m := range final {
		lost += max(0, starts(m)-1)
	}
	t.Logf("%d runs of 5 steps, %d kills, %d attempts lost and made again", runs, kills, lost)
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

// judge holds a run's recorded attempts against the lines.
func judge(t *testing.T, r harness.Run, marks map[string][]mark) {
	t.Helper()
	require.Len(t, r.Steps, 5)
	for _, s := range r.Steps {
		key := r.ID + " " + s.Step
		lines := marks[key]
		n := len(s.Attempts)
		require.LessOrEqual(t, starts(lines), n, "%s: more starts than recorded attempts", key)
		for i, a := range s.Attempts {
			if i < n-1 {
				require.Equal(t, "lost", a.State, "%s attempt %d", key, a.Number)
			} else {
				require.Equal(t, "completed", a.State, "%s attempt %d", key, a.Number)
			}
		}
		seen := 0
		for _, m := range lines {
			if m.what == "start" {
				require.Greater(t, m.attempt, seen, "%s: attempt %d started twice or out of order", key, m.attempt)
				seen = m.attempt
				continue
			}
			require.Equal(t, seen, m.attempt, "%s: attempt %d ended after %d had started", key, m.attempt, seen)
		}
		require.Equal(t, mark{n, "end"}, lines[len(lines)-1], key)
	}
}
