// Package process makes builds callable as local processes: one wrapper for each build, started
// on demand on a Unix socket, spoken to over one multiplexed stream, stopped when idle, and found
// again after a crash of ours by a registry of sockets and process ids.
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/actiongrpc"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// Config of Open.
type Config struct {
	Wrapper   string        // path of the wrapper's program
	SocketDir string        // short, 0700
	RunDir    string        // registry of wrappers
	StateDir  string        // wrappers' working files
	LogDir    string        // wrappers' own logs
	Files     app.Files     // filestore
	FilesDir  string        // its folder, where wrappers use that
	Transfers app.Transfers // how they use it else
	Bundles   string        // where builds lie, as <project>/<digest>: nothing else is started. Defaults to anywhere
	KeyDir    string        // of the pair that signs calls
	Cap       int           // executions of one build at a time. Defaults to 4 for each processor
	Idle      time.Duration // after which a wrapper is stopped. Defaults to 10 min
	Lease     time.Duration // see the wrapper's --detach-lease. Defaults to 30 s
	UserOf    func(project string) (uid, gid int, err error)
	// Held tells whether this process may act for its runs; nil = always.
	Held func() bool
	Log  *slog.Logger
}

// Runner implements app.Deployer and app.Executor. Safe for concurrent use.
type Runner struct {
	cfg    Config
	key    *actiongrpc.Key
	public string // file of the public key

	mu     sync.Mutex
	pools  map[string]*pool    // project/digest
	runs   map[string]*running // execution id -> where it is
	unsent []*pool             // that have executions which were gathered
	closed bool
	estate estate
	// unknown tells that wrappers of another machine are gone that may have had any execution.
	unknown bool
	wg      sync.WaitGroup
}

var (
	_ app.Deployer = (*Runner)(nil)
	_ app.Executor = (*Runner)(nil)
	_ app.Gatherer = (*Runner)(nil)
)

// Open makes a Runner. Wrappers that others left, such as an earlier process of ours, it has by
// Inherit.
func Open(cfg Config) (*Runner, error) {
	if cfg.Cap == 0 {
		cfg.Cap = 4 * runtime.NumCPU()
	}
	if cfg.Idle == 0 {
		cfg.Idle = 10 * time.Minute
	}
	if cfg.Lease == 0 {
		cfg.Lease = 30 * time.Second
	}
	for _, dir := range []string{cfg.RunDir, cfg.StateDir, cfg.LogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(cfg.StateDir, 0o711); err != nil {
		return nil, err
	}
	r := &Runner{cfg: cfg, pools: map[string]*pool{}, runs: map[string]*running{}}
	var err error
	if r.key, err = actiongrpc.OpenKey(cfg.KeyDir); err != nil {
		return nil, err
	}
	r.public = filepath.Join(cfg.KeyDir, "calls.pub.pem")
	if err := os.WriteFile(r.public, r.key.Public(), 0o644); err != nil {
		return nil, err
	}
	r.estate, err = newEstate(cfg.RunDir)
	return r, err
}

// Ensure implements app.Deployer: the bundle is there; nothing is started.
func (r *Runner) Ensure(_ context.Context, project string, b domain.Build) error {
	if !strings.HasPrefix(b.Artifact, "file://") {
		return fault.New(fault.Unsupported, "the artifact %s of %s cannot run as a local process", b.Artifact, b.Action)
	}
	if _, err := os.Stat(filepath.Join(r.place(project, b), "bundle.json")); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the build of %s is no longer on this machine: scan its repository again", b.Action)
	}
	return nil
}

// place is the folder of a bundle: by its digest, so that no artifact is another build's, and bundles
// may have moved with their home since they were made.
func (r *Runner) place(project string, b domain.Build) string {
	if r.cfg.Bundles == "" {
		return strings.TrimPrefix(b.Artifact, "file://")
	}
	return filepath.Join(r.cfg.Bundles, project, strings.TrimPrefix(b.Digest, "sha256:"))
}

// Release implements app.Deployer.
func (r *Runner) Release(_ context.Context, project, digest string) error {
	r.mu.Lock()
	p := r.pools[project+"/"+digest]
	r.mu.Unlock()
	if p != nil {
		p.retire()
	}
	return nil
}

func (r *Runner) pool(project string, b domain.Build) *pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := project + "/" + b.Digest
	p := r.pools[key]
	if p == nil {
		p = &pool{r: r, project: project, build: b.Digest, died: r.unknown}
		r.pools[key] = p
	}
	if p.artifact == "" {
		p.artifact = r.place(project, b)
	}
	if p.action == "" {
		p.action = b.Action
	}
	return p
}

