package e2e

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// dev starts `pelton dev` and follows what it prints; stop ends it as Ctrl-C does and checks
// that no process of the home is left.
func (a *author) dev(home string, args ...string) (told *printed, stop func()) {
	a.t.Helper()
	cmd := a.command(append([]string{"dev", "--home", home}, args...)...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it stops its server then
	require.NoError(a.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); w.Close() }()
	a.t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	return follow(a, r), func() {
		a.t.Helper()
		require.NoError(a.t, cmd.Process.Signal(os.Interrupt))
		require.NoError(a.t, <-ended)
		require.Empty(a.t, processesOf(a.t, home), "no process is left")
	}
}

// home is a short path that other users can reach.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-dev-") //nolint:usetesting // short, and reachable for other users
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "home")
}

const shoutFlow = "  inputs: [{name: text, type: string}]\n  steps: [{id: s, uses: ./actions/shout, with: {text: \"${inputs.text}\"}}]\n  result: {loud: \"${steps.s.loud}\"}\n"

func shoutWorkspace(t *testing.T) string {
	t.Helper()
	return workspace(t, merge(python("actions/shout", "[{name: text, type: string}]", "[{name: loud, type: string}]",
		"def handle(inputs):\n    return {'loud': inputs['text'].upper() + '!'}\n"),
		map[string]string{"workflows/shout.yaml": workflowYAML("shout", shoutFlow), ".gitignore": "scratch/\n"}))
}

// TestDevSaves: what each kind of save does. A broken one keeps the last good build, whatever file
// is broken; a save by rename is one; what Git ignores is none.
func TestDevSaves(t *testing.T) {
	unsplit(t, "pelton dev starts one peltond")
	a := newAuthor(t, shoutWorkspace(t))
	home := home(t)
	p, stop := a.dev(home, ".", "--listen", "127.0.0.1:0")
	p.until(`^  live +shout  revision 1$`)
	a.env = append(a.env, "PELTON_HOME="+home)
	gives := func(result string) {
		t.Helper()
		require.Contains(t, a.ok("run", "start", "shout", "-i", "text=a", "--wait"), "result "+result+"\n")
	}
	gives(`{"loud":"A!"}`)
	handler := filepath.Join(a.dir, "actions", "shout", "handler.py")
	write(t, handler, "def handle(inputs):\n    return {\n")
	p.until(`^ +actions/shout/handler\.py:2: SyntaxError`)
	gives(`{"loud":"A!"}`)

	// As editors do: the new text beside the old, then a rename.
	write(t, handler+".tmp~", "def handle(inputs):\n    return {'loud': inputs['text'].upper() + '?'}\n")
	require.NoError(t, os.Rename(handler+".tmp~", handler))
	p.until(`^  live +shout  revision 2$`)
	gives(`{"loud":"A?"}`)

	// An ignored folder holds metadata with an error: nobody looks at it, also not when all is scanned.
	write(t, filepath.Join(a.dir, "scratch", "bad", "action.yaml"), "kind: [\n")
	metadata := filepath.Join(a.dir, "actions", "shout", "action.yaml")
	text, err := os.ReadFile(metadata)
	require.NoError(t, err)
	write(t, metadata, strings.Replace(string(text), "name: loud", "name: noise", 1))
	p.until(`^  problem +workflows/shout\.yaml:\d+: spec\.result\.loud: step s \(shout\) has no output "loud"`)
	gives(`{"loud":"A?"}`)
	write(t, metadata, string(text))

	flow := filepath.Join(a.dir, "workflows", "shout.yaml")
	write(t, flow, workflowYAML("shout", strings.Replace(shoutFlow, "steps.s.", "steps.z.", 1)))
	p.until(`^  error +workflows/shout\.yaml:\d+: spec\.result\.loud: there is no step "z"`)
	gives(`{"loud":"A?"}`)
	write(t, flow, workflowYAML("shout", strings.Replace(shoutFlow, "loud: ", "said: ", 1)))
	p.until(`^  live +shout  revision \d+$`)
	gives(`{"said":"A?"}`)
	stop()
	require.NotContains(t, p.all.String(), "scratch")
	require.Equal(t, 1, strings.Count(p.all.String(), `there is no step "z"`), "told once:\n%s", &p.all)
}

