// Package knative makes builds callable in a Kubernetes cluster: processors as Knative Services that
// scale to zero, long executions as Jobs, sources as one-replica StatefulSets, all with the same
// wrapper. Each execution is a call of its own; one whose connection breaks goes on, and is found again
// by the instance that its first message named.
//
// # When an execution is lost, and when it never began
//
// A call that ends before its first message may or may not have reached an instance, also when that
// was in a life of the runner before this one. Tokens of calls are good for a short time only: once that
// has passed since the last one was signed, no call under way can begin the execution any more. Every
// instance of the build that lives is then asked. One that knows the execution has it. If none does,
// and no instance has gone since it was sent, it never began and is sent again; else it is lost. An
// instance that cannot be reached ends its executions by itself when the runner has been silent for
// twice the detach lease.
package knative

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/actiongrpc"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// times are how long things may take.
type times struct {
	// start is how long a token of a call is good. Its half is the least that a call has for reaching an
	// instance; one that takes longer is refused there, and sent again.
	start time.Duration
	// skew is how far the clocks of runner and instances may be apart.
	skew time.Duration
}

var usual = times{start: 20 * time.Second, skew: 5 * time.Second}

const (
	// lease is the wrapper's, of executions that nobody is attached to.
	lease = 30 * time.Second
	// unreachable is how long an instance must have been silent until what it had is surely over: it
	// takes the connection for broken after one lease, and ends its executions after another.
	unreachable = 2*lease + 10*time.Second
)

// Config of Open.
type Config struct {
	Settings  Settings
	Files     app.Files     // filestore
	Transfers app.Transfers // how wrappers use it
	KeyDir    string        // of the pair that signs calls; the same for all replicas
	// Held tells whether this process may act for its runs; nil = always.
	Held func() bool
	// Named tells what deployments and runs of all replicas need, nil = all that was deployed here. It is asked before a
	// service that is gone is made again.
	Named func(context.Context) (app.Named, error)
	Log   *slog.Logger
}

// Runner implements app.Deployer, app.Executor and app.Heir. Safe for concurrent use.
type Runner struct {
	cfg     Config
	set     *Settings
	key     *actiongrpc.Key
	cluster *cluster
	pods    *pods
	reach   func(ip string, port int) string // the address of a pod's port
	times   times
	life    context.Context // ends with Close
	end     context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex
	backends map[string]*backend // project/digest
	runs     map[string]*run     // execution id -> it
	projects map[string]string   // whose namespaces are as they should be, with the digest of what they pull with
	fence    time.Time           // until when calls of lives before may still begin something
	tokens   map[string]signed   // audience -> what was signed last
	deploy   deploying
}

type signed struct {
	text  string
	until time.Time
	renew time.Time
}

var (
	_ app.Deployer = (*Runner)(nil)
	_ app.Executor = (*Runner)(nil)
	_ app.Heir     = (*Runner)(nil)
)

// Open makes a Runner and begins to watch the cluster. A cluster that is away is no error: what needs
// it says so, and tries again.
func Open(cfg Config) (*Runner, error) {
	// Not with the other settings: every service and pelton-adm have these, but the file is the runner's alone.
	if _, err := cfg.Settings.readPullCredentials(); err != nil {
		return nil, fault.InvalidField("deployer.pull-credentials", err.Error(), "give a file as `docker login` writes it: {\"auths\": {\"HOST\": {\"auth\": …}}}")
	}
	key, err := actiongrpc.OpenKey(cfg.KeyDir)
	if err != nil {
		return nil, err
	}
	c, err := connect(&cfg.Settings)
	if err != nil {
		return nil, err
	}
	return open(cfg, c, key, usual)
}

func open(cfg Config, c *cluster, key *actiongrpc.Key, t times) (*Runner, error) {
	r := &Runner{cfg: cfg, set: &cfg.Settings, key: key, cluster: c, pods: newPods(c, time.Now), reach: hostPort, times: t, backends: map[string]*backend{}, runs: map[string]*run{},
		projects: map[string]string{}, tokens: map[string]signed{}, deploy: deploying{wanted: map[string]*wanted{}}}
	r.life, r.end = context.WithCancel(context.Background())
	r.fence = time.Now().Add(t.start + t.skew)
	if err := r.pods.watch(r.set.Installation, r.life.Done()); err != nil {
		r.end()
		return nil, err
	}
	r.wg.Go(r.guard)
	r.wg.Go(r.mend)
	return r, nil
}

// Close lets go of what is under way: executions go on in their instances, and whoever comes next finds
// them there before their lease has run out.
func (r *Runner) Close() {
	r.end()
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.backends {
		b.close()
	}
}

