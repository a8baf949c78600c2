package e2e

import (
	"encoding/json"
	"errors"
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
	"github.com/pelton-run/pelton/platform/runner"
)

const markHandler = markPython + `import random, time


def handle(inputs, ctx):
    mark(inputs["file"], f"{ctx.run_id} {ctx.step} {ctx.attempt} start")
    time.sleep(random.uniform(0.1, 0.4))
    mark(inputs["file"], f"{ctx.run_id} {ctx.step} {ctx.attempt} end")
    return {"file": inputs["file"]}
`

// mark is one line that an attempt wrote.
type mark struct {
	attempt int
	what    string
}

// TestCrash kills peltond at random points while runs are under way. An action appends a line at
// its start and at its end; nothing is deduplicated there. Before each restart the journal is read
// from the database: a step finished there gets no later line; k starts are k recorded attempts,
// all but the last of them lost; attempts of one step never overlap; every acknowledged run completes.
func TestCrash(t *testing.T) {
	kills, runs := 50, 200
	if testing.Short() {
		kills, runs = 5, 30
	}
	if n, err := strconv.Atoi(os.Getenv("PELTON_CRASH_KILLS")); err == nil {
		kills = n
	}
	m := newMarks(t)
	p := start(t)
	steps, from := markSteps()
	deploy(t, p, workspace(t, merge(python("actions/mark", "[{name: file, type: string}]", "[{name: file, type: string}]", markHandler),
		map[string]string{"workflows/crash.yaml": workflowYAML("crash", "  inputs: [{name: file, type: string}]\n  steps:\n"+steps+"  result: {file: \"${"+from+"}\"}\n")})), "crash")

	ctx := deadline(t, 8*time.Minute)
	var ids []string
	for range runs {
		r, err := p.StartRun(ctx, "crash", map[string]any{"file": m.where})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	finished := map[string]int{} // "run step" -> lines when the journal first had it as finished
	database, err := p.Database("runner")
	require.NoError(t, err)
	for k := range kills {
		pause := time.Duration(100+rand.IntN(900)) * time.Millisecond
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		p.Kill()
		if k%20 == 4 { // as when the machine itself goes down; at most as often as a step may be lost
			killWrappers(t, p)
		}
		// The database outlives the platform: what it holds now is what was durable at the kill. The
		// journal is read before the marks, so that a mark written in between is never held against it.
		journal, err := runner.ReadJournal(ctx, database, "default")
		require.NoError(t, err, "journal after kill %d", k)
		marks := readMarks(t, m.file)
		for _, r := range journal {
			for _, s := range r.Steps {
				judgeStep(t, r.ID, s, marks[r.ID+" "+s.Step], finished)
			}
		}
		require.NoError(t, p.Restart(ctx), "restart %d", k)
	}
	for _, id := range ids {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
		judge(t, r, readMarks(t, m.file))
	}
	final := readMarks(t, m.file)
	for key, n := range finished {
		require.Equal(t, n, len(final[key]), "%s has lines after it had finished", key)
	}
	lost := 0
	for _, m := range final {
		lost += max(0, starts(m)-1)
	}
	t.Logf("%d runs of 5 steps, %d kills, %d attempts lost and made again", runs, kills, lost)
}

// TestCrashOfPure kills peltond while steps that only compute run ahead of its journal. They may be made again;
// the runs come to the same results, and the step at their end, which writes, is judged as any other.
func TestCrashOfPure(t *testing.T) {
	unsplit(t, "it is one process")
	const kills, runs, pure = 8, 40, 8
	m := newMarks(t)
	p := start(t)
	add := "def handle(inputs):\n    print('one of many')\n    return {'n': inputs['n'] + 1}\n"
	steps, from := "", "inputs.n"
	for i := range pure {
		steps += fmt.Sprintf("    - {id: p%d, uses: ./actions/add, effect: pure, with: {n: \"${%s}\"}}\n", i, from)
		from = fmt.Sprintf("steps.p%d.n", i)
	}
	steps += "    - {id: mark, uses: ./actions/mark, needs: [p7], with: {file: \"${inputs.file}\"}}\n"
	deploy(t, p, workspace(t, merge(python("actions/mark", "[{name: file, type: string}]", "[{name: file, type: string}]", markHandler),
		python("actions/add", "[{name: n, type: integer}]", "[{name: n, type: integer}]", add),
		map[string]string{"workflows/pure.yaml": workflowYAML("pure", "  inputs: [{name: file, type: string}, {name: n, type: integer}]\n  steps:\n"+steps+"  result: {n: \"${"+from+"}\", file: \"${steps.mark.file}\"}\n")})), "pure")
	ctx := deadline(t, 5*time.Minute)
	var ids []string
	finished := map[string]int{}
	database, err := p.Database("runner")
	require.NoError(t, err)
	for k := range kills {
		for range runs / kills {
			r, err := p.StartRun(ctx, "pure", map[string]any{"file": m.where, "n": len(ids)})
			require.NoError(t, err)
			ids = append(ids, r.ID)
		}
		wait(ctx, t, time.Duration(rand.IntN(300))*time.Millisecond)
		p.Kill()
		if k%4 == 3 {
			killWrappers(t, p)
		}
		journal, err := runner.ReadJournal(ctx, database, "default")
		require.NoError(t, err)
		marks := readMarks(t, m.file)
		for _, r := range journal {
			for _, s := range r.Steps {
				if s.Step == "mark" {
					judgeStep(t, r.ID, s, marks[r.ID+" "+s.Step], finished)
				}
			}
		}
		require.NoError(t, p.Restart(ctx))
	}
	for i, id := range ids {
		r, err := p.WaitRun(ctx, id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State, "run %s: %+v", id, r.Error)
		require.Equal(t, strconv.Itoa(i+pure), string(r.Result["n"]))
	}
	final := readMarks(t, m.file)
	for key, n := range finished {
		require.Equal(t, n, len(final[key]), "%s has lines after it had finished", key)
	}
}

// judgeStep holds what the journal says of a step at a kill against its lines. A finished step gets
// no later line; attempts before the last one are lost; no attempt started that is not recorded.
func judgeStep(t *testing.T, run string, s runner.JournalStep, lines []mark, finished map[string]int) {
	t.Helper()
	key := run + " " + s.Step
	n := len(s.Attempts)
	require.LessOrEqual(t, starts(lines), n, "%s: more starts than attempts in the journal", key)
	for i, a := range s.Attempts {
		require.Equal(t, i+1, a.Number, key)
		if i < n-1 {
			require.Equal(t, "lost", a.State, "%s attempt %d", key, a.Number)
			require.False(t, a.FinishedAt.After(s.Attempts[i+1].StartedAt), "%s: attempt %d started before %d had ended", key, a.Number+1, a.Number)
		}
	}
	if s.State != "completed" {
		return
	}
	require.Equal(t, mark{n, "end"}, lines[len(lines)-1], key)
	if before, seen := finished[key]; seen {
		require.Len(t, lines, before, "%s has lines after it had finished", key)
	} else {
		finished[key] = len(lines)
	}
}

// killWrappers ends the wrappers of a platform that is down, with no chance to clear up.
func killWrappers(t *testing.T, p *harness.Platform) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Home, "run", "wrappers", "*.json"))
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var w struct{ PID int }
		require.NoError(t, json.Unmarshal(data, &w))
		if err := syscall.Kill(w.PID, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			require.NoError(t, err)
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
