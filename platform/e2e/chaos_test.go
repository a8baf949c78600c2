package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/runner"
)

const chaosHandler = markPython + `import random, time


class PeltonError(Exception):
    def __init__(self, message, kind):
        super().__init__(message)
        self.message, self.kind = message, kind


def handle(inputs, ctx):
    def tell(what):
        mark(inputs["file"], f"{ctx.idempotency_key} {ctx.attempt} {what} {time.time():.6f}")
    tell("start")
    time.sleep(random.uniform(0.01, 0.12))
    tell("end")
    if inputs.get("fail") == "always" or inputs.get("fail") == "first" and ctx.attempt == 1:
        raise PeltonError("as ordered", "unlucky")
    return {"file": inputs["file"], "n": ctx.attempt}
`

const chaosFan = `def handle(inputs):
    return [{"file": inputs["file"]} for _ in range(3)]
`

// chaosWorkflows use every construct.
var chaosWorkflows = map[string]string{
	"workflows/child.yaml": workflowYAML("child", `  inputs: [{name: file, type: string}]
  steps:
    - {id: one, uses: ./actions/mark, with: {file: "${inputs.file}"}}
    - {id: two, uses: ./actions/mark, with: {file: "${steps.one.file}"}}
  result: {file: "${steps.two.file}"}
`),
	"workflows/chaos.yaml": workflowYAML("chaos", `  inputs: [{name: file, type: string}]
  steps:
    - {id: a, uses: ./actions/mark, with: {file: "${inputs.file}"}, undo: {uses: ./actions/mark, with: {file: "${steps.a.file}"}}}
    - {id: each, forEach: {in: "${[1, 2, 3]}", concurrency: 2}, uses: ./actions/mark, with: {file: "${steps.a.file}"}}
    - {id: passes, loop: {until: pass.index == 2, max: 5, delay: 100ms}, uses: ./actions/mark, with: {file: "${steps.a.file}"}}
    - {id: pause, needs: [a], wait: {for: 1s}}
    - {id: flaky, needs: [pause], uses: ./actions/mark, with: {file: "${inputs.file}", fail: first}, retry: {attempts: 3, backoff: 100ms, on: [unlucky]}}
    - {id: caught, uses: ./actions/mark, with: {file: "${steps.a.file}", fail: always}, catch: [{on: [unlucky], outputs: {file: caught, n: 0}}]}
    - {id: route, switch: "steps.each.size()", cases: {"3": [right]}, default: [wrong]}
    - {id: right, uses: ./actions/mark, with: {file: "${inputs.file}"}}
    - {id: wrong, uses: ./actions/mark, with: {file: "${inputs.file}"}}
    - {id: held, needs: [a], uses: ./actions/mark, with: {file: "${inputs.file}"}, concurrency: {key: chaos, limit: 3}}
    - {id: sub, needs: [a], workflow: child, with: {file: "${inputs.file}"}}
    - {id: fan, needs: [a], uses: ./actions/fan, with: {file: "${inputs.file}"}}
    - {id: item, uses: ./actions/mark, with: {file: "${steps.fan.file}"}}
    - {id: all, collect: item}
  result: {items: "${steps.all.items.size()}", caught: "${steps.caught.file}", sub: "${steps.sub.file}", flaky: "${steps.flaky.n}"}
`),
	"workflows/undone.yaml": workflowYAML("undone", `  inputs: [{name: file, type: string}]
  onFailure: child-handler
  steps:
    - {id: a, uses: ./actions/mark, with: {file: "${inputs.file}"}, undo: {uses: ./actions/mark, with: {file: "${steps.a.file}"}}}
    - {id: b, uses: ./actions/mark, with: {file: "${steps.a.file}"}, undo: {uses: ./actions/mark, with: {file: "${steps.b.file}"}}}
    - {id: boom, uses: ./actions/mark, with: {file: "${steps.b.file}", fail: always}}
`),
	"workflows/child-handler.yaml": workflowYAML("child-handler", `  inputs: [{name: run, type: string}]
  steps: [{id: note, wait: {for: 10ms}}]
  result: {run: "${inputs.run}"}
`),
}

// line is one line that an attempt wrote.
type line struct {
	attempt int
	what    string
	at      float64
}

