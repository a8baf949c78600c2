// Package builder is the service that turns build orders into artifacts. It keeps no state of
// its own: an order is acknowledged once it has ended, and building is idempotent.
package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	builderv1 "github.com/pelton-run/pelton/builder/contracts/builder/v1"
	"github.com/pelton-run/pelton/builder/internal/app"
	repositoryv1 "github.com/pelton-run/pelton/builder/internal/infra/contracts/repository/v1"
	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/s3"
)

// Config of the service.
type Config struct {
	Home     string     // of bundles, dependencies, caches and tools
	FilesDir string     // of the filestore, where sources lie, when it is a folder
	S3       *s3.Bucket // the same, when it is a bucket
	Parallel int        // builds at a time. Defaults to 2
	Timeout  time.Duration
	Limits   local.Limits // of a command, where builds run on this machine
	Kaniko   *Kaniko      // builds run in a cluster; nil = on this machine
}

// Deps of the service.
type Deps struct {
	Publisher  bus.Publisher
	Subscriber bus.Subscriber
	Now        func() time.Time
	Log        *slog.Logger
}

// Service builds.
type Service struct {
	cfg     Config
	deps    Deps
	backend app.Backend

	mu        sync.Mutex
	running   map[string]context.CancelCauseFunc
	cancelled map[string]bool
}

// New makes the service. The errors are of the settings.
func New(cfg Config, deps Deps) (*Service, error) {
	if cfg.Parallel == 0 {
		cfg.Parallel = 2
	}
	s := &Service{cfg: cfg, deps: deps, running: map[string]context.CancelCauseFunc{}, cancelled: map[string]bool{}}
	var err error
	s.backend, err = newBackend(cfg, deps)
	return s, err
}

// The queues. Orders are carried out side by side.
var (
	orderedQueue   = bus.Queue{Name: "builder.BuildOrdered", Exchange: "repository.v1", Keys: []string{"BuildOrdered"}, Shared: true}
	droppedQueue   = bus.Queue{Name: "builder.BuildDropped", Exchange: "repository.v1", Keys: []string{"BuildDropped"}}
	cancelledQueue = bus.Queue{Name: "builder.BuildCancelled", Exchange: "repository.v1", Keys: []string{"BuildCancelled"}}
)

// Queues are those that Subscribe declares.
func Queues() []bus.Queue { return []bus.Queue{orderedQueue, droppedQueue, cancelledQueue} }

// Subscribe declares the service's queues.
func (s *Service) Subscribe(ctx context.Context) error {
	orders := orderedQueue
	orders.Prefetch = s.cfg.Parallel
	return errors.Join(
		s.deps.Subscriber.Subscribe(ctx, orders, s.ordered),
		s.deps.Subscriber.Subscribe(ctx, droppedQueue, s.drop),
		s.deps.Subscriber.Subscribe(ctx, cancelledQueue, s.cancel),
	)
}

func (s *Service) cancel(ctx context.Context, m bus.Message) error {
	var c repositoryv1.BuildCancelled
	if err := proto.Unmarshal(m.Body, &c); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	s.mu.Lock()
	stop := s.running[c.OrderId]
	if stop == nil {
		s.cancelled[c.OrderId] = true
	}
	s.mu.Unlock()
	if stop != nil {
		stop(app.ErrCancelled)
		return nil
	}
	// It waits, or an earlier process began it and it goes on somewhere.
	return s.backend.Abandon(ctx, c.OrderId)
}

func (s *Service) drop(ctx context.Context, m bus.Message) error {
	var d repositoryv1.BuildDropped
	if err := proto.Unmarshal(m.Body, &d); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	gone, err := s.backend.Drop(ctx, d.Project, d.Build, time.UnixMilli(d.AtUnixMs))
	s.deps.Log.Info("a build was dropped", "project", d.Project, "build", d.Build, "removed", gone)
	return err
}

