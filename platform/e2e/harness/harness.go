// Package harness starts a real platform from its binaries, in a home of its own on a free
// port, and speaks to it over its public interfaces, as the black-box tests, the demo and
// the benchmark do. It never looks inside the process.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pelton-run/pelton/platform/kit/pgserver"
)

// Platform is a started platform: one peltond, or one for each service.
type Platform struct {
	Home  string
	URL   string
	Token string // of the local administrator
	HTTP  *http.Client

	options   Options
	processes []*process // at least one
	ingress   *ingress   // nil: one peltond answers all
	killer    *killer
}

// Options of Start; zero values are usable.
type Options struct {
	Home   string   // Defaults to a new temporary folder
	Listen string   // Defaults to a free port on 127.0.0.1
	Args   []string // further arguments of peltond
	Env    []string // further environment, KEY=value; a restart has it too
	// Replica is the name of one process among several on one home and store. Defaults to none.
	Replica string
	// Split starts a process for each service. Defaults to nil: one peltond runs them all.
	Split *Split
	// Patient asks again when an answer fails because a process has just ended. Defaults to false.
	Patient bool
	// Kills ends one service after another at random and starts it again, and takes what goes wrong with that;
	// callers have to be patient. Defaults to nil: none ends. Only with Split.
	Kills func(error)
	// Files is the filestore. Defaults to a folder of the home.
	Files Files
	// Violation takes every answer that HTTP gets and the service's OpenAPI document does not
	// describe; it is called concurrently. Defaults to nil: answers are not checked.
	Violation func(error)
}

// Files are the settings of a filestore.
type Files struct{ URL, Credentials string }

var build struct {
	once sync.Once
	dir  string
	err  error
}

// Root is the module's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Bin is the folder of the binaries: $PELTON_BIN, else built once from the tree into build/bin-test.
func Bin() (string, error) {
	build.once.Do(func() {
		if dir := os.Getenv("PELTON_BIN"); dir != "" {
			build.dir = dir
			return
		}
		build.dir = filepath.Join(Root(), "build", "bin-test")
		if build.err = os.MkdirAll(build.dir, 0o755); build.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", build.dir+"/", "./platform/cmd/...", "./wrapper/cmd/wrapper")
		cmd.Dir = Root()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build the binaries: %w\n%s", err, out)
		}
	})
	return build.dir, build.err
}

