package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "wrapper-test-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "wrapper")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/wrapper").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s\n", out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// action is what a test runs.
type action struct {
	runtime, isolation, handler string
	inputs, outputs             []map[string]any
	kind                        string
	flags                       []string // of the wrapper
	module                      string   // file of the handler. Defaults to handler.py or handler.mjs
}

// instance is a started wrapper.
type instance struct {
	t      testing.TB
	client pb.ActionClient
	files  string
	stream grpc.BidiStreamingClient[pb.ToAction, pb.FromAction]
	next   int

	process *os.Process
}

func (a action) start(t testing.TB) *instance {
	t.Helper()
	dir, err := os.MkdirTemp("", "wrapper-test-") //nolint:usetesting // short: a socket lies in it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	name, interpreter := "handler.py", "python3"
	if a.runtime == "nodejs" {
		name, interpreter = "handler.mjs", "node"
	}
	if a.module != "" {
		name = a.module
	}
	path, err := exec.LookPath(interpreter)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "code"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "code", name), []byte(a.handler), 0o644))
	kind := a.kind
	if kind == "" {
		kind = "Processor"
	}
	export := "handle"
	if kind == "Source" {
		export = "run"
	}
	text, err := json.Marshal(map[string]any{
		"format": 1, "build": "sha256:00", "action": "test@1.0", "kind": kind, "runtime": a.runtime, "interpreter": path,
		"handler": "code/" + name, "export": export, "isolation": a.isolation, "concurrency": 4, "inputs": a.inputs, "outputs": a.outputs,
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bundle.json"), text, 0o644))
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(binary, "serve", "--socket", socket, "--bundle", dir, "--state", filepath.Join(dir, "state"), "--instance", "i1", "--detach-lease", "2s")
	cmd.Args = append(cmd.Args, a.flags...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	line := make([]byte, len("ready batch\n"))
	_, err = io.ReadFull(out, line)
	require.NoError(t, err)
	require.Equal(t, "ready batch\n", string(line))
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	i := &instance{t: t, client: pb.NewActionClient(conn), files: filepath.Join(dir, "files"), process: cmd.Process}
	i.stream, err = i.client.Session(context.Background())
	require.NoError(t, err)
	return i
}

type outcome struct {
	outputs []map[string]string
	logs    []string
	levels  []string
	failed  *pb.Failed
	done    *pb.Done
	events  []*pb.Output
}

func (i *instance) send(s *pb.Start) string {
	i.next++
	id := fmt.Sprintf("x%d", i.next)
	s.Filestore = "file://" + i.files
	if s.Context == nil {
		s.Context = &pb.Context{RunId: "r", Step: "s"}
	}
	require.NoError(i.t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Start{Start: s}}))
	return id
}

// collect reads the messages of an execution to its end.
func (i *instance) collect(id string) outcome {
	i.t.Helper()
	var o outcome
	for {
		m, err := i.stream.Recv()
		require.NoError(i.t, err)
		if m.ExecutionId != id {
			continue
		}
		switch b := m.Body.(type) {
		case *pb.FromAction_Output:
			v := map[string]string{}
			for k, raw := range b.Output.Values {
				v[k] = string(raw)
			}
			o.outputs = append(o.outputs, v)
		case *pb.FromAction_Log:
			o.logs = append(o.logs, b.Log.Line)
			o.levels = append(o.levels, b.Log.Level)
		case *pb.FromAction_Failed:
			o.failed = b.Failed
			return o
		case *pb.FromAction_Done:
			o.done = b.Done
			return o
		}
	}
}

func (i *instance) run(inputs map[string]string) outcome {
	i.t.Helper()
	in := map[string][]byte{}
	for k, v := range inputs {
		in[k] = []byte(v)
	}
	return i.collect(i.send(&pb.Start{Inputs: in, Attempt: 1, DeadlineUnixMs: time.Now().Add(time.Minute).UnixMilli()}))
}

