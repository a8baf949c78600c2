package localrun

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/pelton-run/pelton/functions/formats/action"
)

//go:embed debug_boot.py
var bootText []byte

// DebugOptions of StartDebug.
type DebugOptions struct {
	In   io.Reader         // what is typed, for a debugger on this terminal
	Out  io.Writer         // what such a debugger prints
	Tell func(line string) // how to attach, and what the debugger says beside
}

// debugger is the one that an Instance's language process waits for.
type debugger struct {
	o       DebugOptions
	dir     string // the author's folder
	bundle  string // the build
	work    string // of the instance
	told    *os.File
	listen  net.Listener
	describ func(address string) []string
}

// StartDebug is Start with the handler under the language's debugger. Nothing runs into a timeout.
func StartDebug(ctx context.Context, dir string, progress func(string), o DebugOptions) (*Instance, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	a, problems := action.Load(os.DirFS(abs), ".", filepath.Base(abs))
	if problems.Errors() {
		return nil, &ProblemsError{problems}
	}
	dlv := ""
	if a.Runtime == "go" { // told before a build that would be for nothing
		if dlv, err = exec.LookPath("dlv"); err != nil {
			return nil, errors.New("the debugger of Go actions is Delve, and its program dlv is not on PATH: install it as https://github.com/go-delve/delve says, then try again")
		}
	}
	a, bundle, err := build(ctx, dir, progress, a.Runtime == "go")
	if err != nil {
		return nil, err
	}
	i := &Instance{Action: a}
	if i.dir, err = os.MkdirTemp("", "pelton-run-"); err != nil {
		return nil, err
	}
	i.debug = &debugger{o: o, dir: abs, bundle: bundle, work: i.dir}
	prepared, err := i.debug.prepare(ctx, a, dlv)
	if err == nil {
		err = i.launch(ctx, prepared)
	}
	if err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

func (d *debugger) close() {
	if d.told != nil {
		d.told.Close()
	}
	if d.listen != nil {
		d.listen.Close()
	}
}

// prepare makes a bundle that is the build with another start: a script that puts the debugger
// before the handler. The wrapper and the shim are those of every other run.
func (d *debugger) prepare(ctx context.Context, a action.Action, dlv string) (string, error) {
	var b map[string]any
	data, err := os.ReadFile(filepath.Join(d.bundle, "bundle.json"))
	if err != nil {
		return "", err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&b); err != nil {
		return "", err
	}
	dir := filepath.Join(d.work, "bundle")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"code", "deps", "bin"} {
		if _, err := os.Stat(filepath.Join(d.bundle, name)); err == nil {
			if err := os.Symlink(filepath.Join(d.bundle, name), filepath.Join(dir, name)); err != nil {
				return "", err
			}
		}
	}
	interpreter, _ := b["interpreter"].(string)
	start := filepath.Join(dir, "start")
	var line string
	switch a.Runtime {
	case "python3":
		line, err = d.python(ctx, interpreter)
		b["interpreter"] = start
	case "nodejs":
		line = d.node(interpreter)
		b["interpreter"] = start
	case "go":
		line = d.delve(dlv, filepath.Join(d.bundle, filepath.FromSlash(b["handler"].(string))))
		b["handler"] = "start"
	default:
		err = fmt.Errorf("the runtime %s has no debugger here", a.Runtime)
	}
	if err == nil {
		err = d.listenTold()
	}
	if err != nil {
		return "", err
	}
	b["isolation"] = "reuse" // one process: the one that waits
	if data, err = json.Marshal(b); err != nil {
		return "", err
	}
	return dir, errors.Join(
		os.WriteFile(start, []byte("#!/bin/sh\n"+line+"\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "bundle.json"), data, 0o644))
}

var addressLine = regexp.MustCompile(`(?:ws://|listening at: )(127\.0\.0\.1:\d+)`)

// listenTold opens the pipe on which the debugger tells its address.
func (d *debugger) listenTold() error {
	path := d.toldPath()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	var err error
	// For reading and writing, so that it opens before the other end does.
	if d.told, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return err
	}
	go func(told *os.File) {
		for s := bufio.NewScanner(told); s.Scan(); {
			if m := addressLine.FindStringSubmatch(s.Text()); m != nil {
				for _, line := range d.describ(m[1]) {
					d.o.Tell(line)
				}
			} else if !strings.HasPrefix(s.Text(), "For help") {
				d.o.Tell("  " + s.Text())
			}
		}
	}(d.told)
	return nil
}

func (d *debugger) toldPath() string { return filepath.Join(d.work, "told") }

// quote makes one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// vscode is an entry of launch.json in one line.
func vscode(port string, entry map[string]any) string {
	entry["name"], entry["request"] = "pelton", "attach"
	text, err := json.Marshal(entry)
	if err != nil { // it is made of strings and numbers
		return ""
	}
	return "  VS Code    " + strings.ReplaceAll(string(text), `"PORT"`, port)
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

func (d *debugger) node(interpreter string) string {
	code := filepath.Join(d.bundle, "code")
	if real, err := filepath.EvalSymlinks(code); err == nil {
		code = real
	}
	d.describ = func(address string) []string {
		return []string{
			"the handler waits for a debugger at " + address,
			"  terminal   node inspect " + address,
			"  Chrome     chrome://inspect, Configure…, " + address,
			vscode(port(address), map[string]any{"type": "node", "address": "127.0.0.1", "port": "PORT", "localRoot": d.dir, "remoteRoot": code}),
		}
	}
	return "exec " + quote(interpreter) + ` --inspect-brk=127.0.0.1:0 "$@" 2>` + quote(d.toldPath())
}

func (d *debugger) delve(dlv, program string) string {
	module := filepath.Base(d.dir)
	if data, err := os.ReadFile(filepath.Join(d.dir, "go.mod")); err == nil {
		if m := regexp.MustCompile(`(?m)^module\s+(\S+)`).FindSubmatch(data); m != nil {
			module = string(m[1])
		}
	}
	d.describ = func(address string) []string {
		return []string{
			"the handler waits for a debugger at " + address + "; its functions are in the package " + module,
			"  terminal   dlv connect " + address,
			vscode(port(address), map[string]any{"type": "go", "mode": "remote", "host": "127.0.0.1", "port": "PORT",
				"substitutePath": []map[string]string{{"from": d.dir, "to": module}}}),
		}
	}
	return "HOME=" + quote(d.work) + " exec " + quote(dlv) + " exec --headless --listen=127.0.0.1:0 --api-version=2 " + quote(program) + ` -- "$@" >` + quote(d.toldPath()) + " 2>&1"
}

func (d *debugger) python(ctx context.Context, interpreter string) (string, error) {
	boot := filepath.Join(d.work, "boot.py")
	if err := os.WriteFile(boot, bootText, 0o644); err != nil {
		return "", err
	}
	settings := map[string]string{"told": d.toldPath(), "debugpy": d.debugpy(ctx, interpreter), "terminal": ""}
	if settings["debugpy"] == "" {
		settings["terminal"] = filepath.Join(d.work, "pdb")
		if err := d.terminal(settings["terminal"]); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return "", err
	}
	d.describ = func(address string) []string {
		return []string{
			"the handler waits for a debugger at " + address,
			vscode(port(address), map[string]any{"type": "debugpy", "connect": map[string]string{"host": "127.0.0.1", "port": "PORT"},
				"pathMappings": []map[string]string{{"localRoot": d.dir, "remoteRoot": filepath.Join(d.work, "bundle", "code")}}}),
		}
	}
	return "exec " + quote(interpreter) + " -B -u -E -s -X frozen_modules=off " + quote(boot) + " " + quote(string(text)) + ` "$@"`, nil
}

// debugpy is the folder that debugpy is installed in: for the action's interpreter, among its
// dependencies, or for the python3 on PATH (of a virtual environment); "" for none.
func (d *debugger) debugpy(ctx context.Context, interpreter string) string {
	const ask = `import os, sys
sys.path.append(sys.argv[1])
import debugpy
print("%d.%d" % sys.version_info[:2], os.path.dirname(os.path.dirname(os.path.abspath(debugpy.__file__))))`
	version, err := exec.CommandContext(ctx, interpreter, "-c", `import sys; print("%d.%d" % sys.version_info[:2])`).Output()
	if err != nil {
		return ""
	}
	for _, python := range []string{interpreter, "python3"} {
		out, err := exec.CommandContext(ctx, python, "-c", ask, filepath.Join(d.bundle, "deps")).Output()
		v, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		if err == nil && v == strings.TrimSpace(string(version)) {
			return dir
		}
	}
	return ""
}

// terminal joins pdb with what is typed and shown here. The handler's process has no terminal.
func (d *debugger) terminal(path string) error {
	var err error
	if d.listen, err = net.Listen("unix", path); err != nil {
		return err
	}
	go func() {
		c, err := d.listen.Accept()
		if err != nil {
			return // closed
		}
		d.o.Tell("pdb is at this terminal: n next, s into, c on, h help (with debugpy installed, an editor can attach)")
		go func() {
			_, _ = io.Copy(c, d.o.In)          // a handler that has ended
			_ = c.(*net.UnixConn).CloseWrite() // the end of what is typed ends pdb
		}()
		_, _ = io.Copy(d.o.Out, c)
		c.Close()
	}()
	return nil
}