// ordered carries one order out. It returns once the end is told and confirmed.
func (s *Service) ordered(ctx context.Context, m bus.Message) error {
	var o repositoryv1.BuildOrdered
	if err := proto.Unmarshal(m.Body, &o); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	build, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.mu.Lock()
	dropped := s.cancelled[o.OrderId]
	delete(s.cancelled, o.OrderId)
	s.running[o.OrderId] = stop
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.running, o.OrderId)
		s.mu.Unlock()
	}()
	if dropped {
		return s.tell(ctx, &builderv1.BuildFailed{OrderId: o.OrderId, Project: o.Project, Build: o.Build, Kind: "cancelled", Message: "the build was cancelled", AtUnixMs: s.deps.Now().UnixMilli()})
	}
	if err := s.tell(ctx, &builderv1.BuildStarted{OrderId: o.OrderId, Project: o.Project, AtUnixMs: s.deps.Now().UnixMilli()}); err != nil {
		return err
	}
	log := newLog(func(seq uint64, lines []string) {
		_ = s.tell(ctx, &builderv1.BuildLogged{OrderId: o.OrderId, Project: o.Project, Seq: seq, Lines: lines})
	})
	r, err := s.build(build, &o, log.line)
	log.close()
	if ctx.Err() != nil {
		return ctx.Err() // we are stopping: the order stays and is built after the next start
	}
	if err != nil {
		return s.tell(ctx, failed(&o, err, s.deps.Now()))
	}
	phases := map[string]int64{}
	for k, d := range r.Phases {
		phases[k] = d.Milliseconds()
	}
	return s.tell(ctx, &builderv1.BuildSucceeded{OrderId: o.OrderId, Project: o.Project, Build: o.Build, Artifact: r.Artifact, Cached: r.Cached,
		PhasesMs: phases, Notes: r.Notes, AtUnixMs: s.deps.Now().UnixMilli()})
}

func failed(o *repositoryv1.BuildOrdered, err error, now time.Time) *builderv1.BuildFailed {
	f := &builderv1.BuildFailed{OrderId: o.OrderId, Project: o.Project, Build: o.Build, Kind: "internal", Message: err.Error(), AtUnixMs: now.UnixMilli()}
	var e *app.Error
	if errors.As(err, &e) {
		f.Kind, f.Message, f.Host, f.Setting, f.File, f.Line = e.Kind, e.Message, e.Host, e.Setting, e.File, int32(e.Line)
		if e.File != "" {
			f.Message = filepath.ToSlash(filepath.Join(o.Path, "")) + "/" + e.Message
		}
	}
	return f
}

func (s *Service) build(ctx context.Context, o *repositoryv1.BuildOrdered, log func(string)) (app.Result, error) {
	var a action.Action
	if err := json.Unmarshal([]byte(o.ActionJson), &a); err != nil {
		return app.Result{}, fmt.Errorf("metadata of the order: %w", err)
	}
	return s.backend.Build(ctx, app.Order{ID: o.OrderId, Project: o.Project, Build: o.Build, Action: a, Source: o.SourceDigest,
		Path: o.Path, Repository: o.Repository, Commit: o.Commit, Force: o.Force, Log: log})
}

// Exchange is what the service emits to.
const Exchange = "builder.v1"

// tell publishes a message until it is safe: a broker that is away for a while must not cost a
// build. It gives up when ctx ends; the order then stays, and is carried out again.
func (s *Service) tell(ctx context.Context, m proto.Message) error {
	msg, err := outbox.NewMessage(Exchange, m, s.deps.Now())
	if err != nil {
		return err
	}
	msg.Headers = bus.Headers(ctx)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		done := make(chan error, 1)
		s.deps.Publisher.Publish(msg, func(err error) { done <- err })
		select {
		case err = <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err == nil || !bus.Wait(ctx, wait) {
			return err
		}
	}
}

// buildLog sends lines in chunks, at least five times a second.
type buildLog struct {
	lines chan string
	done  chan struct{}
}

func newLog(send func(seq uint64, lines []string)) *buildLog {
	l := &buildLog{lines: make(chan string, 1000), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var pending []string
		var seq uint64
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		flush := func() {
			if len(pending) > 0 {
				send(seq, pending)
				seq++
				pending = nil
			}
		}
		for {
			select {
			case line, ok := <-l.lines:
				if !ok {
					flush()
					return
				}
				if pending = append(pending, strings.ToValidUTF8(line, "�")); len(pending) >= 500 {
					flush()
				}
			case <-tick.C:
				flush()
			}
		}
	}()
	return l
}

func (l *buildLog) line(s string) { l.lines <- s }
func (l *buildLog) close()        { close(l.lines); <-l.done }
