package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/wrapper/wire"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// laneHandler notes each call in a file, then does what it is told to.
const laneHandler = `import os
import subprocess
import sys
import threading
import time

spawned, done = [], threading.Event()


def handle(inputs):
    with open(inputs["notes"], "a") as f:
        f.write(inputs["what"] + "\n")
    what = inputs["what"].split()[0]
    if what == "exit":
        os._exit(3)
    if what == "hang":
        time.sleep(1000)
    while what == "spin":
        pass
    while what == "slow" and not os.path.exists(inputs["notes"] + ".go"):
        time.sleep(0.01)
    if what == "raise":
        raise ValueError("no")
    if what == "write":
        open("left-behind", "w").close()
    if what == "spawn":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)  # " + inputs["what"]])
    if what == "thread":
        t = threading.Thread(target=lambda: (spawned.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)  # " + inputs["what"]])), done.wait()))
        t.start()
        while not spawned:
            time.sleep(0.001)
    if what == "list":
        return [{"out": "a"}, {"out": "b"}]
    if what == "print":
        print("said " + inputs["what"])
    if what == "raw":
        os.write(1, ("raw " + inputs["what"] + "\n").encode())
    return {"out": inputs["what"] + " " + ",".join(os.listdir("."))}
`

// lanesUnderTest is a wrapper that is spoken to over plain frames.
type lanesUnderTest struct {
	*instance
	conn  *wire.Conn
	notes string
	ends  map[string]outcome
	whole int // executions told in one message
}

func startLanes(t *testing.T, runtime, handler string) *lanesUnderTest {
	a := action{runtime: runtime, isolation: "reuse", handler: handler, outputs: []map[string]any{item("out", "string")},
		inputs: []map[string]any{item("what", "string"), item("notes", "string")}}
	l := &lanesUnderTest{instance: a.start(t), notes: filepath.Join(t.TempDir(), "notes"), ends: map[string]outcome{}}
	var err error
	l.conn, err = wire.Dial(filepath.Join(filepath.Dir(l.files), "s"))
	require.NoError(t, err)
	t.Cleanup(func() { l.conn.Close() })
	for k := 0; k < 40 || l.whole == 0 && k < 2000; k++ { // how long executions take is known after some, more on a crowded machine
		l.wants(fmt.Sprint("warm ", k))
		l.wait(fmt.Sprint("warm ", k))
	}
	require.Positive(t, l.whole, "executions go by lanes")
	return l
}

// wants starts executions with one message; the text is the id.
func (l *lanesUnderTest) wants(what ...string) {
	var all []*pb.ToAction
	for _, w := range what {
		all = append(all, &pb.ToAction{ExecutionId: w, Body: &pb.ToAction_Start{Start: &pb.Start{
			Inputs:  map[string][]byte{"what": fmt.Appendf(nil, "%q", w), "notes": fmt.Appendf(nil, "%q", l.notes)},
			Attempt: 1, DeadlineUnixMs: time.Now().Add(20 * time.Second).UnixMilli(), Context: &pb.Context{RunId: "r", Step: "s"}}}})
	}
	require.NoError(l.t, l.conn.Write(&pb.ToAction{Body: &pb.ToAction_Batch{Batch: &pb.ToActionBatch{Messages: all}}}))
}

// wait reads until the executions have ended.
func (l *lanesUnderTest) wait(what ...string) {
	l.t.Helper()
	for missing := what; ; {
		for len(missing) > 0 && (l.ends[missing[0]].done != nil || l.ends[missing[0]].failed != nil) {
			missing = missing[1:]
		}
		if len(missing) == 0 {
			return
		}
		m := &pb.FromAction{}
		require.NoError(l.t, l.conn.Read(m))
		list := []*pb.FromAction{m}
		if b := m.GetBatch(); b != nil {
			list = b.Messages
		}
		for _, m := range list {
			l.note(m)
		}
	}
}

func (l *lanesUnderTest) note(m *pb.FromAction) {
	o := l.ends[m.ExecutionId]
	told := func(values map[string][]byte) {
		o.outputs = append(o.outputs, map[string]string{"out": string(values["out"])})
	}
	switch b := m.Body.(type) {
	case *pb.FromAction_Log:
		o.logs = append(o.logs, b.Log.Line)
	case *pb.FromAction_Output:
		told(b.Output.Values)
	case *pb.FromAction_Done:
		o.done = b.Done
	case *pb.FromAction_Failed:
		require.Nil(l.t, o.failed)
		o.failed = b.Failed
	case *pb.FromAction_Result:
		l.whole++
		told(b.Result.Values)
		o.done = &pb.Done{Usage: b.Result.Usage, Outputs: 1}
	}
	l.ends[m.ExecutionId] = o
}

// calls are how often the handler was called for each.
func (l *lanesUnderTest) calls() map[string]int {
	text, err := os.ReadFile(l.notes)
	require.NoError(l.t, err)
	out := map[string]int{}
	for _, line := range strings.Fields(strings.ReplaceAll(string(text), " ", "_")) {
		out[strings.ReplaceAll(line, "_", " ")]++
	}
	return out
}

func several(n int, prefix string) (all []string) {
	for k := range n {
		all = append(all, fmt.Sprintf("%s %d", prefix, k))
	}
	return all
}

// laneHandlers are of the languages whose processes have a queue.
var laneHandlers = map[string]string{"python3": laneHandler, "nodejs": nodeLaneHandler}

