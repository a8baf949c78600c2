// Package localrun builds one action and runs it behind a real wrapper, with no server: what
// `pelton action run` and `pelton action test` do.
package localrun

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/problem"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// ProblemsError tells everything that is wrong with the action.
type ProblemsError struct{ List problem.List }

func (e *ProblemsError) Error() string {
	var lines []string
	for _, p := range e.List {
		if !p.Warning {
			lines = append(lines, p.Error())
		}
	}
	return strings.Join(lines, "\n")
}

// Instance is a started wrapper of one action. Close it.
type Instance struct {
	Action action.Action
	dir    string
	cmd    *exec.Cmd
	conn   *grpc.ClientConn
	client pb.ActionClient
	next   int
	debug  *debugger
}

// Result is how an execution ended.
type Result struct {
	Outputs []map[string]json.RawMessage // files are paths on this machine
	List    bool
	Failed  *pb.Failed
	Took    time.Duration
}

var (
	buildersMu sync.Mutex
	builders   = map[string]*local.Builder{}
)

// Builder is the builder of this user's cache; one for the whole process, so that builds at the
// same time wait for each other where they share a folder.
func Builder() *local.Builder {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	home := filepath.Join(cache, "pelton")
	buildersMu.Lock()
	defer buildersMu.Unlock()
	if builders[home] == nil {
		builders[home] = local.New(local.Options{Home: home, UID: -1, GID: -1})
	}
	return builders[home]
}

// Start checks and builds the action in dir and starts a wrapper for it. progress gets the lines
// of the build.
func Start(ctx context.Context, dir string, progress func(string)) (*Instance, error) {
	a, bundle, err := build(ctx, dir, progress, false)
	if err != nil {
		return nil, err
	}
	i := &Instance{Action: a}
	if i.dir, err = os.MkdirTemp("", "pelton-run-"); err != nil {
		return nil, err
	}
	if err := i.launch(ctx, bundle); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// build makes the bundle of the action in dir.
func build(ctx context.Context, dir string, progress func(string), debug bool) (a action.Action, bundle string, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return a, "", err
	}
	a, problems := action.Load(os.DirFS(abs), ".", filepath.Base(abs))
	if problems.Errors() {
		return a, "", &ProblemsError{problems}
	}
	digest, err := action.Digest(os.DirFS(abs), ".")
	if err != nil {
		return a, "", err
	}
	if debug {
		digest += "-debug"
	}
	b, err := Builder().Build(ctx, local.Order{Project: "local", Build: digest, Action: a, Source: abs, Log: progress, Debug: debug})
	return a, b.Dir, err
}

func (i *Instance) launch(ctx context.Context, bundle string) error {
	program, err := wrapper()
	if err != nil {
		return err
	}
	socket := filepath.Join(i.dir, "s")
	i.cmd = exec.Command(program, "serve", "--socket", socket, "--bundle", bundle, "--state", filepath.Join(i.dir, "state"), "--instance", filepath.Base(i.dir))
	i.cmd.Stderr = os.Stderr
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C ends us, and we end it
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := i.cmd.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		return errors.New("the wrapper did not start")
	}
	i.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	i.client = pb.NewActionClient(i.conn)
	return nil
}

func wrapper() (string, error) {
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			p := filepath.Join(filepath.Dir(self), "wrapper")
			if _, err := os.Stat(p); err == nil {
				return p, nil
			}
		}
	}
	if p, err := exec.LookPath("wrapper"); err == nil {
		return p, nil
	}
	return "", errors.New("the program `wrapper` is not beside this one: run make build")
}

// Close ends the wrapper with everything it started and removes its files.
func (i *Instance) Close() {
	if i.conn != nil {
		i.conn.Close()
	}
	if i.cmd != nil && i.cmd.Process != nil {
		_ = i.cmd.Process.Signal(syscall.SIGTERM)
		_ = i.cmd.Wait()
	}
	if i.debug != nil {
		i.debug.close()
	}
	os.RemoveAll(i.dir)
}

// PutFile makes a file of this machine the value of an input.
func (i *Instance) PutFile(path string) (json.RawMessage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tmp := filepath.Join(i.files(), "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, err
	}
	out, err := os.CreateTemp(tmp, "in-")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	h := sha256.New()
	size, err := io.Copy(io.MultiWriter(out, h), f)
	if err != nil {
		return nil, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	dest := i.blob(sum)
	if err := errors.Join(os.MkdirAll(filepath.Dir(dest), 0o700), os.Rename(out.Name(), dest)); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"$file": "sha256:" + sum, "size": size, "name": filepath.Base(path), "type": mime.TypeByExtension(filepath.Ext(path))})
}