func item(name, typ string) map[string]any { return map[string]any{"name": name, "type": typ} }

var pyEcho = action{runtime: "python3", handler: "import os\n\ncount = 0\n\ndef handle(inputs):\n    global count\n    count += 1\n    print('hello', inputs['x'])\n    return {'x': inputs['x'], 'count': count, 'pid': os.getpid()}\n",
	inputs: []map[string]any{item("x", "integer")}, outputs: []map[string]any{item("x", "integer"), item("count", "integer"), item("pid", "integer")}}

var nodeEcho = action{runtime: "nodejs", handler: "let count = 0;\nexport const handle = async (inputs) => { console.log('hello', inputs.x); return { x: inputs.x, count: ++count, pid: process.pid } };\n",
	inputs: pyEcho.inputs, outputs: pyEcho.outputs}

func TestIsolation(t *testing.T) {
	for _, base := range []action{pyEcho, nodeEcho} {
		for _, isolation := range []string{"reuse", "fork"} {
			t.Run(base.runtime+" "+isolation, func(t *testing.T) {
				a := base
				a.isolation = isolation
				i := a.start(t)
				first, second := i.run(map[string]string{"x": "1"}), i.run(map[string]string{"x": "2"})
				require.NotNil(t, first.done, "%v", first.failed)
				require.Equal(t, "1", first.outputs[0]["x"])
				require.Equal(t, []string{"hello 1"}, first.logs)
				require.Equal(t, []string{"hello 2"}, second.logs)
				if isolation == "reuse" {
					require.Equal(t, "2", second.outputs[0]["count"])
					require.Equal(t, first.outputs[0]["pid"], second.outputs[0]["pid"])
				} else {
					require.Equal(t, "1", second.outputs[0]["count"], "nothing of the execution before is around")
					require.NotEqual(t, first.outputs[0]["pid"], second.outputs[0]["pid"])
				}
			})
		}
	}
}

func TestPythonFailures(t *testing.T) {
	cases := []struct{ name, body, outputs, kind, message string }{
		{"raises", "raise ValueError('no such town')", "", "user_error", "ValueError: no such town"},
		{"typed", "class PeltonError(Exception): pass\n    e = PeltonError('out of stock'); e.code = 'E7'; e.kind = 'stock'; e.retryable = True\n    raise e", "", "stock", "out of stock"},
		{"ryax", "class RyaxException(Exception):\n        def __init__(self, message, code): self.message, self.code = message, code\n    raise RyaxException('nope', 404)", "", "user_error", "nope"},
		{"exit", "import os; os._exit(3)", "", "crashed", "exit code 3"},
		{"sys.exit", "import sys; sys.exit(4)", "", "crashed", "sys.exit(4)"},
		{"kill", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "", "crashed", "signal 11"},
		{"nan", "return {'x': float('nan')}", "float", "invalid_output", "is nan, which is no number"},
		{"infinity", "return {'x': float('inf')}", "float", "invalid_output", "is inf, which is no number"},
		{"wrong type", "return {'x': 'seven'}", "integer", "invalid_output", "x: is the string \"seven\" and must be an integer"},
		{"fraction", "return {'x': 1.5}", "integer", "invalid_output", "must be an integer"},
		{"missing", "return {}", "integer", "invalid_output", "x: is an output of this action and the handler did not return it"},
		{"unknown", "return {'x': 1, 'y': 2}", "integer", "invalid_output", "y: is no output of this action; its outputs are x"},
		{"no dict", "return 7", "integer", "invalid_output", "the handler returned a int"},
		{"object", "return {'x': object()}", "json", "invalid_output", "is a object, which cannot be passed on"},
		{"outside", "return {'x': '/etc/passwd'}", "file", "invalid_output", "lies outside of the execution's folder"},
		{"dots", "return {'x': '../../../../../etc/passwd'}", "file", "invalid_output", ""},
		{"link", "import os; os.symlink('/etc/passwd', 'l'); return {'x': 'l'}", "file", "invalid_output", "lies outside"},
		{"no file", "return {'x': 'gone'}", "file", "invalid_output", "there is no such file"},
		{"folder", "import os; os.mkdir('d'); return {'x': 'd'}", "file", "invalid_output", "is not a file"},
		{"huge", "return {'x': ['y' * 1000] * 110000}", "json", "invalid_output", "too large"},
		{"not base64", "return {'x': 'ä'}", "bytes", "invalid_output", "base64"},
	}
	for _, isolation := range []string{"reuse", "fork"} {
		for _, c := range cases {
			t.Run(isolation+" "+c.name, func(t *testing.T) {
				t.Parallel()
				a := action{runtime: "python3", isolation: isolation, handler: "def handle(inputs):\n    " + c.body + "\n"}
				if c.outputs != "" {
					a.outputs = []map[string]any{item("x", c.outputs)}
				}
				i := a.start(t)
				o := i.run(nil)
				require.NotNil(t, o.failed)
				require.Equal(t, c.kind, o.failed.Kind, o.failed.Message)
				require.Contains(t, o.failed.Message, c.message)
				require.NotContains(t, o.failed.Stack, "pelton_shim")
				again := i.run(nil)
				require.Equal(t, c.kind, again.failed.Kind, "the instance goes on")
			})
		}
	}
}

