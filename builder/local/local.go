// Package local builds actions on this machine: a bundle is a folder, named by the build's digest
// and complete once its bundle.json is there; dependencies are installed once per lock and shared.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/functions/formats/action"
)

// Error is a build that failed, in words.
type Error = app.Error

// Options of a Builder.
type Options struct {
	Home    string        // folder of bundles, deps, cache and tools
	Timeout time.Duration // of one build. Defaults to 15 min
	Limits  Limits
	// UID and GID are the first of a range: where we are root, package managers and compilers run as
	// a user of the project's own, counted from here. -1 = as ourselves.
	UID, GID int
}

// Builder builds. Safe for concurrent use.
type Builder struct {
	o        Options
	owners   owners
	sessions sessions
	linking  sync.RWMutex // read while a build links dependencies, so that none it is about to use is dropped
	keys     sync.Map     // what is being made now: path -> *sync.Mutex
	python   func() (interpreter, error)
	node     func() (interpreter, error)
	golang   func() (interpreter, error)
}

type interpreter struct{ path, version string }

// New makes a Builder.
func New(o Options) *Builder {
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Minute
	}
	o.Limits = o.Limits.orDefaults(o.Timeout)
	b := &Builder{o: o, owners: owners{file: filepath.Join(o.Home, "run", "builders.json"), first: owner{o.UID, o.GID}},
		sessions: sessions{live: map[int]bool{}}}
	b.python = sync.OnceValues(findPython)
	b.node = sync.OnceValues(func() (interpreter, error) { return b.findNode() })
	b.golang = sync.OnceValues(findGo)
	return b
}

// Order is one action to be built.
type Order struct {
	Project string
	Build   string // digest
	Action  action.Action
	Source  string // the action's folder; read only
	Force   bool   // build although the bundle is there, and install its dependencies anew
	Log     func(line string)
	Debug   bool // compiled code keeps what a debugger reads; give such a build a Build of its own
}

// Result of a build.
type Result struct {
	Dir    string // the bundle's folder
	Cached bool
	Phases map[string]time.Duration
	Notes  []string

	limit *Error // that a command ran into
}

// Bundle is the folder of a build's bundle.
func (b *Builder) Bundle(project, build string) string {
	return filepath.Join(b.o.Home, "bundles", project, strings.TrimPrefix(build, "sha256:"))
}

// Build makes the bundle, or finds it made. Building the same twice at once does it once.
func (b *Builder) Build(ctx context.Context, o Order) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	dir := b.Bundle(o.Project, o.Build)
	r := Result{Dir: dir, Phases: map[string]time.Duration{}}
	unlock := b.lock(dir)
	defer unlock()
	b.linking.RLock()
	defer b.linking.RUnlock()
	if !o.Force && have(dir, time.Now()) {
		r.Cached = true
		return r, nil
	}
	j, done, err := b.job(o, &r)
	if err != nil {
		return r, told(ctx, &r, err)
	}
	defer done()
	if err := j.run(ctx); err != nil {
		return r, told(ctx, &r, err)
	}
	return r, put(j.tmp, dir)
}

// told makes an Error of whatever went wrong.
func told(ctx context.Context, r *Result, err error) error {
	var e *Error
	switch {
	case r.limit != nil && ctx.Err() == nil:
		return r.limit
	case errors.As(err, &e):
		if ctx.Err() == nil {
			return err
		}
		fallthrough
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return app.TimedOut()
		}
		return app.Cancelled()
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &Error{Kind: "limit", Message: "the disk that holds Pelton's data is full: free some space, then scan the repository again"}
	}
	return &Error{Kind: "internal", Message: err.Error()}
}

func (b *Builder) lock(key string) (unlock func()) {
	m, _ := b.keys.LoadOrStore(key, &sync.Mutex{})
	mu := m.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

func (j *job) log(format string, args ...any) {
	if j.o.Log != nil {
		j.o.Log(fmt.Sprintf(format, args...))
	}
}

func (j *job) phase(name string, f func() error) error {
	start := time.Now()
	err := f()
	j.r.Phases[name] += time.Since(start)
	return err
}

func (j *job) run(ctx context.Context) error {
	code := filepath.Join(j.tmp, "code")
	if err := j.phase("fetch", func() error { return copyTree(j.o.Source, code) }); err != nil {
		return err
	}
	var in interpreter
	var err error
	a := j.o.Action
	handler := filepath.Join("code", a.Handler)
	switch a.Runtime {
	case "python3":
		in, err = j.b.python()
		if err == nil {
			err = j.python(ctx, in, code)
		}
	case "nodejs":
		in, err = j.b.node()
		if err == nil {
			handler, err = j.nodejs(ctx, in, code)
		}
	case "go":
		in, err = j.b.golang()
		if err == nil {
			handler, err = j.golang(ctx, in, code)
			in.path = ""
		}
	default:
		err = &Error{Kind: "runtime_missing", Message: "the runtime " + a.Runtime + " cannot be built on this machine"}
	}
	if err != nil {
		return err
	}
	return j.phase("pack", func() error { return j.pack(in, handler) })
}

type bundleItem struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Optional   bool            `json:"optional"`
	Default    json.RawMessage `json:"default"`
	EnumValues []string        `json:"enum_values"`
}

func bundleItems(items []action.Item) []bundleItem {
	out := make([]bundleItem, 0, len(items))
	for _, i := range items {
		out = append(out, bundleItem{i.Name, i.Type, i.Optional, i.Default, i.EnumValues})
	}
	return out
}