// Start starts a platform and returns once it is ready.
func Start(ctx context.Context, o Options) (*Platform, error) {
	if o.Home == "" {
		var err error
		if o.Home, err = os.MkdirTemp("", "pelton-e2e-"); err != nil {
			return nil, err
		}
		if err = os.Chmod(o.Home, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(o.Home, 0o755); err != nil {
		return nil, err
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	p := &Platform{Home: o.Home, options: o, killer: &killer{}}
	if o.Files.URL != "" {
		o.Env = append(slices.Clip(o.Env), "PELTON_FILES="+o.Files.URL, "PELTON_S3_CREDENTIALS="+o.Files.Credentials)
		p.options.Env, p.options.Files = o.Env, Files{} // a restart has them in its environment
	}
	if o.Split != nil {
		return p, p.startSplit(ctx)
	}
	single := &process{home: o.Home, args: []string{"--listen", o.Listen}, env: o.Env, dir: "run", log: "peltond.log"}
	if o.Replica != "" {
		single.args = append(single.args, "--replica", o.Replica)
		single.dir, single.log = filepath.Join("run", "replicas", o.Replica), "peltond-"+o.Replica+".log"
	}
	p.processes = []*process{single}
	if err := single.start(o.Args); err != nil {
		return nil, err
	}
	s, err := single.awaitReady(ctx)
	if err != nil {
		return nil, err
	}
	p.URL, p.Token, p.HTTP = s.URL, s.Token, client(s.URL, o)
	return p, nil
}

// IsSplit tells whether each service is a process.
func (p *Platform) IsSplit() bool { return p.options.Split != nil }

// PID of peltond, or of the one that runs the runner.
func (p *Platform) PID() int { return p.processes[len(p.processes)-1].cmd.Process.Pid }

// Database is the URL of a service's database, for tests that look at what lies there or break it.
func (p *Platform) Database(service string) (string, error) {
	if p.options.Split == nil {
		return pgserver.SuperURLOf(filepath.Join(p.Home, "pg"), "pelton_"+service)
	}
	u, err := url.Parse(p.options.Split.Store(service))
	if err != nil {
		return "", err
	}
	u.Path += "pelton_" + service
	return u.String(), nil
}

// Peltond runs a command of peltond beside the platform, with its home and settings, and gives what it prints.
func (p *Platform) Peltond(ctx context.Context, args ...string) (string, error) {
	bin, err := Bin()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "peltond"), args...)
	cmd.Env = append(os.Environ(), "PELTON_HOME="+p.Home)
	if p.options.Split != nil {
		cmd.Env = append(cmd.Env, "PELTON_BUS="+p.options.Split.Bus("operator"))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Adm runs a command of pelton-adm on the data that a platform of these options has, or will have, and
// gives what it prints.
func Adm(ctx context.Context, o Options, args ...string) (string, error) {
	cmd, err := AdmCommand(ctx, o, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// AdmCommand is what Adm runs, to be started by the caller.
func AdmCommand(ctx context.Context, o Options, args ...string) (*exec.Cmd, error) {
	bin, err := Bin()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pelton-adm"), args...)
	cmd.Env = append(append(os.Environ(), "PELTON_HOME="+o.Home), o.Env...)
	if o.Files.URL != "" {
		cmd.Env = append(cmd.Env, "PELTON_FILES="+o.Files.URL, "PELTON_S3_CREDENTIALS="+o.Files.Credentials)
	}
	if o.Split != nil {
		cmd.Env = append(cmd.Env, "PELTON_BUS="+o.Split.Bus("operator"))
		for _, service := range Services {
			u, err := url.Parse(o.Split.Store(service))
			if err != nil {
				return nil, err
			}
			u.Path += "pelton_" + service
			cmd.Env = append(cmd.Env, "PELTON_STORE="+o.Split.Store(service), "PELTON_STORES_"+strings.ToUpper(service)+"="+u.String())
		}
	}
	return cmd, nil
}

// Options are those that the platform was started with, its home filled in.
func (p *Platform) Options() Options {
	o := p.options
	o.Home = p.Home
	return o
}

// Kill ends the platform with SIGKILL and waits until it is gone.
func (p *Platform) Kill() {
	p.StopKills()
	for _, one := range p.processes {
		_ = one.cmd.Process.Kill()
	}
	for _, one := range p.processes {
		<-one.done
	}
}

// Stop ends the platform with SIGTERM and waits; it reports an exit code other than 0.
func (p *Platform) Stop() error {
	p.StopKills()
	var errs []error
	for _, one := range p.processes {
		_ = one.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, one := range p.processes {
		errs = append(errs, one.awaitEnd(30*time.Second))
	}
	if p.ingress != nil {
		p.ingress.close()
	}
	return errors.Join(errs...)
}

// Restart starts the platform again on the same home, after Kill or Stop.
func (p *Platform) Restart(ctx context.Context, args ...string) error {
	o := p.options
	if o.Args = args; p.ingress == nil {
		o.Listen = ""
		n, err := Start(ctx, o)
		if err != nil {
			return err
		}
		*p = *n
		return nil
	}
	p.options = o
	return p.startAll(ctx)
}

// LogTail is the end of peltond's log, or of each one's.
func (p *Platform) LogTail(lines int) string {
	var all []string
	for _, one := range p.processes {
		all = append(all, one.logTail(lines))
	}
	return strings.Join(all, "\n")
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Status int    `json:"status"`
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Field, Message, Remedy string
		Line, Column           int
	} `json:"errors"`
}

func (e *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: %s", e.Status, e.Title, e.Detail)
	for _, f := range e.Errors {
		fmt.Fprintf(&b, "; %s: %s (%s)", f.Field, f.Message, f.Remedy)
	}
	return b.String()
}

// Do sends a request with the administrator's token; the caller closes the body.
func (p *Platform) Do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.URL+path, body)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	return p.HTTP.Do(req)
}

// JSON sends in (nil = no body) and decodes the answer into out (nil = dropped). Answers of 400 and above are *Problem.
func (p *Platform) JSON(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	contentType := ""
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	resp, err := p.Do(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		problem := &Problem{Status: resp.StatusCode, Detail: string(data)}
		_ = json.Unmarshal(data, problem)
		return problem
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
}

// Until calls check every 20 ms until it says done, returns an error, or ctx ends.
func Until(ctx context.Context, what string, check func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		done, err := check()
		if done {
			return err
		}
		last = err
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w (last: %v)", what, ctx.Err(), last) //nolint:errorlint // the last error is for people
		case <-tick.C:
		}
	}
}

// Run is what the harness reads of a run.
type Run struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Error *struct{ Kind, Message, Code string }
	Steps []struct {
		Step       string                     `json:"step"`
		State      string                     `json:"state"`
		Reason     string                     `json:"reason"`
		FinishedAt time.Time                  `json:"finished_at"`
		Inputs     map[string]json.RawMessage `json:"inputs"`
		Attempts   []struct {
			Number int    `json:"number"`
			State  string `json:"state"`
		} `json:"attempts"`
	} `json:"steps"`
	Result map[string]json.RawMessage `json:"result"`
}

// Ended tells whether the run's state is final.
func (r Run) Ended() bool {
	return r.State == "completed" || r.State == "failed" || r.State == "cancelled"
}

// Run reads one run of project default.
func (p *Platform) Run(ctx context.Context, id string) (Run, error) {
	var r Run
	return r, p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/runs/"+id, nil, &r)
}

// StartRun starts a workflow of project default; for a patient platform it may start it twice, and gives the second.
func (p *Platform) StartRun(ctx context.Context, workflow string, inputs any) (Run, error) {
	var r Run
	return r, p.JSON(repeatable(ctx), http.MethodPost, "/runner/v1/projects/default/runs", map[string]any{"workflow": workflow, "inputs": inputs}, &r)
}

// WaitRun waits until the run has ended.
func (p *Platform) WaitRun(ctx context.Context, id string) (Run, error) {
	var r Run
	err := Until(ctx, "run "+id+" ends", func() (bool, error) {
		var err error
		r, err = p.Run(ctx, id)
		return err == nil && r.Ended(), err
	})
	return r, err
}

// AddFolder has the platform watch a folder and deploy what it finds.
func (p *Platform) AddFolder(ctx context.Context, name, dir string) error {
	err := p.JSON(repeatable(ctx), http.MethodPost, "/repository/v1/projects/default/repositories",
		map[string]any{"name": name, "path": dir, "watch": true, "auto_deploy": true}, nil)
	if problem := (*Problem)(nil); p.options.Patient && errors.As(err, &problem) && problem.Status == http.StatusConflict {
		return nil // the first time did it, and its answer was lost
	}
	return err
}

// WaitLive waits until a workflow's newest revision is live.
func (p *Platform) WaitLive(ctx context.Context, workflow string) error {
	return Until(ctx, "workflow "+workflow+" is live", func() (bool, error) {
		var list struct {
			Items []struct{ Workflow, State, Reason string }
		}
		if err := p.JSON(ctx, http.MethodGet, "/runner/v1/projects/default/deployments?all=true&limit=200", nil, &list); err != nil {
			return false, err
		}
		newest := -1 // the list begins with the newest
		for i, d := range list.Items {
			if d.Workflow == workflow && d.State == "live" {
				return true, nil
			}
			if d.Workflow == workflow && newest < 0 {
				newest = i
			}
		}
		if newest >= 0 && list.Items[newest].State == "failed" {
			return true, fmt.Errorf("deployment of %s failed: %s", workflow, list.Items[newest].Reason)
		}
		return false, fmt.Errorf("no live deployment among %d", len(list.Items))
	})
}