// PutBlob keeps content that values refer to by its digest, sha256:<hex>.
func (i *Instance) PutBlob(digest string, r io.Reader) error {
	sum := strings.TrimPrefix(digest, "sha256:")
	if len(sum) != sha256.Size*2 || strings.Trim(sum, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is no digest", digest)
	}
	dest := i.blob(sum)
	if err := os.MkdirAll(filepath.Dir(dest), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(dest, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), r)
	if err = errors.Join(err, out.Close()); err == nil && hex.EncodeToString(h.Sum(nil)) != sum {
		err = fmt.Errorf("what came is not %s", digest)
	}
	if err != nil {
		os.Remove(dest)
	}
	return err
}

// Print shows the outputs on out and how long it took on errs; a failure is the error.
func (r Result) Print(out, errs io.Writer) error {
	if r.Failed != nil {
		if r.Failed.Stack != "" {
			fmt.Fprintln(errs, r.Failed.Stack)
		}
		return fmt.Errorf("%s: %s", r.Failed.Kind, r.Failed.Message)
	}
	var v any = r.Outputs
	if !r.List && len(r.Outputs) == 1 {
		v = r.Outputs[0]
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", data)
	fmt.Fprintf(errs, "%d ms\n", r.Took.Milliseconds())
	return nil
}

func (i *Instance) files() string { return filepath.Join(i.dir, "files") }

func (i *Instance) blob(sum string) string {
	return filepath.Join(i.files(), "sha256", sum[:2], sum[2:])
}

// Identity is who an execution takes itself for.
type Identity struct {
	Project, Workflow, Run, Step string
	ItemPath                     []int32
	Attempt                      int32
	IdempotencyKey               string
}

// Run carries out one execution; log gets every line that user code prints, with its level.
func (i *Instance) Run(ctx context.Context, inputs map[string]json.RawMessage, log func(level, line string)) (Result, error) {
	i.next++
	id := fmt.Sprintf("local-%d", i.next)
	return i.RunAs(ctx, Identity{Project: "local", Run: id, Step: i.Action.ID, Attempt: 1, IdempotencyKey: id}, inputs, log)
}

// RunAs is Run of an execution that takes itself for another one.
func (i *Instance) RunAs(ctx context.Context, as Identity, inputs map[string]json.RawMessage, log func(level, line string)) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := i.client.Session(ctx)
	if err != nil {
		return Result{}, err
	}
	id := as.Run
	in := map[string][]byte{}
	for k, v := range inputs {
		in[k] = v
	}
	began := time.Now()
	start := &pb.Start{Attempt: as.Attempt, Inputs: in, Filestore: "file://" + i.files(), IdempotencyKey: as.IdempotencyKey,
		Context: &pb.Context{Project: as.Project, Workflow: as.Workflow, RunId: as.Run, Step: as.Step, ItemPath: as.ItemPath}}
	if i.Action.TimeoutMillis > 0 && i.debug == nil { // who debugs takes their time
		start.DeadlineUnixMs = began.UnixMilli() + i.Action.TimeoutMillis
	}
	if err := stream.Send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_Start{Start: start}}); err != nil {
		return Result{}, err
	}
	var r Result
	for {
		m, err := stream.Recv()
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil {
			return r, fmt.Errorf("the wrapper is gone: %w", err)
		}
		switch b := m.Body.(type) {
		case *pb.FromAction_Log:
			log(b.Log.Level, b.Log.Line)
		case *pb.FromAction_Output:
			out := map[string]json.RawMessage{}
			for k, v := range b.Output.Values {
				if out[k], err = i.plain(v); err != nil {
					return r, err
				}
			}
			r.Outputs = append(r.Outputs, out)
		case *pb.FromAction_Done:
			r.List, r.Took = b.Done.List, time.Since(began)
			return r, nil
		case *pb.FromAction_Failed:
			r.Failed, r.Took = b.Failed, time.Since(began)
			return r, nil
		}
	}
}

// plain gives large values as they are, and files with the path where they lie.
func (i *Instance) plain(v []byte) (json.RawMessage, error) {
	var ref struct {
		Text string `json:"$ref"`
		File string `json:"$file"`
		Name string `json:"name"`
	}
	if json.Unmarshal(v, &ref) != nil {
		return v, nil
	}
	switch {
	case strings.HasPrefix(ref.Text, "sha256:"):
		return os.ReadFile(i.blob(strings.TrimPrefix(ref.Text, "sha256:")))
	case strings.HasPrefix(ref.File, "sha256:"):
		keep := filepath.Join(os.TempDir(), "pelton-"+strings.TrimPrefix(ref.File, "sha256:")[:12]+"-"+filepath.Base(ref.Name))
		data, err := os.ReadFile(i.blob(strings.TrimPrefix(ref.File, "sha256:")))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(keep, data, 0o600); err != nil {
			return nil, err
		}
		return json.Marshal(keep)
	}
	return v, nil
}
