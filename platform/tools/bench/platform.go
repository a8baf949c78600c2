package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// platform is a real platform with a workspace of no-op actions.
type platform struct {
	*harness.Platform
	dir     string
	addr    string
	handler string
	saved   int
	cold    int  // actions that were never called, so far used
	none    bool // durability: none is known
}

const handlerText = "VERSION = %d\n\n\ndef handle(inputs):\n    return {\"x\": inputs[\"x\"], \"version\": VERSION}\n"

func action(runtime, isolation, outputs string) string {
	return "apiVersion: pelton.dev/v1\nkind: Processor\nspec:\n  runtime: " + runtime + "\n  isolation: " + isolation +
		"\n  effect: pure\n  inputs: [{name: x, type: integer}]\n  outputs: [{name: x, type: integer}" + outputs + "]\n"
}

// workflow is a chain of an action behind an HTTP trigger.
func workflow(name, action string, steps int, more string) string {
	text := "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: " + name + "}\nspec:\n" + more + "  inputs: [{name: x, type: integer}]\n" +
		"  triggers:\n    - {id: http, uses: http, with: {method: POST, path: /" + name + ", mode: sync, timeout: 60s, auth: none}}\n  steps:\n"
	from := "inputs.x"
	for i := range steps {
		text += fmt.Sprintf("    - {id: s%d, uses: ./actions/%s, with: {x: \"${%s}\"}}\n", i, action, from)
		from = fmt.Sprintf("steps.s%d.x", i)
	}
	return text + "  result: {x: \"${" + from + "}\"}\n"
}

func files(reps int) map[string]string {
	quick := "def handle(inputs):\n    return {\"x\": inputs[\"x\"]}\n"
	timed := "import time\n\n\ndef handle(inputs):\n    return {\"x\": inputs[\"x\"], \"at\": time.time()}\n"
	out := map[string]string{
		"actions/noop/action.yaml":  action("python3", "reuse", ""),
		"actions/noop/handler.py":   quick,
		"actions/any/action.yaml":   strings.Replace(action("python3", "reuse", ""), "  effect: pure\n", "", 1),
		"actions/any/handler.py":    quick,
		"actions/saved/action.yaml": action("python3", "reuse", ", {name: version, type: integer}"),
		"actions/saved/handler.py":  fmt.Sprintf(handlerText, 0),
		"actions/timed/action.yaml": action("python3", "reuse", ", {name: at, type: float}"),
		"actions/timed/handler.py":  timed,
		"actions/fork/action.yaml":  action("python3", "fork", ""),
		"actions/fork/handler.py":   quick,
		"actions/node/action.yaml":  action("nodejs", "reuse", ""),
		"actions/node/handler.mjs":  "export const handle = (inputs) => ({ x: inputs.x });\n",
		"workflows/one.yaml":        workflow("one", "noop", 1, ""),
		"workflows/chain.yaml":      workflow("chain", "noop", 10, ""),
		"workflows/anyone.yaml":     workflow("anyone", "any", 1, ""),
		"workflows/anychain.yaml":   workflow("anychain", "any", 10, ""),
		"workflows/saved.yaml":      strings.Replace(workflow("saved", "saved", 1, ""), "result: {", "result: {version: \"${steps.s0.version}\", ", 1),
		"workflows/timed.yaml":      strings.Replace(workflow("timed", "timed", 1, ""), "result: {", "result: {at: \"${steps.s0.at}\", ", 1),
		"workflows/forked.yaml":     workflow("forked", "fork", 1, ""),
		"workflows/quick.yaml":      workflow("quick", "noop", 1, "  durability: none\n"),
		"workflows/quicknode.yaml":  workflow("quicknode", "node", 1, "  durability: none\n"),
		"workflows/loop.yaml": "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: loop}\nspec:\n  inputs: [{name: items, type: list}]\n" +
			"  steps:\n    - id: s\n      uses: ./actions/noop\n      forEach: {in: \"${inputs.items}\", as: i, concurrency: 64}\n      with: {x: \"${i}\"}\n",
	}
	for i := range reps {
		name := fmt.Sprintf("cold%d", i)
		out["actions/"+name+"/action.yaml"] = action("python3", "reuse", "")
		out["actions/"+name+"/handler.py"] = quick + "# " + name + "\n"
		out["workflows/"+name+".yaml"] = workflow(name, name, 1, "")
	}
	return out
}

// start starts the platform and waits until the workflows are live; those that this version
// cannot deploy are told.
func start(ctx context.Context, reps int) (*platform, error) {
	dir, err := os.MkdirTemp("", "pelton-bench-")
	if err != nil {
		return nil, err
	}
	p := &platform{dir: dir, handler: filepath.Join(dir, "work", "actions", "saved", "handler.py")}
	for name, text := range files(reps) {
		path := filepath.Join(dir, "work", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if p.Platform, err = harness.Start(ctx, harness.Options{Home: filepath.Join(dir, "home")}); err != nil {
		return nil, err
	}
	p.addr = strings.TrimPrefix(p.URL, "http://")
	if err := p.AddFolder(ctx, "bench", filepath.Join(dir, "work")); err != nil {
		return nil, err
	}
	wanted := []string{"one", "chain", "anyone", "anychain", "saved", "timed", "forked", "loop"}
	for i := range reps {
		wanted = append(wanted, fmt.Sprintf("cold%d", i))
	}
	for _, w := range wanted {
		if err := p.WaitLive(ctx, w); err != nil {
			return nil, err
		}
	}
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p.none = p.WaitLive(soon, "quick") == nil && p.WaitLive(soon, "quicknode") == nil
	return p, nil
}

func (p *platform) close() { _ = p.Stop(); os.RemoveAll(p.dir) }

func path(workflow string) string { return "/user-api/default/" + workflow }

// trees is the processor time of runner, database, wrappers and workers.
func (p *platform) trees() time.Duration {
	sum := cpuOf(p.PID())
	found, _ := filepath.Glob(filepath.Join(p.Home, "*", "data", "postmaster.pid"))
	for _, f := range found {
		data, _ := os.ReadFile(f)
		first, _, _ := strings.Cut(string(data), "\n")
		if pid, err := strconv.Atoi(first); err == nil && !below(pid, p.PID()) {
			sum += cpuOf(pid)
		}
	}
	return sum
}

// first is the time in ms of the first call of an action that was never called: its wrapper and its
// interpreter are started for it.
func (p *platform) first() (float64, error) {
	c, err := dial(p.addr, path(fmt.Sprintf("cold%d", p.cold)))
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	p.cold++
	start := time.Now()
	err = c.good()
	return float64(time.Since(start).Nanoseconds()) / 1e6, err
}

// saveToRun writes a new handler and calls until an answer comes from it: its time in ms.
func (p *platform) saveToRun() (float64, error) {
	p.saved++
	c, err := dial(p.addr, path("saved"))
	if err != nil {
		return 0, err
	}
	defer c.conn.Close()
	start := time.Now()
	if err := os.WriteFile(p.handler, fmt.Appendf(nil, handlerText, p.saved), 0o644); err != nil {
		return 0, err
	}
	want := fmt.Sprintf(`"version":%d`, p.saved)
	for {
		_, body, err := c.call()
		if err != nil {
			return 0, err
		}
		if strings.Contains(string(body), want) {
			return float64(time.Since(start).Nanoseconds()) / 1e6, nil
		}
		if time.Since(start) > 30*time.Second {
			return 0, errors.New("a saved handler was not used within 30 s")
		}
	}
}
