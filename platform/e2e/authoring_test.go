package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// author calls the program pelton in a folder, as somebody who writes actions does.
type author struct {
	t   *testing.T
	ctx context.Context
	bin string
	dir string
	env []string
}

func newAuthor(t *testing.T, dir string, env ...string) *author {
	t.Helper()
	bin, err := harness.Bin()
	require.NoError(t, err)
	env = append(env, "XDG_CACHE_HOME="+filepath.Join(harness.Root(), "build", "test-cache"), "PELTON_CONFIG="+filepath.Join(t.TempDir(), "config.json"))
	return &author{t, deadline(t, 4*time.Minute), bin, dir, append(os.Environ(), env...)}
}

func (a *author) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(a.ctx, filepath.Join(a.bin, "pelton"), args...)
	cmd.Dir, cmd.Env = a.dir, a.env
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// pelton runs the program to its end.
func (a *author) pelton(stdin string, args ...string) (code int, stdout, stderr string) {
	a.t.Helper()
	cmd := a.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(stdin), &out, io.MultiWriter(&errs, a.t.Output())
	err := cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended { //nolint:errorlint // Run returns it bare
		require.NoError(a.t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func (a *author) ok(args ...string) string {
	a.t.Helper()
	code, out, errs := a.pelton("", args...)
	require.Zero(a.t, code, errs)
	return out
}

// TestWorkspaceTests: all actions of a workspace in all languages, one of them wrong.
func TestWorkspaceTests(t *testing.T) {
	unsplit(t, "it needs no platform")
	a := newAuthor(t, workspace(t, nil))
	for _, lang := range []string{"python3", "nodejs", "go"} {
		a.ok("action", "new", "my-"+lang, "--lang", lang)
	}
	code, out, errs := a.pelton("", "test")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^my-go +greets +passed +\d+$`, out)
	require.Contains(t, errs, "6 passed, 0 failed\n")

	file := filepath.Join(a.dir, "actions", "my-nodejs", "action.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	write(t, file, string(bytes.Replace(text, []byte("letters: 3"), []byte("letters: 4"), 1)))
	code, out, errs = a.pelton("", "test", ".", "--run", "^my-(nodejs|go)/greets$", "--junit", "report.xml")
	require.Equal(t, 1, code)
	require.Regexp(t, `(?m)^my-nodejs +greets +failed +\d+ +letters is 3 and was to be 4$`, out)
	require.NotContains(t, out, "python3")
	require.Contains(t, errs, "pelton: 1 passed, 1 failed\n")
	report, err := os.ReadFile(filepath.Join(a.dir, "report.xml"))
	require.NoError(t, err)
	require.Contains(t, string(report), `<testsuites tests="2" failures="1" errors="0"`)
	require.Equal(t, "my-go/greets\nmy-go/refuses nobody\n", a.ok("test", "actions/my-go", "-o", "name"))
}

// TestApplyAndPrune: a folder of workflows against a real server: planned, applied, applied again,
// and pruned of what was deleted from it, and of nothing else.
func TestApplyAndPrune(t *testing.T) {
	p := start(t)
	actions := workspace(t, merge(
		python("actions/same", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n"),
		map[string]string{"workflows/scanned.yaml": flow("scanned")}))
	deploy(t, p, actions, "scanned")
	a := newAuthor(t, workspace(t, map[string]string{"workflows/one.yaml": flow("one"), "workflows/two.yaml": flow("two")}),
		"PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token)

	plan := a.ok("apply", ".", "--plan", "--prune")
	require.Regexp(t, `(?m)^one +create +workflows/one.yaml$`, plan)
	require.Regexp(t, `(?m)^two +create +workflows/two.yaml$`, plan)
	code, _, errs := a.pelton("", "workflow", "show", "one")
	require.Equal(t, 5, code, errs)

	require.Regexp(t, `(?m)^one +create +1 +live +workflows/one.yaml$`, a.ok("apply", "."))
	require.Regexp(t, `(?m)^one +unchanged +1 +live +workflows/one.yaml$`, a.ok("apply", "workflows/one.yaml"))
	file := filepath.Join(a.dir, "workflows", "one.yaml")
	write(t, file, flow("one")+"# changed\n")
	require.NoError(t, os.Remove(filepath.Join(a.dir, "workflows", "two.yaml")))
	plan = a.ok("apply", ".", "--plan", "--prune")
	require.Regexp(t, `(?m)^one +update +1 +live +workflows/one.yaml$`, plan)
	require.Regexp(t, `(?m)^two +remove +1 +live$`, plan)
	require.NotContains(t, plan, "scanned")

	code, _, errs = a.pelton("", "apply", ".", "--prune")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--prune undeploys 1 workflow: [two]. Nobody can be asked here: give --yes")
	done := a.ok("apply", ".", "--prune", "--yes")
	require.Regexp(t, `(?m)^one +update +2 +live +workflows/one.yaml$`, done)
	require.Regexp(t, `(?m)^two +remove +1 +stopped$`, done)
	require.Regexp(t, `(?m)^one +unchanged +2 +live +workflows/one.yaml\n$`, a.ok("apply", ".", "--prune", "--plan"))
	require.Regexp(t, `"completed"`, a.ok("run", "start", "scanned", "-i", "n=1", "--wait", "-o", "json"))
}

func flow(name string) string {
	return workflowYAML(name, "  inputs: [{name: n, type: integer}]\n  steps: [{id: a, uses: same, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.a.n}\"}\n")
}

// printed is what a program prints, line by line, as it comes.
type printed struct {
	t     *testing.T
	ctx   context.Context
	lines chan string
	all   strings.Builder
}

func follow(a *author, r io.Reader) *printed {
	p := &printed{t: a.t, ctx: a.ctx, lines: make(chan string, 1024)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

// until waits for a line that matches and returns its groups.
func (p *printed) until(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		select {
		case line, ok := <-p.lines:
			p.all.WriteString(line + "\n")
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
			require.True(p.t, ok, "the program ended and printed no line like %s:\n%s", pattern, &p.all)
		case <-p.ctx.Done():
			require.Fail(p.t, "no line came in time", "%s:\n%s", pattern, &p.all)
		}
	}
}

// TestDev: pelton dev sets the secrets of .env at the start and on a change, tells the lines that
// user code prints and how runs end, and keeps generated types.
func TestDev(t *testing.T) {
	unsplit(t, "pelton dev starts one peltond")
	a := newAuthor(t, workspace(t, merge(
		python("actions/measure", "[{name: word, type: password}]", "[{name: n, type: integer}]",
			"def handle(inputs):\n    print('measuring')\n    if inputs['word'] == 'bad-word':\n        raise ValueError('not this one')\n    return {'n': len(inputs['word'])}\n"),
		map[string]string{
			".env":                   "TOKEN=four-five # told\n",
			"workflows/measure.yaml": workflowYAML("measure", "  steps: [{id: m, uses: ./actions/measure, with: {word: \"${secrets.TOKEN}\"}}]\n  result: {n: \"${steps.m.n}\"}\n"),
		})))
	for _, args := range [][]string{{"init", "-q"}} {
		out, err := exec.CommandContext(a.ctx, "git", append([]string{"-C", a.dir}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	a.ok("action", "gen", "actions/measure")
	home := filepath.Join(t.TempDir(), "home")
	cmd := a.command("dev", ".", "--home", home)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); w.Close() }()
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	p := follow(a, r)
	p.until(`^  warning +\.env is not ignored by git`)
	p.until(`^  secrets +TOKEN  from \.env$`)
	p.until(`^Pelton is ready`)
	p.until(`^  live +measure`)
	a.env = append(a.env, "PELTON_HOME="+home)
	require.Contains(t, a.ok("run", "start", "measure", "--wait"), `result {"n":9}`)
	p.until(`^\[m\] measuring$`)
	p.until(`^  completed +measure  \d+ ms  run \S+$`)

	write(t, filepath.Join(a.dir, ".env"), "TOKEN\n")
	p.until(`^  error +\.env: line 1: is no KEY=VALUE`)
	write(t, filepath.Join(a.dir, ".env"), "TOKEN='bad-word'\n")
	p.until(`^  secrets +TOKEN  from \.env$`)
	code, _, errs := a.pelton("", "run", "start", "measure", "--wait")
	require.Equal(t, 1, code, errs)
	p.until(`^  failed +measure  \d+ ms  user_error in m: ValueError: not this one  run \S+$`)
	p.until(`handler\.py.*line 4`)

	file := filepath.Join(a.dir, "actions", "measure", "action.yaml")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	write(t, file, strings.Replace(string(text), "name: n,", "name: n, help: how long,", 1))
	p.until(`^  types +.*actions/measure/pelton_types\.py$`)
	types, err := os.ReadFile(filepath.Join(a.dir, "actions", "measure", "pelton_types.py"))
	require.NoError(t, err)
	require.Contains(t, string(types), "n: int  # how long\n")

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	p.until(`^stopping$`)
	require.NoError(t, <-ended)
	require.NotContains(t, p.all.String(), "four-five")
	require.NotContains(t, p.all.String(), "bad-word")
}

// inspect speaks to Node.js' inspector as an editor does: it sets a breakpoint in the handler,
// lets the program go on, tells where it stopped, and lets it end.
const inspect = `
const [address] = process.argv.slice(1);
const [target] = await (await fetch("http://" + address + "/json/list")).json();
const ws = new WebSocket(target.webSocketDebuggerUrl);
let id = 0;
const send = (method, params = {}) => ws.send(JSON.stringify({ id: ++id, method, params }));
ws.onopen = () => {
  send("Debugger.enable");
  send("Debugger.setBreakpointByUrl", { urlRegex: ".*/handler\\.mjs$", lineNumber: 11 });
  send("Runtime.runIfWaitingForDebugger");
};
ws.onmessage = ({ data }) => {
  const m = JSON.parse(data);
  if (m.method !== "Debugger.paused") return;
  const frame = m.params.callFrames[0];
  if (frame.functionName === "handle") {
    console.log("stopped in " + frame.functionName);
    send("Debugger.disable");
  } else send("Debugger.resume");
};
ws.onclose = () => process.exit(0);
`

// debug starts an action under its debugger and returns what it tells, and its end.
func (a *author) debug(stdin io.Reader, action string) (told *printed, result func() (code int, stdout string)) {
	a.t.Helper()
	return a.debugged(stdin, "action", "run", "actions/"+action, "-i", "name=Ada", "--debug")
}

// debugged runs a command that starts a debugger.
func (a *author) debugged(stdin io.Reader, args ...string) (told *printed, result func() (code int, stdout string)) {
	a.t.Helper()
	cmd := a.command(args...)
	r, w := io.Pipe()
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, w
	require.NoError(a.t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); w.Close(); close(ended) }()
	told = follow(a, r)
	return told, func() (int, string) {
		for line := range told.lines {
			told.all.WriteString(line + "\n")
		}
		<-ended
		return cmd.ProcessState.ExitCode(), out.String()
	}
}

// TestDebug: each language's handler stops where its debugger says, shows its input, and ends.
// What of Python's debugpy and Go's Delve is not installed is told.
func TestDebug(t *testing.T) {
	unsplit(t, "it needs no platform")
	a := newAuthor(t, workspace(t, nil))
	for _, lang := range []string{"python3", "nodejs", "go"} {
		a.ok("action", "new", "my-"+lang, "--lang", lang)
	}
	greeted := func(code int, out string) {
		t.Helper()
		require.Zero(t, code)
		require.JSONEq(t, `{"greeting":"Hello Ada","letters":3}`, out)
	}
	t.Run("nodejs", func(t *testing.T) {
		told, result := a.debug(nil, "my-nodejs")
		address := told.until(`waits for a debugger at (127\.0\.0\.1:\d+)$`)[1]
		out, err := exec.CommandContext(a.ctx, "node", "--experimental-websocket", "--no-warnings", "--input-type=module", "-e", inspect, address).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, "stopped in handle\n", string(out))
		greeted(result())
	})
	t.Run("python3", func(t *testing.T) {
		if exec.CommandContext(a.ctx, "python3", "-c", "import debugpy").Run() == nil {
			told, _ := a.debug(nil, "my-python3")
			told.until(`waits for a debugger at 127\.0\.0\.1:\d+$`)
			return
		}
		told, result := a.debug(strings.NewReader("p inputs\nc\n"), "my-python3")
		told.until(`handler\.py\(\d+\)handle\(\)`)
		told.until(`\{'name': 'Ada'\}`)
		greeted(result())
	})
	t.Run("go", func(t *testing.T) {
		dlv, err := exec.LookPath("dlv")
		if err != nil {
			code, _, errs := a.pelton("", "action", "run", "actions/my-go", "-i", "name=Ada", "--debug")
			require.Equal(t, 1, code)
			require.Contains(t, errs, "its program dlv is not on PATH: install it")
			return
		}
		told, result := a.debug(nil, "my-go")
		address := told.until(`waits for a debugger at (127\.0\.0\.1:\d+);`)[1]
		cmd := exec.CommandContext(a.ctx, dlv, "connect", address)
		cmd.Stdin = strings.NewReader("break actions/my-go.Handle\ncontinue\nprint in\ncontinue\n")
		out, _ := cmd.CombinedOutput() // the program that it is connected to ends
		require.Contains(t, string(out), `actions/my-go.Input {Name: "Ada"}`)
		greeted(result())
	})
}
