package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pelton-run/pelton/wrapper/internal/frame"
)

// Pool hands out language processes for executions.
//
//	reuse   a process runs one execution after the other
//	fork    a warm parent forks a child for each (Python); one is forked ahead, after one has ended
//	fresh   a process of its own for each; one waits ready, loaded ahead
type Pool struct {
	cfg Config

	mu     sync.Mutex
	mode   string
	reason string // why mode differs from what the bundle asks for
	idle   []*proc
	spare  *proc
	zygote *zygote
	ahead  *ahead                   // of the zygote, for the next execution
	leaves map[*child]chan struct{} // children whose end has been told, and what is closed once they are gone
	all    map[*proc]bool
	closed bool
	loaded bool
	loadUS int64
	failed error
	out    int           // processes in the hands of executions
	brief  time.Duration // how long executions of late have held a process, reuse
	loud   bool          // user code has written past the language's streams: whose line that is shows only where executions go one by one
	queue  []chan *proc  // executions that wait for a process that is busy for a moment, reuse

	taken   atomic.Bool // somebody has had a process
	tidying atomic.Bool
	warming sync.Mutex // held while the warm parent is started
}

// NewPool makes a pool; nothing is started yet.
func NewPool(cfg Config) *Pool {
	p := &Pool{cfg: cfg, mode: cfg.Bundle.Isolation, all: map[*proc]bool{}, leaves: map[*child]chan struct{}{}}
	if cfg.Bundle.Kind == "Source" {
		p.mode = "fresh"
	} else if p.mode == "fork" && cfg.Bundle.Runtime != "python3" {
		p.mode = "fresh"
	}
	return p
}

// State is what Describe tells.
type State struct {
	Mode, Reason string
	Loaded       bool
	LoadMicros   int64
	Err          error
}

// State tells how executions are isolated now and whether user code is loaded.
func (p *Pool) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State{p.mode, p.reason, p.loaded, p.loadUS, p.failed}
}

// Preload starts a process before the first execution asks for it, and does not wait until it is
// loaded: whoever comes first takes it as it is. Whether it loads is told by State.
func (p *Pool) Preload() {
	pr := p.spareProcess()
	if pr == nil {
		return
	}
	go func() {
		<-pr.ready
		p.note(pr)
	}()
}

func (p *Pool) spareProcess() *proc {
	if p.State().Mode != "fork" {
		return p.refill()
	}
	z, err := p.parent()
	if err != nil {
		return nil
	}
	return z.p
}

func (p *Pool) launch(mode string) (*proc, error) {
	pr, err := p.cfg.start(mode)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		pr.kill()
		return nil, errors.New("the wrapper is stopping")
	}
	p.all[pr] = true
	go func() {
		<-pr.exited
		p.mu.Lock()
		delete(p.all, pr)
		p.mu.Unlock()
	}()
	return pr, nil
}

func (p *Pool) note(pr *proc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = pr.loadErr
	if pr.loadErr == nil && !p.loaded {
		p.loaded, p.loadUS = true, pr.loadUS
	}
}

// Process is one language process in the hands of one execution.
type Process struct {
	Frames  <-chan *frame.Message // closed when the process is gone
	Exited  <-chan struct{}
	Booted  time.Time // when its program was started; zero when it was there before, unless nobody has had a process yet
	Loaded  time.Time
	pool    *Pool
	p       *proc  // reuse and fresh
	child   *child // fork
	begun   time.Time
	took    time.Duration // how long the handler took, 0 = since begun
	cleaned sync.Once
}

// Acquire is a loaded process for one execution; raw lines go to line until it is released.
func (p *Pool) Acquire(ctx context.Context, line RawLine) (*Process, error) {
	switch p.State().Mode {
	case "fork":
		z, err := p.warm(ctx)
		if err != nil {
			return nil, err
		}
		if z != nil {
			return p.fork(z, line)
		}
		return p.acquireFresh(ctx, line) // more than one thread: told by State
	case "fresh":
		return p.acquireFresh(ctx, line)
	}
	if pr := p.await(ctx); pr != nil {
		return p.hand(pr, false, line), nil
	}
	if h := p.TryAcquire(line); h != nil {
		return h, nil
	}
	p.mu.Lock()
	pr := p.spare // loading since the start
	p.spare = nil
	p.mu.Unlock()
	if pr == nil {
		var err error
		if pr, err = p.launch("reuse"); err != nil {
			return nil, err
		}
	}
	if err := p.awaitLoad(ctx, pr); err != nil {
		return nil, err
	}
	p.handed(1)
	return p.hand(pr, true, line), nil
}

