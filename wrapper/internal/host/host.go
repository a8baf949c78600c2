// Package host serves the ABI: it takes executions from the runner, has them run by language
// processes, and keeps what they tell until the runner has it durable.
package host

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
	"github.com/pelton-run/pelton/wrapper/internal/worker"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// Version of the wrapper.
const Version = "1"

// Features tells what this wrapper can do.
var Features = []string{"session", "execute", "attach", "reuse", "fork", "fresh", "sources", "files", "directories", "refs", "masking", "credit", "heartbeat", "batch", "find"}

// Config of a Host.
type Config struct {
	Bundle   *bundle.Bundle
	Pool     *worker.Pool
	StateDir string
	Instance string
	Address  string
	Audience string
	Key      ed25519.PublicKey
	UID, GID int
	Lease    time.Duration // of an execution that nobody is attached to
	DiskMax  int64         // bytes that an execution's folder may hold
	Beat     time.Duration // between heartbeats of executions under way. Defaults to 10 s
	Once     bool          // it is for one execution, and ends with it
	Launched time.Time     // when the wrapper began; the first execution is told
	Log      *slog.Logger
}

// Host is the ABI's server side. Safe for concurrent use.
type Host struct {
	pb.UnimplementedActionServer
	cfg     Config
	slots   chan struct{}
	folders *folders
	lanes   *lanes
	busy    sync.WaitGroup

	mu    sync.Mutex
	good  map[string]time.Time // tokens for every execution that were checked, until their expiry
	runs  map[string]*execution
	alone time.Time // since when no stream is attached
	conns int
	begun bool // there has been an execution

	finishing atomic.Bool // nothing new is begun
	launched  sync.Once   // tells when the wrapper began
}

// New makes a Host.
func New(cfg Config) *Host {
	if cfg.Beat <= 0 {
		cfg.Beat = 10 * time.Second
	}
	h := &Host{cfg: cfg, folders: &folders{root: filepath.Join(cfg.StateDir, "x"), uid: cfg.UID, gid: cfg.GID}, slots: make(chan struct{}, cfg.Bundle.Concurrency), runs: map[string]*execution{}, alone: time.Now()}
	h.lanes = newLanes(h)
	return h
}

// Describe tells what this instance runs.
func (h *Host) Describe(ctx context.Context, req *pb.DescribeRequest) (*pb.ActionDescription, error) {
	if err := h.check(bearer(ctx), ""); err != nil {
		return nil, err
	}
	for _, need := range req.GetNeeds() {
		known := false
		for _, f := range Features {
			known = known || f == need
		}
		if !known {
			return nil, status.Errorf(codes.FailedPrecondition, "this wrapper has no feature %q", need)
		}
	}
	b, st := h.cfg.Bundle, h.cfg.Pool.State()
	d := &pb.ActionDescription{
		WrapperVersion: Version, Features: Features, Instance: h.cfg.Instance, Build: b.Build, Action: b.Action,
		Runtime: b.Runtime, Isolation: st.Mode, IsolationReason: st.Reason, Concurrency: int32(b.Concurrency),
		Loaded: st.Loaded, LoadMicros: st.LoadMicros,
	}
	if st.Err != nil {
		d.LoadError = st.Err.Error()
	}
	for _, id := range req.GetExecutions() {
		if h.find(id) != nil {
			d.Known = append(d.Known, id)
		}
	}
	return d, nil
}

// bearer is the token of a call without messages of its own: metadata "authorization".
func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		return strings.TrimPrefix(v, "Bearer ")
	}
	return ""
}