// Whatever one of many executions that lie ahead does, the others are run once, elsewhere if need be.
func TestLanes(t *testing.T) {
	tests := map[string]func(t *testing.T, o outcome){
		"exit":  func(t *testing.T, o outcome) { require.Equal(t, "crashed", o.failed.GetKind()) },
		"slow":  func(t *testing.T, o outcome) { require.NotNil(t, o.done) },
		"raise": func(t *testing.T, o outcome) { require.Equal(t, "ValueError: no", o.failed.GetMessage()) },
		"write": func(t *testing.T, o outcome) { require.NotNil(t, o.done) },
		"spawn": func(t *testing.T, o outcome) {
			require.NotNil(t, o.done)
			until(t, "no stray is left", func() bool { return len(processesOf("# spawn"))+len(processesOf("1000.25")) == 0 })
		},
		"thread": func(t *testing.T, o outcome) { // which is still there when the execution has ended
			require.NotNil(t, o.done)
			until(t, "no stray is left", func() bool { return len(processesOf("# thread"))+len(processesOf("1000.75")) == 0 })
		},
		"list": func(t *testing.T, o outcome) {
			require.Equal(t, []map[string]string{{"out": `"a"`}, {"out": `"b"`}}, o.outputs)
			require.True(t, o.done.GetList())
		},
		"print": func(t *testing.T, o outcome) { require.Equal(t, []string{"said print"}, o.logs) },
		"raw":   func(t *testing.T, o outcome) { require.NotNil(t, o.done) },
	}
	for runtime, handler := range laneHandlers {
		for what, check := range tests {
			t.Run(runtime+" "+what, func(t *testing.T) {
				l := startLanes(t, runtime, handler)
				before, after := several(5, "before"), several(60, "after")
				all := append(append(before, what), after...)
				l.wants(all...)
				if what == "slow" {
					l.wait(after...) // nobody waits behind it
					require.NoError(t, os.WriteFile(l.notes+".go", nil, 0o600))
				}
				l.wait(all...)
				check(t, l.ends[what])
				for _, other := range append(before, after...) {
					require.Equal(t, []map[string]string{{"out": `"` + other + ` "`}}, l.ends[other].outputs, "in a folder of its own: %v", l.ends[other].failed)
				}
				for id, n := range l.calls() {
					require.Equal(t, 1, n, id)
				}
			})
		}
	}
}

// A cancel reaches an execution wherever it is.
func TestLanesCancel(t *testing.T) {
	for runtime, handler := range laneHandlers {
		t.Run(runtime, func(t *testing.T) { cancelInLanes(t, startLanes(t, runtime, handler)) })
	}
}

func cancelInLanes(t *testing.T, l *lanesUnderTest) {
	stuck := []string{"hang 1", "hang 2", "spin 3"}
	all := append(slices.Clone(stuck), several(20, "after")...)
	l.wants(all...)
	until(t, "one hangs", func() bool { return l.calls()["hang 1"] == 1 })
	for _, id := range []string{"hang 1", "spin 3", "hang 2"} {
		require.NoError(t, l.conn.Write(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{Reason: "enough"}}}))
	}
	l.wait(all...)
	for _, id := range stuck {
		require.Equal(t, "cancelled", l.ends[id].failed.GetKind())
		require.Equal(t, "enough", l.ends[id].failed.GetMessage())
	}
	for _, id := range all[3:] {
		require.NotNil(t, l.ends[id].done)
		require.Equal(t, 1, l.calls()[id])
	}
}

// Taking back races with the processes that take: each execution is begun once at most, whoever wins.
func TestLanesRecall(t *testing.T) {
	for runtime, handler := range laneHandlers {
		t.Run(runtime, func(t *testing.T) { recallInLanes(t, startLanes(t, runtime, handler)) })
	}
}

func recallInLanes(t *testing.T, l *lanesUnderTest) {
	for round := range 40 {
		all := several(60, fmt.Sprint("x ", round))
		l.wants(all...)
		for k := range 20 {
			require.NoError(t, l.conn.Write(&pb.ToAction{ExecutionId: all[3*k], Body: &pb.ToAction_Cancel{Cancel: &pb.Cancel{Reason: "enough"}}}))
		}
		l.wait(all...)
		calls := l.calls()
		for _, id := range all {
			if o := l.ends[id]; o.failed == nil {
				require.Equal(t, []map[string]string{{"out": `"` + id + ` "`}}, o.outputs)
				require.Equal(t, 1, calls[id], id)
			} else {
				require.Equal(t, "cancelled", o.failed.GetKind())
				require.LessOrEqual(t, calls[id], 1, id)
			}
		}
	}
}

// nodeLaneHandler does what laneHandler does.
const nodeLaneHandler = `import { appendFileSync, existsSync, readdirSync, writeFileSync, writeSync } from "node:fs";
import { spawn } from "node:child_process";
import { Worker } from "node:worker_threads";
import { setTimeout as sleep } from "node:timers/promises";
export const handle = async ({ what: text, notes }) => {
  appendFileSync(notes, text + "\n");
  const what = text.split(" ")[0];
  if (what === "exit") process.exit(3);
  if (what === "spin") for (;;);
  if (what === "hang") await sleep(1e6);
  while (what === "slow" && !existsSync(notes + ".go")) await sleep(10);
  if (what === "raise") throw Object.assign(new Error("no"), { name: "ValueError" });
  if (what === "write") writeFileSync("left-behind", "");
  if (what === "spawn") spawn("sleep", ["1000.25"], { stdio: "ignore" });
  if (what === "thread")
    await new Promise((resolve) => new Worker('require("node:child_process").spawn("sleep", ["1000.75"], { stdio: "ignore" }); require("node:worker_threads").parentPort.postMessage(1); setTimeout(() => {}, 1e6)', { eval: true }).on("message", resolve));
  if (what === "list") return [{ out: "a" }, { out: "b" }];
  if (what === "print") console.log("said " + text);
  if (what === "raw") writeSync(1, "raw " + text + "\n");
  return { out: text + " " + readdirSync(".").join() };
};
`