// Executions that hold a process for less than quick take turns on as many processes as there are
// processors: more would only make the system switch between them. Whoever has waited for longer
// than patience gets a process of its own all the same.
const (
	quick    = 500 * time.Microsecond
	patience = 2 * time.Millisecond
)

var hot = runtime.NumCPU()

// crowded tells that a busy process will be free sooner than another one would help; needs p.mu.
func (p *Pool) crowded() bool { return p.out >= hot && p.brief > 0 && p.brief < quick }

// TryAcquire is a process that waits idle, nil where there is none or waiting for a busy one is better.
func (p *Pool) TryAcquire(line RawLine) *Process {
	p.mu.Lock()
	if p.mode != "reuse" || p.crowded() {
		p.mu.Unlock()
		return nil
	}
	pr := p.take()
	p.mu.Unlock()
	if pr == nil {
		return nil
	}
	return p.hand(pr, false, line)
}

// take is an idle process that still lives, nil when there is none; needs p.mu.
func (p *Pool) take() *proc {
	for len(p.idle) > 0 {
		pr := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		select {
		case <-pr.exited:
			pr.close()
			continue
		default:
		}
		p.out++
		return pr
	}
	return nil
}

// await is the process that becomes free within a moment, nil when none does or none is waited for.
func (p *Pool) await(ctx context.Context) *proc {
	p.mu.Lock()
	if !p.crowded() {
		p.mu.Unlock()
		return nil
	}
	mine := make(chan *proc, 1)
	p.queue = append(p.queue, mine)
	p.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case pr := <-mine:
		return pr
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, mine); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		return p.take()
	}
	return <-mine // it was handed over in the same moment
}

// giveBack takes a clean process back, for who has waited longest; false when the pool is closed.
func (p *Pool) giveBack(pr *proc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if len(p.queue) > 0 {
		p.queue[0] <- pr
		p.queue = slices.Delete(p.queue, 0, 1)
		p.out++
		return true
	}
	p.idle = append(p.idle, pr)
	return true
}

// awaitLoad waits until user code is loaded; a process that cannot is ended.
func (p *Pool) awaitLoad(ctx context.Context, pr *proc) error {
	select {
	case <-pr.ready:
	case <-ctx.Done():
		pr.close()
		return ctx.Err()
	}
	p.note(pr)
	if pr.loadErr != nil {
		err := pr.loadErr
		pr.close()
		return err
	}
	return nil
}

func (p *Pool) acquireFresh(ctx context.Context, line RawLine) (*Process, error) {
	p.mu.Lock()
	pr := p.spare
	p.spare = nil
	p.mu.Unlock()
	cold := pr == nil
	if cold {
		var err error
		if pr, err = p.launch("reuse"); err != nil {
			return nil, err
		}
	}
	if err := p.awaitLoad(ctx, pr); err != nil {
		return nil, err
	}
	if p.cfg.Bundle.Kind != "Source" {
		go p.refill()
	}
	p.handed(1)
	return p.hand(pr, cold, line), nil
}

func (p *Pool) refill() *proc {
	p.mu.Lock()
	busy := p.spare != nil || p.closed
	p.mu.Unlock()
	if busy {
		return nil
	}
	pr, err := p.launch("reuse")
	if err != nil {
		return nil
	}
	p.mu.Lock()
	if p.spare == nil && !p.closed {
		p.spare = pr
		p.mu.Unlock()
		return pr
	}
	p.mu.Unlock()
	pr.close()
	return nil
}

// hand makes a process that is counted as handed out ready for an execution.
func (p *Pool) hand(pr *proc, cold bool, line RawLine) *Process {
	pr.out.direct(line)
	pr.err.direct(line)
	if pr.kept == nil {
		pr.kept = map[int]bool{}
		for _, pid := range descendants(pr.cmd.Process.Pid) {
			pr.kept[pid] = true
		}
	}
	h := &Process{Frames: pr.frames, Exited: pr.exited, pool: p, p: pr, begun: time.Now()}
	// The first one waited for the wrapper as a whole to come up, although its process was started ahead.
	if first := !p.taken.Swap(true); cold || first {
		h.Booted, h.Loaded = pr.booted, pr.loaded
	}
	return h
}

func (p *Pool) handed(n int) (left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out += n
	return p.out
}