// Manifest is the text of a bundle's bundle.json. interpreter is its path, or its name on PATH where
// the bundle runs; handler is below the bundle.
func Manifest(build string, a action.Action, interpreter, handler string) ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"format": 1, "build": build, "action": a.Label(), "kind": a.Kind, "runtime": a.Runtime, "interpreter": interpreter,
		"handler": filepath.ToSlash(handler), "export": a.Export, "isolation": a.Isolation, "concurrency": a.Concurrency,
		"dynamic_outputs": a.DynamicOutputs, "inputs": bundleItems(a.Inputs), "outputs": bundleItems(a.Outputs),
		"memory_bytes": a.MemoryBytes, "cpu": a.CPU, "env": map[string]string{},
	}, "", " ")
}

// pack writes bundle.json, last.
func (j *job) pack(in interpreter, handler string) error {
	text, err := Manifest(j.o.Build, j.o.Action, in.path, handler)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(j.tmp, manifest))
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// complete is in a folder of dependencies once it is.
const complete = ".complete"

// deps makes the shared folder of dependencies once per lock and links it, or the folder sub of
// it, into the bundle.
func (j *job) deps(ctx context.Context, digest, link, sub string, install func(ctx context.Context, dir string) error) error {
	dir := filepath.Join(j.b.o.Home, "deps", j.o.Project, strings.TrimPrefix(digest, "sha256:"))
	unlock := j.b.lock(dir)
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, complete)); err != nil || j.o.Force {
		start := time.Now()
		tmp := fmt.Sprintf("%s.tmp-%d", dir, os.Getpid())
		if err := errors.Join(os.RemoveAll(tmp), shelf(filepath.Dir(dir))); err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		made, err := j.scratch("deps")
		if err != nil {
			return err
		}
		if err := install(ctx, made); err != nil {
			return err
		}
		if err := errors.Join(j.user.seal(made), os.RemoveAll(filepath.Join(made, complete)), os.Rename(made, tmp), os.Chmod(tmp, 0o755)); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, complete), nil, 0o644); err != nil {
			return err
		}
		if err := put(tmp, dir); err != nil {
			return err
		}
		j.r.Phases["dependencies"] += time.Since(start)
	}
	target, err := filepath.Rel(filepath.Dir(filepath.Join(j.b.Bundle(j.o.Project, j.o.Build), link)), dir)
	if err != nil {
		return err
	}
	return os.Symlink(filepath.Join(target, sub), filepath.Join(j.tmp, link))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func copyTree(from, to string) error {
	files, err := action.Walk(os.DirFS(from), ".")
	if err != nil {
		return err
	}
	for _, name := range files {
		src, dst := filepath.Join(from, name), filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(src)
		if err != nil {
			return err
		}
		info, err := os.Stat(src)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, data, info.Mode().Perm()|0o444); err != nil {
			return err
		}
	}
	return nil
}

// remedy says how to get a program on this system.
func remedy(debian, mac string) string {
	if runtime.GOOS == "darwin" {
		return "brew install " + mac
	}
	return "sudo apt-get install " + debian
}

func findPython() (interpreter, error) {
	p, err := exec.LookPath("python3")
	if err != nil {
		return interpreter{}, &Error{Kind: "runtime_missing", Message: "Python is missing: " + remedy("python3", "python3") + ", then save or scan again"}
	}
	// The program itself, behind version managers that ask the environment.
	out, err := exec.Command(p, "-c", "import sys; print(sys.executable); print('%d.%d.%d' % sys.version_info[:3])").Output()
	lines := strings.Fields(string(out))
	if err != nil || len(lines) != 2 {
		return interpreter{}, &Error{Kind: "runtime_missing", Message: "python3 does not work: " + p}
	}
	if !atLeast(lines[1], 3, 9) {
		return interpreter{}, &Error{Kind: "runtime_missing", Message: "Python " + lines[1] + " is too old, 3.9 or newer is wanted: " + remedy("python3", "python3")}
	}
	if real, err := filepath.EvalSymlinks(lines[0]); err == nil {
		lines[0] = reachable(real)
	}
	return interpreter{lines[0], lines[1]}, nil
}

func (b *Builder) findNode() (interpreter, error) {
	private := filepath.Join(b.o.Home, "tools", "node", "bin", "node")
	for _, p := range []string{"node", private} {
		path, err := exec.LookPath(p)
		if err != nil {
			continue
		}
		out, err := exec.Command(path, "--version").Output()
		v := strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
		if err == nil && atLeast(v, 20, 19) {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				path = real
			}
			return interpreter{path, v}, nil
		}
	}
	return interpreter{}, &Error{Kind: "runtime_missing", Message: "Node.js 20.19 or newer is missing: " + remedy("nodejs npm", "node") + ", or run make preflight, which fetches a private one"}
}

func findGo() (interpreter, error) {
	p, err := exec.LookPath("go")
	if err != nil {
		return interpreter{}, &Error{Kind: "runtime_missing", Message: "Go is missing: " + remedy("golang-go", "go") + ", or https://go.dev/dl"}
	}
	out, err := exec.Command(p, "env", "GOVERSION").Output()
	if err != nil {
		return interpreter{}, &Error{Kind: "runtime_missing", Message: "go does not work: " + p}
	}
	return interpreter{p, strings.TrimPrefix(strings.TrimSpace(string(out)), "go")}, nil
}

func atLeast(v string, major, minor int) bool {
	var a, b int
	_, err := fmt.Sscanf(v, "%d.%d", &a, &b)
	return err == nil && (a > major || a == major && b >= minor)
}