// TestChaos kills the platform, its wrappers and PostgreSQL at random while runs that use every
// construct are under way. No acknowledged run is lost and each ends as its workflow says; a step
// that is finished in the journal gets no later line; its attempts never overlap and are all
// recorded; a key's limit holds. PELTON_CHAOS_TIME and PELTON_CHAOS_RUNS make it longer: `make chaos`.
func TestChaos(t *testing.T) {
	span, atOnce := 15*time.Second, 40
	if d, err := time.ParseDuration(os.Getenv("PELTON_CHAOS_TIME")); err == nil {
		span = d
	}
	if n, err := strconv.Atoi(os.Getenv("PELTON_CHAOS_RUNS")); err == nil {
		atOnce = n
	}
	m := newMarks(t)
	p := start(t)
	deploy(t, p, workspace(t, merge(python("actions/mark", "[{name: file, type: string}, {name: fail, type: string, optional: true}]", "[{name: file, type: string}, {name: n, type: integer}]", chaosHandler),
		python("actions/fan", "[{name: file, type: string}]", "[{name: file, type: string}]", chaosFan), chaosWorkflows)), "chaos", "child", "undone", "child-handler")
	ctx := deadline(t, span+10*time.Minute)
	database, err := p.Database("runner")
	require.NoError(t, err)

	c := &chaos{t: t, p: p, marks: m, database: database, finished: map[string]int{}}
	c.begin(ctx, atOnce)
	kills := map[string]int{}
	for end := time.Now().Add(span); time.Now().Before(end); {
		wait(ctx, t, time.Duration(200+rand.IntN(1800))*time.Millisecond)
		what := []string{"platform", "platform", "wrappers", "database", "everything"}[rand.IntN(5)]
		kills[what]++
		switch what {
		case "platform":
			p.Kill()
			if kills[what]%8 == 1 {
				c.judgeJournal(ctx)
			}
			require.NoError(t, p.Restart(ctx))
		case "wrappers":
			if kills[what] <= 3 || span > time.Minute {
				killWrappers(t, p)
			}
		case "database":
			_ = killDatabase(t, p) // it may just be being started again
		case "everything":
			p.Kill()
			_ = killDatabase(t, p)
			require.NoError(t, p.Restart(ctx))
		}
		c.begin(ctx, min(atOnce/10, atOnce-c.underWay(ctx)))
	}
	c.judgeRuns(ctx)
	t.Logf("%d runs, kills %v, %d attempts", len(c.runs), kills, c.attempts)
}

func wait(ctx context.Context, t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
}