// held counts a process in that an execution has held since begun, zero for a lane without one; d is
// how long by the process's own clock, 0 where it does not tell.
func (p *Pool) held(begun time.Time, d time.Duration) (left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out--
	if begun.IsZero() {
		return p.out
	}
	if d == 0 {
		d = time.Since(begun)
	}
	if p.brief == 0 {
		p.brief = d
	}
	p.brief += (d - p.brief) / 8
	return p.out
}

// Send sends a message to the process.
func (h *Process) Send(text []byte) error {
	if h.child != nil {
		return h.child.w.Write(text)
	}
	return h.p.send(text, false)
}

// Took notes how long the handler took by the process's own clock. What we see ourselves includes the
// wait of both processes for a processor: on a crowded machine brief executions would look long, get more
// processes, and crowd it further.
func (h *Process) Took(d time.Duration) { h.took = d }

// Terminate asks user code to end.
func (h *Process) Terminate() {
	if h.child != nil {
		_ = syscall.Kill(h.child.pid, syscall.SIGTERM)
		return
	}
	_ = syscall.Kill(h.p.cmd.Process.Pid, syscall.SIGTERM)
}

// Kill ends the process with everything it started.
func (h *Process) Kill() {
	if h.child != nil {
		_ = syscall.Kill(-h.child.pid, syscall.SIGKILL)
		return
	}
	h.p.kill()
}

// Exit tells how the process ended; valid once Exited is closed.
func (h *Process) Exit() Exit {
	if h.child != nil {
		return h.child.exit
	}
	return h.p.exit
}

// ReadError is why the frames ended, nil when the process closed them in order.
func (h *Process) ReadError() error {
	if h.child != nil {
		if p := h.child.readErr.Load(); p != nil {
			return *p
		}
		return nil
	}
	if p := h.p.readErr.Load(); p != nil {
		return *p
	}
	return nil
}

// Release ends the execution's use of the process. A clean one may run the next execution;
// any other is ended with its group. It returns once every line that user code wrote is told.
func (h *Process) Release(clean bool) {
	h.cleaned.Do(func() {
		if h.child != nil {
			if !clean || !h.pool.leave(h.child) {
				h.child.finish(clean)
			}
			killInherited(h.child.pid, h.pool.handed(-1) == 0)
			time.AfterFunc(afterwards, func() { h.pool.forkAhead(h.child.z) })
			return
		}
		if clean && h.pool.State().Mode == "reuse" {
			// The process goes on; what this execution started does not.
			strays := 0
			if !h.p.childless() {
				strays = killBelow(h.p.cmd.Process.Pid, h.p.kept)
			}
			alone := h.pool.held(h.begun, h.took) == 0
			if strays > 0 {
				killInherited(h.p.cmd.Process.Pid, alone)
			}
			if alone {
				h.pool.tidy()
			}
			h.p.out.empty()
			h.p.err.empty()
			h.p.out.direct(nil)
			h.p.err.direct(nil)
			if h.pool.giveBack(h.p) {
				return
			}
		}
		select {
		case <-h.p.exited: // its pid may be another's by now
		default:
			killBelow(h.p.cmd.Process.Pid, nil)
		}
		h.p.kill()
		<-h.p.exited
		killInherited(h.p.cmd.Process.Pid, h.pool.handed(-1) == 0)
		h.p.out.drain(200 * time.Millisecond)
		h.p.err.drain(50 * time.Millisecond)
		h.p.close()
	})
}

// tidy looks for processes that were left to us while nothing runs, beside the executions' path and
// at most every quarter of a second.
func (p *Pool) tidy() {
	if p.tidying.Swap(true) {
		return
	}
	time.AfterFunc(250*time.Millisecond, func() {
		p.tidying.Store(false)
		p.mu.Lock()
		idle := p.out == 0
		p.mu.Unlock()
		if idle {
			killInherited(0, true)
		}
	})
}

// Close ends every process.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	z := p.zygote
	procs := make([]*proc, 0, len(p.all))
	for pr := range p.all {
		procs = append(procs, pr)
	}
	p.mu.Unlock()
	if z != nil {
		z.killChildren()
	}
	for _, pr := range procs {
		pr.kill()
	}
	for _, pr := range procs {
		<-pr.exited
	}
}

// forkRequest is one frame with the execution's id, sent with three descriptors.
func forkRequest(conn *os.File, id string, fds ...int) error {
	b := make([]byte, 4+len(id))
	binary.BigEndian.PutUint32(b, uint32(len(id)))
	copy(b[4:], id)
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = syscall.Sendmsg(int(fd), b, syscall.UnixRights(fds...), nil, 0)
		return !errors.Is(sendErr, syscall.EAGAIN)
	})
	return errors.Join(err, sendErr)
}