// token is what calls to a build's instances carry, and until when it lets them begin something.
func (r *Runner) token(audience string) (string, time.Time, error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tokens[audience]
	if now.Before(t.renew) {
		return t.text, t.until, nil
	}
	until := now.Add(r.times.start)
	text, err := r.key.Token(audience, now.Add(-r.times.skew), until)
	if err != nil {
		return "", until, err
	}
	r.tokens[audience] = signed{text, until, now.Add(r.times.start / 2)}
	return text, until, nil
}

// renewToken has the next call carry a token that was signed for it.
func (r *Runner) renewToken(audience string) {
	r.mu.Lock()
	delete(r.tokens, audience)
	r.mu.Unlock()
}

// Start implements app.Executor.
func (r *Runner) Start(x app.Execution, s app.Sink) { r.take(x, s, false) }

// Attach implements app.Executor.
func (r *Runner) Attach(x app.Execution, s app.Sink) { r.take(x, s, true) }

// take gives an execution its place in its build's line.
func (r *Runner) take(x app.Execution, s app.Sink, attach bool) {
	u := &run{r: r, x: x, sink: s, attach: attach, cancelled: make(chan struct{}), queued: time.Now()}
	if !attach {
		u.phase("queued", u.queued)
	}
	b, err := r.backend(x.Project, x.Build)
	if err != nil {
		go u.end(app.Ended{Outcome: app.Failed, Error: startError(err)}) // not from within Start
		return
	}
	u.b, u.role = b, r.roleOf(&x)
	r.mu.Lock()
	r.runs[x.ID] = u
	r.mu.Unlock()
	if attach && u.role != roleSource {
		r.wg.Go(func() { // it asks the cluster
			if u.role = u.roleWas(); !u.over() && r.life.Err() == nil {
				b.lane(u.role).enter(u)
			}
		})
		return
	}
	b.lane(u.role).enter(u)
}

// roleOf says what carries an execution that begins now.
func (r *Runner) roleOf(x *app.Execution) string {
	switch {
	case x.Build.Kind == "Source":
		return roleSource
	case x.Limit > r.set.Long:
		return roleJob
	}
	return roleService
}

// Cancel implements app.Executor.
func (r *Runner) Cancel(id, reason string, grace time.Duration) {
	r.mu.Lock()
	u := r.runs[id]
	r.mu.Unlock()
	if u != nil {
		u.stop(&pb.Cancel{Reason: reason, GraceMs: int32(grace.Milliseconds())})
	}
}

// Ack tells a source that its event's run is durable; an empty run id means that it was refused.
func (r *Runner) Ack(id string, seq uint64, runID string) {
	r.mu.Lock()
	u := r.runs[id]
	r.mu.Unlock()
	if u != nil {
		u.send(&pb.ToAction{ExecutionId: id, Body: &pb.ToAction_EventAck{EventAck: &pb.EventAck{EventSeq: seq, RunId: runID}}})
	}
}

// Forget implements app.Executor. Instances of services forget by themselves; a Job is removed.
func (r *Runner) Forget(id string) {
	r.mu.Lock()
	u := r.runs[id]
	delete(r.runs, id)
	r.mu.Unlock()
	if u != nil && u.role == roleJob {
		r.wg.Go(func() { r.removeJob(u) })
	}
}

// estate is what an heir learns of us: that our instances are found by asking the cluster.
type estate struct {
	Compute string `json:"compute"`
}

// Estate implements app.Heir.
func (r *Runner) Estate() string {
	b, err := json.Marshal(estate{"knative"})
	if err != nil {
		return ""
	}
	return string(b)
}

// Gone implements app.Heir: whether another runner still lives is for its lease to tell.
func (r *Runner) Gone(string) bool { return false }

// Inherit implements app.Heir. From now on nobody signs calls for the dead one's runs, and after the
// fence none of those begins anything.
func (r *Runner) Inherit(_ context.Context, text string) error {
	wait := r.times.start + r.times.skew
	var e estate
	if text != "" && (json.Unmarshal([]byte(text), &e) != nil || e.Compute != "knative") {
		wait = lease + r.times.skew // its instances were local processes, which end by themselves
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if until := time.Now().Add(wait); until.After(r.fence) {
		r.fence = until
	}
	return nil
}

// Abandon implements app.Heir: others have our runs by now, and listen to their executions.
func (r *Runner) Abandon() {
	r.mu.Lock()
	runs := r.runs
	r.runs = map[string]*run{}
	r.mu.Unlock()
	for _, u := range runs {
		u.abandon()
	}
}

func (r *Runner) fenced() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fence
}

func (r *Runner) held() bool { return r.cfg.Held == nil || r.cfg.Held() }

var errClosing = errors.New("the platform is stopping")

// backend gives what is known of a build.
func (r *Runner) backend(project string, b domain.Build) (*backend, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := project + "/" + b.Digest
	if k := r.backends[key]; k != nil {
		return k, nil
	}
	o, err := newOrder(project, b, r.key.Public())
	if err != nil {
		return nil, err
	}
	k := newBackend(r, o)
	r.backends[key] = k
	return k, nil
}