// check verifies the runner's signature for an execution.
func (h *Host) check(token, executionID string) error {
	if h.cfg.Key == nil {
		return nil
	}
	h.mu.Lock()
	until, known := h.good[token]
	h.mu.Unlock()
	if known && time.Now().Before(until) {
		return nil
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return h.cfg.Key, nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience(h.cfg.Audience), jwt.WithExpirationRequired())
	if err != nil {
		return status.Errorf(codes.Unauthenticated, "the token is not valid: %v", err)
	}
	if claims.Subject != "*" && claims.Subject != executionID {
		return status.Error(codes.Unauthenticated, "the token is for another execution")
	}
	if claims.Subject == "*" {
		h.mu.Lock()
		h.good = map[string]time.Time{token: claims.ExpiresAt.Time}
		h.mu.Unlock()
	}
	return nil
}

// begin starts an execution, or finds the one of the same id. A runner that lost its memory asks anew for what
// it does not know that it has asked for (ADR 0028); if what it was made of has changed since, or nobody has
// been attached for the lease, that one does not count.
func (h *Host) begin(id string, start *pb.Start) (x *execution, fresh bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x, ok := h.runs[id]; ok {
		if !x.halted() && maps.EqualFunc(x.start.GetInputs(), start.GetInputs(), bytes.Equal) {
			return x, false
		}
		x.halt()
	}
	x = &execution{
		id: id, host: h, start: start, cancel: make(chan *pb.Cancel, 1), stop: make(chan struct{}), alone: time.Now(),
	}
	if h.cfg.Bundle.Kind == "Source" {
		x.acks = make(chan *pb.ToAction, 1024)
	}
	h.runs[id], h.begun = x, true
	h.busy.Add(1)
	return x, true
}

func (h *Host) find(id string) *execution {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.runs[id]
}

func (h *Host) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x, ok := h.runs[id]; ok && x.hasEnded() {
		delete(h.runs, id)
	}
}

// Watch ends executions whose lease has run out, forgets ended ones that nobody fetched, and
// returns when parentGone says so and nobody has been attached for the lease, or when the one
// execution that the instance is for is forgotten.
func (h *Host) Watch(ctx context.Context, parentGone func() bool) {
	tick := time.NewTicker(min(time.Second, h.cfg.Lease/4+time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		h.mu.Lock()
		for id, x := range h.runs {
			if !x.expired(h.cfg.Lease, now) {
				continue
			}
			if x.hasEnded() {
				if x.expired(10*h.cfg.Lease, now) || (x.wasHeard() && x.expired(2*h.cfg.Lease, now)) {
					delete(h.runs, id)
				}
				continue
			}
			h.cfg.Log.Warn("execution is ended: nobody has been attached for the lease", "execution", id, "lease", h.cfg.Lease)
			x.halt()
		}
		if h.cfg.Once && h.begun && len(h.runs) == 0 {
			h.mu.Unlock()
			return
		}
		orphan := h.conns == 0 && now.Sub(h.alone) > h.cfg.Lease
		h.mu.Unlock()
		if orphan && parentGone() {
			return
		}
	}
}

func (h *Host) connected(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns += n
	if h.conns == 0 {
		h.alone = time.Now()
	}
}

// Finish begins nothing new and waits until what is under way has ended, at most that long. Sources,
// which never end by themselves, are told to stop.
func (h *Host) Finish(limit time.Duration) {
	h.mu.Lock()
	h.finishing.Store(true) // under the lock: what begins after it is refused, what began before it is in runs
	runs := slices.Collect(maps.Values(h.runs))
	h.mu.Unlock()
	if h.cfg.Bundle.Kind == "Source" {
		for _, x := range runs {
			select {
			case x.cancel <- &pb.Cancel{Reason: "the instance is stopping"}:
			default:
			}
		}
	}
	over := make(chan struct{})
	go func() {
		h.busy.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(limit):
	}
}

// Drain ends every execution and waits for them.
func (h *Host) Drain() {
	h.mu.Lock()
	for _, x := range h.runs {
		x.halt()
	}
	h.mu.Unlock()
	h.busy.Wait()
}

// safe makes a file name of an id.
func safe(id string) string {
	out := []byte(id)
	for i, c := range out {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			out[i] = '-'
		}
	}
	return string(out)
}