func TestTimeLimitAndCancel(t *testing.T) {
	for _, isolation := range []string{"reuse", "fork"} {
		t.Run(isolation, func(t *testing.T) {
			i := action{runtime: "python3", isolation: isolation, handler: "def handle(inputs):\n    while True:\n        try:\n            pass\n        except Exception:\n            pass\n"}.start(t)
			o := i.collect(i.send(&pb.Start{DeadlineUnixMs: time.Now().Add(700 * time.Millisecond).UnixMilli()}))
			require.Equal(t, "timeout", o.failed.Kind)
			id := i.send(&pb.Start{})
			require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{Reason: "no longer wanted"}}}))
			o = i.collect(id)
			require.Equal(t, "cancelled", o.failed.Kind)
			require.Equal(t, "no longer wanted", o.failed.Message)
		})
	}
}

func TestFilesRefsAndSecrets(t *testing.T) {
	i := action{runtime: "python3", isolation: "fork",
		handler: "import os\n\ndef handle(inputs, ctx):\n    print('token', inputs['secret'])\n    os.mkdir('d'); open('d/a', 'w').write('A')\n    open('out.csv', 'w').write('a,b')\n    return {'file': 'out.csv', 'dir': os.path.join(ctx.workdir, 'd'), 'big': 'z' * 100000, 'leak': inputs['secret']}\n",
		inputs:  []map[string]any{item("secret", "password")},
		outputs: []map[string]any{item("file", "file"), item("dir", "directory"), item("big", "longstring"), item("leak", "string")}}.start(t)
	o := i.collect(i.send(&pb.Start{Inputs: map[string][]byte{"secret": []byte(`"hunter2secret"`)}, Secrets: [][]byte{[]byte("hunter2secret")}}))
	require.NotNil(t, o.done, "%v", o.failed)
	require.Equal(t, []string{"token •••"}, o.logs)
	require.Equal(t, `"•••"`, o.outputs[0]["leak"])
	require.Contains(t, o.outputs[0]["file"], `"name":"out.csv","type":"text/csv"`)
	require.Contains(t, o.outputs[0]["big"], `{"$ref":"sha256:`)
	j := action{runtime: "python3", isolation: "fork",
		handler: "import os\n\ndef handle(inputs):\n    return {'text': open(inputs['file']).read() + open(os.path.join(inputs['dir'], 'a')).read() + str(len(inputs['big'])) + os.path.basename(inputs['file'])}\n",
		inputs:  []map[string]any{item("file", "file"), item("dir", "directory"), item("big", "longstring")},
		outputs: []map[string]any{item("text", "string")}}.start(t)
	j.files = i.files
	next := j.run(map[string]string{"file": o.outputs[0]["file"], "dir": o.outputs[0]["dir"], "big": o.outputs[0]["big"]})
	require.NotNil(t, next.done, "%v", next.failed)
	require.Equal(t, `"a,bA100000out.csv"`, next.outputs[0]["text"])
}