// TestDevHome: one home has one server, its port is kept from nobody, and it finds a workspace that
// was moved; it never watches another folder than it says.
func TestDevHome(t *testing.T) {
	unsplit(t, "pelton dev starts one peltond")
	a := newAuthor(t, shoutWorkspace(t))
	home := home(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a port for the length of the test
	require.NoError(t, err)
	defer taken.Close()
	code, _, errs := a.pelton("", "dev", ".", "--home", home, "--listen", taken.Addr().String())
	require.Equal(t, 1, code)
	require.Contains(t, errs, taken.Addr().String()+" cannot be listened on: choose another address with --listen")

	p, stop := a.dev(home, ".", "--listen", "127.0.0.1:0")
	p.until(`^  live +shout  revision 1$`)
	require.Regexp(t, `^Pelton of `+home+` already runs: http://127\.0\.0\.1:\d+`, a.ok("dev", ".", "--home", home, "--showcase"))
	bin, err := harness.Bin()
	require.NoError(t, err)
	out, err := exec.CommandContext(a.ctx, filepath.Join(bin, "peltond"), "--home", home, "--listen", "127.0.0.1:0").CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `a Pelton of \S+ runs already \(pid \d+\): stop it, or choose another folder with --home`, string(out))
	a.env = append(a.env, "PELTON_HOME="+home)
	require.Contains(t, a.ok("run", "start", "shout", "-i", "text=a", "--wait"), `{"loud":"A!"}`, "the server that runs is not harmed")
	stop()

	other := filepath.Join(t.TempDir(), filepath.Base(a.dir))
	require.NoError(t, os.CopyFS(other, os.DirFS(a.dir)))
	code, _, errs = a.pelton("", "dev", other, "--home", home, "--listen", "127.0.0.1:0")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the name "+filepath.Base(a.dir)+" is that of "+a.dir+" in this home: forget that one with `pelton repo remove "+filepath.Base(a.dir)+"`")
	require.Empty(t, processesOf(t, home), "no process is left")

	require.NoError(t, os.RemoveAll(a.dir))
	a.dir = other
	p, stop = a.dev(home, ".", "--listen", "127.0.0.1:0")
	p.until(`^Pelton is ready`)
	write(t, filepath.Join(other, "actions", "shout", "handler.py"), "def handle(inputs):\n    return {'loud': 'moved'}\n")
	p.until(`^  live +shout  revision 2$`)
	require.Contains(t, a.ok("run", "start", "shout", "-i", "text=a", "--wait"), `{"loud":"moved"}`)
	stop()
}

// TestShowcase is `make run` from its second line on: hello first, whatever the other example's
// packages do; a build that fails for want of a registry is told with the host and the setting, and is
// made again by the next start; then one real run, and the lines that can be pasted.
func TestShowcase(t *testing.T) {
	unsplit(t, "pelton dev starts one peltond")
	dead, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a port that nobody answers on
	require.NoError(t, err)
	nowhere := "http://" + dead.Addr().String() + "/simple"
	dead.Close()
	a := newAuthor(t, harness.Root())
	home := home(t)
	env := a.env
	a.env = append(env, "PIP_INDEX_URL="+nowhere, "UV_INDEX_URL="+nowhere, "UV_DEFAULT_INDEX="+nowhere)
	examples := filepath.Join("functions", "examples")
	p, stop := a.dev(home, examples, "--showcase", "--listen", "127.0.0.1:0")
	p.until(`^  live +hello  revision 1$`)
	p.until(`^  failed +monthly-figures@1\.0$`)
	p.until(`^ +uv could not be fetched: 127\.0\.0\.1 could not be reached or does not have it: check the connection, or set PIP_INDEX_URL`)
	p.until(`^  the weather-report example did not run: the build of actions/monthly failed, as told above`)
	p.until(`^Pelton is ready`)
	p.until(`^  look `)
	stop()

	a.env = env
	p, stop = a.dev(home, examples, "--showcase", "--listen", "127.0.0.1:0")
	p.until(`^  live +weather-report  revision 1$`)
	p.until(`^  STEP +STATE +ATTEMPTS`)
	for _, step := range []string{"monthly", `chart\[0\]`, "report"} {
		p.until(`^  ` + step + ` +completed +1 .* ms`)
	}
	p.until(`^  report +`)
	p.until(`^Pelton is ready   http://127\.0\.0\.1:\d+/app/\?code=\S+  \(signs you in once\)$`)
	call := p.until(`^  call it   (curl -fF .*)$`)[1]
	look := p.until(`^  look +(\S+ run list) +stop: Ctrl-C +data: `)
	require.NotEmpty(t, look)
	cmd := exec.CommandContext(a.ctx, "sh", "-c", call+" -s")
	cmd.Dir = a.dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), `"report":{"$file":`)
	stop()
}
