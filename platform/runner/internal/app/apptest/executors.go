package apptest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Compute is a Deployer and an Executor under test.
type Compute struct {
	Deployer app.Deployer
	Executor app.Executor
	// Build makes a build callable whose handler is this Python source.
	Build func(t *testing.T, handler string) domain.Build
	// Kill ends an instance, with all that it had started, as a machine that fails does.
	Kill func(instance string)
	// Restart gives the executor of a next process, after this one was killed. nil: the adapter cannot
	// have two lives in one process, its end-to-end tests show it.
	Restart func(t *testing.T) app.Executor
	// Cap is how many executions of a build it has under way at most.
	Cap int
}

// WriteBundle writes what a build of a Python action is to the wrapper: one input `text`, one output
// `text`, both strings.
func WriteBundle(t *testing.T, dir, digest, handler string, concurrency int) {
	t.Helper()
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "code"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "code", "handler.py"), []byte(handler), 0o644))
	item := []map[string]any{{"name": "text", "type": "string"}}
	text, err := json.Marshal(map[string]any{"format": 1, "build": digest, "action": "test@1.0", "kind": "Processor", "runtime": "python3", "interpreter": python,
		"handler": "code/handler.py", "export": "handle", "concurrency": concurrency, "inputs": item, "outputs": item})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bundle.json"), text, 0o644))
}

// Told is a Sink that keeps what it is told.
type Told struct {
	mu      sync.Mutex
	Phases  []string
	At      map[string]time.Time // of phases
	Logs    []string
	Outputs []app.Output
	ended   []app.Ended
	over    chan struct{}
	logged  chan struct{} // closed at the first line
}

// NewTold makes a Told.
func NewTold() *Told {
	return &Told{At: map[string]time.Time{}, over: make(chan struct{}), logged: make(chan struct{})}
}

// Phase implements app.Sink.
func (k *Told) Phase(kind string, at time.Time) {
	k.add(func() {
		k.Phases = append(k.Phases, kind)
		k.At[kind] = at
	})
}

// Log implements app.Sink.
func (k *Told) Log(l domain.LogLine) {
	k.add(func() {
		if k.Logs = append(k.Logs, l.Line); len(k.Logs) == 1 {
			close(k.logged)
		}
	})
}

// Progress implements app.Sink.
func (k *Told) Progress(float64, string) {}

// Output implements app.Sink.
func (k *Told) Output(o app.Output) { k.add(func() { k.Outputs = append(k.Outputs, o) }) }

// Ended implements app.Sink.
func (k *Told) Ended(e app.Ended) {
	k.add(func() {
		if k.ended = append(k.ended, e); len(k.ended) == 1 {
			close(k.over)
		}
	})
}

func (k *Told) add(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// Logged waits for the first line.
func (k *Told) Logged(t *testing.T) { wait(t, k.logged, time.Minute) }

// End waits for the end, which is told once, a minute at the longest.
func (k *Told) End(t *testing.T) app.Ended {
	t.Helper()
	return k.EndWithin(t, time.Minute)
}

// EndWithin waits as long as it is told.
func (k *Told) EndWithin(t *testing.T, limit time.Duration) app.Ended {
	t.Helper()
	wait(t, k.over, limit)
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Len(t, k.ended, 1)
	return k.ended[0]
}

func wait(t *testing.T, c <-chan struct{}, limit time.Duration) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(limit):
		t.Fatalf("nothing came within %s", limit)
	}
}

// HasEnded tells whether the end was told.
func (k *Told) HasEnded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ended) > 0
}

// Text is the one output's value.
func (k *Told) Text(t *testing.T) string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Len(t, k.Outputs, 1)
	var s string
	require.NoError(t, json.Unmarshal(k.Outputs[0].Values["text"], &s))
	return s
}

// Attempt is an execution of a build with a text.
func Attempt(id string, b domain.Build, text string) app.Execution {
	return app.Execution{ID: id, Project: "acme", Workflow: "w", Run: "r", Step: "s", Attempt: 1, IdempotencyKey: "k-" + id,
		Deadline: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), Inputs: domain.Values{"text": domain.Value(strconv.Quote(text))}, Build: b}
}