func TestLogs(t *testing.T) {
	i := action{runtime: "python3", isolation: "reuse",
		handler: "import logging, sys, os\n\ndef handle(inputs):\n    for n in range(100000):\n        print('line', n)\n    logging.warning('careful')\n    print('oops', file=sys.stderr)\n    os.system('echo from a child')\n"}.start(t)
	o := i.run(nil)
	require.NotNil(t, o.done, "%v", o.failed)
	require.GreaterOrEqual(t, len(o.logs), 100003)
	require.Contains(t, o.logs, "careful")
	require.Contains(t, o.logs, "from a child")
	// What a child prints comes on a way of its own: it has no place among its parent's lines.
	own := slices.DeleteFunc(slices.Clone(o.logs), func(s string) bool { return s == "from a child" })
	for n := range 100000 {
		require.Equal(t, fmt.Sprintf("line %d", n), own[n])
	}
	require.Equal(t, "warn", o.levels[indexOf(o.logs, "careful")])
	require.Equal(t, "error", o.levels[indexOf(o.logs, "oops")])
}

// TestLastWordsOfAFork: what a process wrote past the language's streams is told before its end is, also what lacks the end
// of its line.
func TestLastWordsOfAFork(t *testing.T) {
	i := action{runtime: "python3", isolation: "fork",
		handler: "import os\n\ndef handle(inputs):\n    os.write(1, b'one\\ntwo')\n    os.write(2, b'three')\n"}.start(t)
	for range 200 {
		o := i.run(nil)
		require.NotNil(t, o.done, "%v", o.failed)
		require.ElementsMatch(t, []string{"one", "two", "three"}, o.logs)
	}
}

// TestNothingOfAForkIsThereForTheNext: what a process held is free for the one that comes after it.
func TestNothingOfAForkIsThereForTheNext(t *testing.T) {
	i := action{runtime: "python3", isolation: "fork", outputs: []map[string]any{item("port", "integer")}, inputs: []map[string]any{item("port", "integer")},
		handler: "import socket\n\nheld = []\n\ndef handle(inputs):\n    s = socket.socket()\n    s.bind(('127.0.0.1', inputs['port']))\n    s.listen()\n    held.append((s, bytearray(20 << 20)))\n    return {'port': s.getsockname()[1]}\n"}.start(t)
	port := "0"
	for range 50 {
		o := i.run(map[string]string{"port": port})
		require.NotNil(t, o.done, "%v", o.failed)
		port = o.outputs[0]["port"]
	}
}

// TestLogsOfALateImport: records are told with their level whenever user code imports the module, and a handler that takes
// the context is known as one also behind a decorator.
func TestLogsOfALateImport(t *testing.T) {
	i := action{runtime: "python3", isolation: "reuse", outputs: []map[string]any{item("attempt", "integer")},
		handler: "import functools\n\ndef traced(f):\n    @functools.wraps(f)\n    def call(*args):\n        return f(*args)\n    return call\n\n@traced\ndef handle(inputs, ctx):\n    import logging\n    logging.getLogger('late').error('too late?')\n    logging.info('no')\n    return {'attempt': ctx.attempt}\n"}.start(t)
	for range 2 {
		o := i.run(nil)
		require.NotNil(t, o.done, "%v", o.failed)
		require.Equal(t, []string{"too late?", "no"}, o.logs)
		require.Equal(t, []string{"error", "info"}, o.levels)
	}
}

func indexOf(list []string, s string) int {
	for i, x := range list {
		if x == s {
			return i
		}
	}
	return -1
}