// killDatabase kills PostgreSQL; it fails while that is just being started again. One that others
// share is not ours to kill: all connections of all services end instead.
func killDatabase(t *testing.T, p *harness.Platform) error {
	t.Helper()
	if p.IsSplit() {
		for _, service := range []string{"authorization", "repository", "studio", "runner", "bridge"} {
			endConnections(t, p, service)
		}
		return nil
	}
	data, err := os.ReadFile(filepath.Join(p.Home, "pg", "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(string(data), "\n", 2)[0]))
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

func endConnections(t *testing.T, p *harness.Platform, service string) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	database, err := p.Database(service)
	require.NoError(t, err)
	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	require.NoError(t, err)
}

type chaos struct {
	t        *testing.T
	p        *harness.Platform
	marks    marks
	database string
	runs     map[string]string // id -> workflow
	finished map[string]int    // step run -> lines when the journal first had it as finished
	attempts int
}

// begin starts runs; one that is not acknowledged is not counted.
func (c *chaos) begin(ctx context.Context, n int) {
	c.t.Helper()
	if c.runs == nil {
		c.runs = map[string]string{}
	}
	for i := range n {
		name := "chaos"
		if i%5 == 4 {
			name = "undone"
		}
		require.NoError(c.t, harness.Until(ctx, "a run starts", func() (bool, error) {
			r, err := c.p.StartRun(ctx, name, map[string]any{"file": c.marks.where})
			if err == nil {
				c.runs[r.ID] = name
			}
			return err == nil, nil //nolint:nilerr // the database is away for a moment
		}))
	}
}

// underWay counts the runs that have not ended; more than are wanted at once would only queue up.
func (c *chaos) underWay(ctx context.Context) (n int) {
	c.t.Helper()
	require.NoError(c.t, harness.Until(ctx, "live runs are counted", func() (bool, error) {
		conn, err := pgx.Connect(ctx, c.database)
		if err != nil {
			return false, nil //nolint:nilerr // the database is away for a moment
		}
		defer conn.Close(ctx)
		return conn.QueryRow(ctx, "SELECT count(*) FROM live_run").Scan(&n) == nil, nil
	}))
	return n
}

// lines reads the marks by step run: run:step:path.
func (c *chaos) lines() map[string][]line {
	c.t.Helper()
	data, err := os.ReadFile(c.marks.file)
	require.NoError(c.t, err)
	out := map[string][]line{}
	for text := range strings.Lines(string(data)) {
		f := strings.Fields(text)
		require.Len(c.t, f, 4, text)
		attempt, err := strconv.Atoi(f[1])
		require.NoError(c.t, err)
		at, err := strconv.ParseFloat(f[3], 64)
		require.NoError(c.t, err)
		out[f[0]] = append(out[f[0]], line{attempt, f[2], at})
	}
	return out
}

func stepKey(run string, s runner.JournalStep) string {
	parts := make([]string, len(s.ItemPath))
	for i, x := range s.ItemPath {
		parts[i] = strconv.Itoa(int(x))
	}
	return run + ":" + s.Step + ":" + strings.Join(parts, ".")
}

// judgeJournal holds what is durable while the platform is down against the marks.
func (c *chaos) judgeJournal(ctx context.Context) {
	c.t.Helper()
	if err := waitDatabase(ctx, c.database); err != nil {
		return // it was killed with the platform, and comes back with it
	}
	journal, err := runner.ReadJournal(ctx, c.database, "default")
	require.NoError(c.t, err)
	marks := c.lines()
	for _, r := range journal {
		for _, s := range r.Steps {
			c.judgeStep(r.ID, s, marks)
		}
	}
}

func waitDatabase(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := runner.ReadJournal(ctx, url, "nobody")
	return err
}

func (c *chaos) judgeStep(run string, s runner.JournalStep, marks map[string][]line) {
	key := stepKey(run, s)
	lines := marks[key]
	n := len(s.Attempts)
	started := 0
	for _, l := range lines {
		if l.what == "start" {
			started++
		}
	}
	require.LessOrEqual(c.t, started, n, "%s: more starts than attempts in the journal", key)
	for i, a := range s.Attempts {
		require.Equal(c.t, i+1, a.Number, key)
		if i < n-1 {
			require.Contains(c.t, []string{"lost", "failed"}, a.State, "%s attempt %d", key, a.Number)
			require.False(c.t, a.FinishedAt.After(s.Attempts[i+1].StartedAt), "%s: attempt %d started before %d had ended", key, a.Number+1, a.Number)
		}
	}
	if s.State != "completed" && s.State != "failed" || n == 0 {
		return
	}
	if before, seen := c.finished[key]; seen {
		require.Len(c.t, lines, before, "%s has lines after it had finished", key)
	} else {
		c.finished[key] = len(lines)
	}
}

// judgeRuns waits for every acknowledged run and holds it against its workflow and its marks.
func (c *chaos) judgeRuns(ctx context.Context) {
	c.t.Helper()
	handlers := 0
	for id, name := range c.runs {
		r, err := c.p.WaitRun(ctx, id)
		require.NoError(c.t, err)
		if name == "undone" {
			require.Equal(c.t, "failed", r.State, "%+v", r.Error)
			handlers++
		} else {
			require.Equal(c.t, "completed", r.State, "run %s: %+v", id, r.Error)
			require.Equal(c.t, "3 \"caught\"", fmt.Sprintf("%s %s", r.Result["items"], r.Result["caught"]))
		}
	}
	c.p.Kill()
	journal, err := runner.ReadJournal(ctx, c.database, "default")
	require.NoError(c.t, err)
	require.NoError(c.t, c.p.Restart(ctx))
	marks := c.lines()
	children, handled := 0, 0
	for _, r := range journal {
		for _, s := range r.Steps {
			c.judgeStep(r.ID, s, marks)
			c.attempts += len(s.Attempts)
		}
		switch c.runs[r.ID] {
		case "chaos":
			require.Equal(c.t, "completed", r.State)
		case "undone":
			c.judgeUndone(r)
		default:
			require.Equal(c.t, "completed", r.State, "run %s", r.ID)
			if len(r.Steps) == 1 {
				handled++
			} else {
				children++
			}
		}
	}
	for key, n := range c.finished {
		require.Len(c.t, marks[key], n, "%s has lines after it had finished", key)
	}
	require.Equal(c.t, len(c.runs)-handlers, children, "one run of the child for each run that calls it")
	require.Equal(c.t, handlers, handled, "one run of the handler for each failure")
	c.judgeOverlap(marks)
}

func (c *chaos) judgeUndone(r runner.JournalRun) {
	c.t.Helper()
	seen := map[string]time.Time{}
	for _, s := range r.Steps {
		if strings.HasSuffix(s.Step, ".undo") {
			require.Equal(c.t, "completed", s.State, "run %s %s", r.ID, s.Step)
			seen[s.Step] = s.Attempts[0].StartedAt
		}
	}
	require.Len(c.t, seen, 2, "run %s", r.ID)
	require.True(c.t, seen["b.undo"].Before(seen["a.undo"]), "what was done last is taken back first")
}

// judgeOverlap checks that attempts of one step run never overlap, and that at most three of the
// step with a key run at a time. An attempt that was killed has no end and is left out of the count.
func (c *chaos) judgeOverlap(marks map[string][]line) {
	c.t.Helper()
	type edge struct {
		at    float64
		delta int
	}
	var held []edge
	for key, lines := range marks {
		open := 0
		for i, l := range lines {
			if l.what == "start" {
				require.Greater(c.t, l.attempt, open, "%s: attempt %d started twice or out of order", key, l.attempt)
				open = l.attempt
				continue
			}
			require.Equal(c.t, open, l.attempt, "%s: attempt %d ended after %d had started", key, l.attempt, open)
			if strings.Contains(key, ":held:") {
				held = append(held, edge{lines[i-1].at, 1}, edge{l.at, -1})
			}
		}
	}
	sort.Slice(held, func(i, j int) bool {
		return held[i].at < held[j].at || held[i].at == held[j].at && held[i].delta < held[j].delta
	})
	now := 0
	for _, e := range held {
		now += e.delta
		require.LessOrEqual(c.t, now, 3, "more than three hold the key at %f", e.at)
	}
}