// Executors is the suite of the ports Deployer and Executor.
func Executors(t *testing.T, open func(t *testing.T) Compute) {
	ready := func(t *testing.T, handler string) (Compute, domain.Build) {
		c := open(t)
		b := c.Build(t, handler)
		require.NoError(t, c.Deployer.Ensure(context.Background(), "acme", b))
		require.NoError(t, c.Deployer.Ensure(context.Background(), "acme", b), "it is idempotent")
		return c, b
	}
	const says = "def handle(inputs):\n    return {'text': 'Hello, ' + inputs['text']}\n"
	// It tells that it has begun, and goes on once the file that it is given is there.
	const waits = `import os, time
def handle(inputs):
    with open(inputs["text"] + ".begun", "a") as f:
        f.write("x")
    print("begun", flush=True)
    while not os.path.exists(inputs["text"]):
        time.sleep(0.01)
    return {"text": "done"}
`
	t.Run("an execution is told in order and ends once", func(t *testing.T) {
		c, b := ready(t, "def handle(inputs):\n    print('a line')\n    return {'text': 'Hello, ' + inputs['text']}\n")
		k := NewTold()
		c.Executor.Start(Attempt("x1", b, "Ada"), k)
		e := k.End(t)
		require.Equal(t, app.Completed, e.Outcome, e.Error)
		require.NotEmpty(t, e.Instance)
		require.Equal(t, "Hello, Ada", k.Text(t))
		require.Equal(t, []string{"a line"}, k.Logs)
		require.Equal(t, "queued", k.Phases[0])
		require.Contains(t, k.Phases, "scheduled")
		require.Contains(t, k.Phases, "started")
		c.Executor.Forget("x1")
	})
	t.Run("a failure keeps its kind and its stack", func(t *testing.T) {
		c, b := ready(t, "class PeltonError(Exception):\n    def __init__(self, message, code):\n        super().__init__(message)\n        self.code = code\n\ndef handle(inputs):\n    raise PeltonError('no such city', 'E404')\n")
		k := NewTold()
		c.Executor.Start(Attempt("x1", b, "x"), k)
		e := k.End(t)
		require.Equal(t, app.Failed, e.Outcome)
		require.Equal(t, "user_error", e.Error.Kind)
		require.Contains(t, e.Error.Stack, "handler.py")
	})
	t.Run("a large input travels by reference", func(t *testing.T) {
		c, b := ready(t, "def handle(inputs):\n    return {'text': str(len(inputs['text']))}\n")
		k := NewTold()
		c.Executor.Start(Attempt("x1", b, strings.Repeat("y", 200_000)), k)
		require.Equal(t, app.Completed, k.End(t).Outcome)
		require.Equal(t, "200000", k.Text(t))
	})
	t.Run("a cancel reaches user code", func(t *testing.T) {
		c, b := ready(t, waits)
		k := NewTold()
		file := filepath.Join(Shared(t), "go")
		c.Executor.Start(Attempt("x1", b, file), k)
		k.Logged(t)
		c.Executor.Cancel("x1", "enough", 200*time.Millisecond)
		e := k.End(t)
		require.Equal(t, app.Cancelled, e.Outcome)
		require.Equal(t, "enough", e.Error.Message)
	})
	t.Run("no more than its cap are under way, the rest waits in order", func(t *testing.T) {
		c, b := ready(t, waits)
		dir := Shared(t)
		var all []*Told
		for i := range c.Cap + 2 {
			k := NewTold()
			all = append(all, k)
			c.Executor.Start(Attempt("x"+strconv.Itoa(i), b, filepath.Join(dir, strconv.Itoa(i))), k)
		}
		for _, k := range all[:c.Cap] {
			k.Logged(t)
		}
		for i := range 2 {
			_, err := os.Stat(filepath.Join(dir, strconv.Itoa(c.Cap+i)+".begun"))
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		c.Executor.Cancel("x"+strconv.Itoa(c.Cap+1), "not needed", time.Second)
		require.Equal(t, app.Cancelled, all[c.Cap+1].End(t).Outcome, "what waits is cancelled at once")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "0"), nil, 0o644))
		require.Equal(t, app.Completed, all[0].End(t).Outcome)
		all[c.Cap].Logged(t)
		for i := range c.Cap + 1 {
			require.NoError(t, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o644))
		}
		for _, k := range all[:c.Cap+1] {
			require.Equal(t, app.Completed, k.End(t).Outcome)
		}
	})
	t.Run("an instance that dies loses what it had", func(t *testing.T) {
		c, b := ready(t, waits)
		k := NewTold()
		dir := Shared(t)
		c.Executor.Start(Attempt("x1", b, filepath.Join(dir, "go")), k)
		k.Logged(t)
		c.Kill("")
		require.Equal(t, app.Lost, k.End(t).Outcome)
		next := NewTold()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o644))
		c.Executor.Start(Attempt("x2", b, filepath.Join(dir, "go")), next)
		require.Equal(t, app.Completed, next.End(t).Outcome, "another attempt gets another instance")
	})
	t.Run("a next process finds what is under way", func(t *testing.T) {
		c, b := ready(t, waits)
		if c.Restart == nil {
			t.Log("two lives in one process are not this adapter's: see the end-to-end tests of crashes")
			return
		}
		k := NewTold()
		dir := Shared(t)
		c.Executor.Start(Attempt("x1", b, filepath.Join(dir, "go")), k)
		k.Logged(t)
		second := c.Restart(t)
		again, never := NewTold(), NewTold()
		second.Attach(Attempt("x1", b, filepath.Join(dir, "go")), again)
		second.Attach(Attempt("x9", b, filepath.Join(dir, "go")), never)
		again.Logged(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o644))
		require.Equal(t, app.Completed, again.End(t).Outcome)
		text, err := os.ReadFile(filepath.Join(dir, "go.begun"))
		require.NoError(t, err)
		require.Equal(t, "x", string(text), "it ran once")
		require.Contains(t, []app.Outcome{app.Unknown, app.Lost}, never.End(t).Outcome)
	})
	t.Run("a build that cannot run says so", func(t *testing.T) {
		c := open(t)
		b := c.Build(t, says)
		b.Artifact = "nowhere://x"
		require.ErrorContains(t, c.Deployer.Ensure(context.Background(), "acme", b), b.Action)
	})
}

// Shared is a folder that handlers can write to, whatever user runs them.
func Shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "apptest-") //nolint:usetesting // every folder above it is open to all
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}