func TestAttach(t *testing.T) {
	i := action{runtime: "python3", isolation: "fork", handler: "import time\n\ndef handle(inputs):\n    print('one')\n    time.sleep(0.8)\n    print('two')\n    return {'x': 1}\n", outputs: []map[string]any{item("x", "integer")}}.start(t)
	id := i.send(&pb.Start{})
	for {
		m, err := i.stream.Recv()
		require.NoError(t, err)
		if m.GetLog() != nil {
			break
		}
	}
	require.NoError(t, i.stream.CloseSend()) // the connection breaks; the execution goes on
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	i.stream, err = i.client.Session(ctx)
	require.NoError(t, err)
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: 1}}}))
	o := i.collect(id)
	require.NotNil(t, o.done)
	require.Equal(t, []string{"one", "two"}, o.logs)
	require.NoError(t, i.stream.Send(&pb.ToAction{ExecutionId: "never", Body: &pb.ToAction_Attach{Attach: &pb.Attach{}}}))
	m, err := i.stream.Recv()
	require.NoError(t, err)
	require.NotNil(t, m.GetUnknown())
}

// TestForksDiffer: forks of one parent draw different numbers, whoever imported the module.
func TestForksDiffer(t *testing.T) {
	for name, code := range map[string]string{
		"imported before the fork": "import random\n\ndef handle(inputs):\n    return {'x': random.getrandbits(60)}\n",
		"imported after it":        "def handle(inputs):\n    import random\n    return {'x': random.getrandbits(60)}\n",
	} {
		t.Run(name, func(t *testing.T) {
			i := action{runtime: "python3", isolation: "fork", handler: code, outputs: []map[string]any{item("x", "integer")}}.start(t)
			require.NotEqual(t, i.run(nil).outputs[0]["x"], i.run(nil).outputs[0]["x"])
		})
	}
}

// TestStartAgain: a second order for one execution is the first one's, unless it asks for something else.
func TestStartAgain(t *testing.T) {
	a := pyEcho
	a.isolation = "reuse"
	i := a.start(t)
	start := func(x string) string {
		i.next = 0
		o := i.collect(i.send(&pb.Start{Inputs: map[string][]byte{"x": []byte(x)}, Attempt: 1}))
		require.Nil(t, o.failed)
		return o.outputs[0]["x"] + " " + o.outputs[0]["count"]
	}
	require.Equal(t, "1 1", start("1"))
	require.Equal(t, "1 1", start("1"), "it did not run again")
	require.Equal(t, "2 2", start("2"))
	require.Equal(t, "2 2", start("2"))
	require.Equal(t, "1 3", start("1"), "only the last one is kept")
}

func TestListContextAsyncAndThreads(t *testing.T) {
	i := action{runtime: "python3", isolation: "fork", handler: "import asyncio\n\nasync def handle(inputs, ctx):\n    await asyncio.sleep(0)\n    ctx.progress(0.5, 'half')\n    return [{'x': ctx.attempt}, {'x': 2}]\n", outputs: []map[string]any{item("x", "integer")}}.start(t)
	o := i.run(nil)
	require.NotNil(t, o.done, "%v", o.failed)
	require.True(t, o.done.List)
	require.Equal(t, []map[string]string{{"x": "1"}, {"x": "2"}}, o.outputs)

	i = action{runtime: "python3", isolation: "fork", handler: "import threading, time\n\nthreading.Thread(target=lambda: time.sleep(1000), daemon=True).start()\n\ndef handle(inputs):\n    return {'x': 1}\n", outputs: []map[string]any{item("x", "integer")}}.start(t)
	require.NotNil(t, i.run(nil).done)
	require.NotNil(t, i.run(nil).done)
	d, err := i.client.Describe(t.Context(), &pb.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, "fresh", d.Isolation)
	require.Contains(t, d.IsolationReason, "threads")
}