// Start implements app.Executor.
func (r *Runner) Start(x app.Execution, s app.Sink) {
	r.Gather(x, s)
	r.Send()
}

// Gather implements app.Gatherer.
func (r *Runner) Gather(x app.Execution, s app.Sink) {
	run := &running{x: x, sink: s}
	p := r.pool(x.Project, x.Build)
	r.mu.Lock()
	r.runs[x.ID] = run
	r.mu.Unlock()
	run.pool = p
	run.phase("queued", time.Now())
	if actiongrpc.LargeInputs(x.Inputs) {
		// Not here: a filestore that is slow or away would hold up every run of whoever calls us.
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), storePatience)
			defer cancel()
			if r.enqueue(ctx, run) {
				run.pool.dispatch()
			}
		}()
		return
	}
	if r.enqueue(context.Background(), run) { // puts nothing anywhere
		r.mu.Lock()
		defer r.mu.Unlock()
		if !slices.Contains(r.unsent, p) {
			r.unsent = append(r.unsent, p)
		}
	}
}

// Send implements app.Gatherer.
func (r *Runner) Send() {
	r.mu.Lock()
	pools := r.unsent
	r.unsent = nil
	r.mu.Unlock()
	for _, p := range pools {
		p.dispatch()
	}
}

// storePatience is how long the filestore may take to keep the inputs of an execution.
const storePatience = 10 * time.Minute

// enqueue puts large inputs into the filestore, then lets the execution wait for its turn. False: it has ended.
func (r *Runner) enqueue(ctx context.Context, run *running) bool {
	in, err := actiongrpc.EncodeInputs(ctx, r.cfg.Files, run.x.Project, run.x.Inputs)
	if err != nil {
		run.pool.end(run, app.Ended{Outcome: app.Failed, Error: &domain.StepError{Kind: "unavailable", Message: "an input could not be kept: " + err.Error(), Retryable: true}})
		return false
	}
	run.inputs = in
	run.pool.enqueue(run)
	return true
}

// Attach implements app.Executor.
func (r *Runner) Attach(x app.Execution, s app.Sink) {
	run := &running{x: x, sink: s, attach: true}
	p := r.pool(x.Project, x.Build)
	r.mu.Lock()
	r.runs[x.ID] = run
	r.mu.Unlock()
	run.pool = p
	p.attach(run)
}

// Cancel implements app.Executor.
func (r *Runner) Cancel(id, reason string, grace time.Duration) {
	r.mu.Lock()
	run := r.runs[id]
	r.mu.Unlock()
	if run != nil {
		run.pool.cancel(run, reason, grace)
	}
}

// Ack tells a source that its event's run is durable; an empty run id means that it was refused.
func (r *Runner) Ack(id string, seq uint64, runID string) {
	r.mu.Lock()
	run := r.runs[id]
	r.mu.Unlock()
	if run == nil {
		return
	}
	p := run.pool
	p.mu.Lock()
	inst := run.inst
	p.mu.Unlock()
	if inst != nil {
		inst.send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_EventAck{EventAck: &pb.EventAck{EventSeq: seq, RunId: runID}}})
	}
}

// Forget implements app.Executor.
func (r *Runner) Forget(id string) {
	r.mu.Lock()
	run := r.runs[id]
	delete(r.runs, id)
	r.mu.Unlock()
	if run != nil {
		run.pool.forget(run)
	}
}

// Close stops every wrapper in order. Executions under way end with it: the registry keeps their
// wrappers' entries, so that the next process tells them lost and tries them again.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	pools := r.allPools()
	var wg sync.WaitGroup
	for _, p := range pools {
		wg.Go(p.close)
	}
	wg.Wait()
	r.wg.Wait()
}

func (r *Runner) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// token signs a call to the instances of a build.
func (r *Runner) token(build string, now time.Time) (string, time.Time, error) {
	expires := now.Add(time.Hour)
	text, err := r.key.Token(build, now, expires)
	return text, expires.Add(-10 * time.Minute), err
}

// startError makes the failure of executions whose wrapper could not be started.
func startError(err error) *domain.StepError {
	message := "the action's process could not be started: " + err.Error()
	if f := fault.As(err); f != nil {
		message = f.Message
	}
	return &domain.StepError{Kind: "unavailable", Message: message, Retryable: true}
}

var errStopping = errors.New("the platform is stopping")

func (r *Runner) describe(p *pool) string { return fmt.Sprintf("%s (%s)", p.action, p.build) }