func TestLoadErrors(t *testing.T) {
	for _, c := range []struct{ runtime, handler, message string }{
		{"python3", "def handle(:\n", "handler.py:1: SyntaxError"},
		{"python3", "import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"},
		{"python3", "x = 1\n", "handler.py has no function handle"},
		{"nodejs", "export const x = 1;\n", "exports no handler"},
		{"nodejs", "import 'no-such-package';\n", "no-such-package"},
	} {
		i := action{runtime: c.runtime, handler: c.handler}.start(t)
		o := i.run(nil)
		require.Equal(t, "load_error", o.failed.GetKind())
		require.Contains(t, o.failed.Message, c.message)
	}
}

func TestInputs(t *testing.T) {
	i := action{runtime: "python3", handler: "def handle(inputs):\n    return {}\n", inputs: []map[string]any{item("n", "integer"), {"name": "e", "type": "enum", "enum_values": []string{"a", "b"}, "optional": true}}}.start(t)
	for in, message := range map[string]string{
		`{}`:                    "n: is required and was not given",
		`{"n":"\"x\""}`:         `n: is the string "x" and must be an integer`,
		`{"n":"1","z":"1"}`:     "z: is no input of this action; its inputs are n, e",
		`{"n":"1","e":"\"c\""}`: "must be one of a, b",
	} {
		var inputs map[string]string
		require.NoError(t, json.Unmarshal([]byte(in), &inputs))
		o := i.run(inputs)
		require.NotNil(t, o.failed, in)
		require.Equal(t, "invalid_input", o.failed.Kind)
		require.True(t, strings.Contains(o.failed.Message, message), o.failed.Message)
	}
}

func benchmark(b *testing.B, a action) {
	i := a.start(b)
	i.run(map[string]string{"x": "1"})
	b.ResetTimer()
	for range b.N {
		o := i.collect(i.send(&pb.Start{Inputs: map[string][]byte{"x": []byte("1")}}))
		if o.done == nil {
			b.Fatal(o.failed)
		}
	}
}

func BenchmarkPythonReuse(b *testing.B) { a := pyEcho; a.isolation = "reuse"; benchmark(b, a) }
func BenchmarkPythonFork(b *testing.B)  { a := pyEcho; a.isolation = "fork"; benchmark(b, a) }
func BenchmarkNodeReuse(b *testing.B)   { a := nodeEcho; a.isolation = "reuse"; benchmark(b, a) }

// TestForkAhead: an execution that follows another finds its process forked already, one of its own all the same; one that
// died while it waited is not given to anybody.
func TestForkAhead(t *testing.T) {
	i := action{runtime: "python3", isolation: "fork", handler: "import os\n\ncount = 0\n\ndef handle(inputs):\n    global count\n    count += 1\n    return {'pid': os.getpid(), 'parent': os.getppid(), 'count': count}\n",
		outputs: []map[string]any{item("pid", "integer"), item("parent", "integer"), item("count", "integer")}}.start(t)
	run := func() (pid, parent string) {
		o := i.run(nil)
		require.NotNil(t, o.done, "%v", o.failed)
		require.Equal(t, "1", o.outputs[0]["count"], "a process of its own")
		return o.outputs[0]["pid"], o.outputs[0]["parent"]
	}
	first, parent := run()
	ahead := func(before string) string { // the parent may not have noticed yet that the one before has ended
		var pid string
		require.Eventually(t, func() bool {
			text, err := os.ReadFile("/proc/" + parent + "/task/" + parent + "/children")
			require.NoError(t, err)
			pid = strings.TrimSpace(string(text))
			return pid != "" && pid != before && !strings.Contains(pid, " ")
		}, 10*time.Second, time.Millisecond)
		return pid
	}
	waits := ahead(first)
	second, _ := run()
	require.Equal(t, waits, second)
	waits = ahead(second)
	n, err := strconv.Atoi(waits)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(n, syscall.SIGKILL))
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(n, 0), syscall.ESRCH) }, 10*time.Second, time.Millisecond)
	third, again := run()
	require.NotEqual(t, waits, third)
	require.Equal(t, parent, again)
}
