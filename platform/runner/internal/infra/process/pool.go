package process

import (
	"errors"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// running is one execution in our hands. Its fields are guarded by its pool's lock, except the
// sink, which only the goroutine that tells the end of the moment uses.
type running struct {
	x      app.Execution
	inputs map[string][]byte // as they travel
	sink   app.Sink
	pool   *pool
	attach bool // found after a crash, or looked for
	sent   bool
	ended  bool
	brief  bool   // told in one message
	last   uint64 // seq of the last message
	inst   *instance
	toAsk  []*instance // attach: that may know it as well
	cancel *pb.Cancel
}

func (run *running) phase(kind string, at time.Time) { run.sink.Phase(kind, at) }

// pool is the executions and the wrapper of one build.
type pool struct {
	r        *Runner
	project  string
	build    string
	artifact string
	action   string

	mu       sync.Mutex
	queue    []*running
	inst     *instance
	elders   []*instance // taken over from other runners, for what they have under way
	starting bool
	retired  bool
	brief    bool // the last execution ended was so brief that the wrapper told it in one message
	// died tells that a wrapper of this build is gone that may have had executions of before our start.
	died bool
	idle *time.Timer
}

func (p *pool) enqueue(run *running) {
	p.mu.Lock()
	p.queue = append(p.queue, run)
	p.mu.Unlock()
}

// dispatch sends what may be sent, and starts the wrapper when there is none.
func (p *pool) dispatch() {
	p.mu.Lock()
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
	if p.inst == nil {
		if len(p.queue) > 0 && !p.starting && !p.r.isClosed() {
			p.starting = true
			p.r.wg.Add(1)
			go p.start()
		}
		p.mu.Unlock()
		return
	}
	inst := p.inst
	var batch []*running
	for limit := p.limit(); len(p.queue) > 0 && len(inst.runs) < limit && !inst.broken; {
		run := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		if run.ended {
			continue
		}
		run.inst, run.sent = inst, true
		inst.runs[run.x.ID] = run
		batch = append(batch, run)
	}
	if len(p.queue) == 0 {
		p.queue = nil
		if len(inst.runs) == 0 {
			p.idle = time.AfterFunc(p.r.cfg.Idle, p.stopIdle)
		}
	}
	p.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	now := time.Now()
	starts := make([]*pb.ToAction, 0, len(batch))
	for _, run := range batch {
		run.phase("scheduled", now)
		starts = append(starts, inst.start(run))
	}
	inst.send(starts...)
	for _, run := range batch {
		p.recancel(inst, run)
	}
}

// ahead is how many executions for each place may be sent to a wrapper that runs them as lanes do: they
// take a fraction of a millisecond, and one message carries many.
const ahead = 8

// limit is how many executions the wrapper may have; needs p.mu.
func (p *pool) limit() int {
	if p.brief {
		return ahead * p.r.cfg.Cap
	}
	return p.r.cfg.Cap
}

// start starts the wrapper; what waits fails with the reason when it cannot.
func (p *pool) start() {
	defer p.r.wg.Done()
	inst, err := p.launch()
	p.mu.Lock()
	p.starting = false
	if err != nil {
		failed := p.queue
		p.queue = nil
		p.mu.Unlock()
		e := app.Ended{Outcome: app.Failed, Error: startError(err)}
		if errors.Is(err, errNotHeld) {
			e = app.Ended{Outcome: app.Lost}
		}
		for _, run := range failed {
			p.end(run, e)
		}
		return
	}
	p.inst = inst
	p.mu.Unlock()
	go inst.receive()
	p.dispatch()
}

// end tells the end of an execution, once, and lets the next one start.
func (p *pool) end(run *running, e app.Ended) {
	if p.finish(run, e) {
		p.dispatch()
	}
}

// finish tells the end of an execution; false when it was told before.
func (p *pool) finish(run *running, e app.Ended) bool {
	p.mu.Lock()
	if run.ended {
		p.mu.Unlock()
		return false
	}
	run.ended = true
	p.brief = e.Outcome == app.Completed && run.brief
	if run.inst != nil {
		delete(run.inst.runs, run.x.ID)
		if e.Instance == "" {
			e.Instance = run.inst.Name
		}
	}
	p.mu.Unlock()
	run.sink.Ended(e)
	return true
}

func (p *pool) attach(run *running) {
	p.mu.Lock()
	if p.inst != nil {
		run.toAsk = append(run.toAsk, p.inst)
	}
	run.toAsk = append(run.toAsk, p.elders...)
	send := p.ask(run)
	died := p.died
	p.mu.Unlock()
	switch {
	case send != nil:
		send()
	case died:
		p.end(run, app.Ended{Outcome: app.Lost})
	default:
		p.end(run, app.Ended{Outcome: app.Unknown})
	}
}

// unknown deals with the answer that the wrapper does not know an execution that we asked for.
func (p *pool) unknown(run *running) {
	p.mu.Lock()
	send := p.ask(run)
	died := p.died
	p.mu.Unlock()
	if send != nil {
		send()
		return
	}
	outcome := app.Unknown
	if died || !run.attach {
		outcome = app.Lost
	}
	p.end(run, app.Ended{Outcome: outcome})
}

func (p *pool) cancel(run *running, reason string, grace time.Duration) {
	p.mu.Lock()
	if run.ended {
		p.mu.Unlock()
		return
	}
	run.cancel = &pb.Cancel{Reason: reason, GraceMs: int32(grace.Milliseconds())}
	inst := run.inst
	if !run.sent {
		for i, q := range p.queue {
			if q == run {
				p.queue = append(p.queue[:i:i], p.queue[i+1:]...)
				break
			}
		}
		p.mu.Unlock()
		p.end(run, app.Ended{Outcome: app.Cancelled, Error: &domain.StepError{Kind: "cancelled", Message: reason}})
		return
	}
	p.mu.Unlock()
	inst.send(&pb.ToAction{ExecutionId: run.x.ID, Body: &pb.ToAction_Cancel{Cancel: run.cancel}})
}

// recancel sends a cancel again that may have gone out before the execution's start did.
func (p *pool) recancel(inst *instance, run *running) {
	p.mu.Lock()
	c := run.cancel
	p.mu.Unlock()
	if c != nil {
		inst.send(&pb.ToAction{ExecutionId: run.x.ID, Body: &pb.ToAction_Cancel{Cancel: c}})
	}
}

func (p *pool) forget(run *running) {
	p.mu.Lock()
	inst := run.inst
	p.mu.Unlock()
	if inst != nil {
		inst.later(&pb.ToAction{ExecutionId: run.x.ID, Body: &pb.ToAction_Forget{Forget: &pb.Forget{}}})
	}
}

// stopIdle stops a wrapper that nothing asks for.
func (p *pool) stopIdle() {
	p.mu.Lock()
	inst := p.inst
	if inst == nil || len(inst.runs) > 0 || len(p.queue) > 0 {
		p.mu.Unlock()
		return
	}
	p.inst = nil
	p.mu.Unlock()
	inst.stop(true)
}

func (p *pool) retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.stopIdle()
}

func (p *pool) close() {
	p.mu.Lock()
	all := p.elders
	if p.inst != nil {
		all = append(all, p.inst)
	}
	p.inst, p.elders = nil, nil
	busy := map[*instance]bool{}
	for _, inst := range all {
		busy[inst] = len(inst.runs) > 0
	}
	p.mu.Unlock()
	for _, inst := range all {
		inst.stop(!busy[inst])
	}
}

// lost deals with a wrapper that is gone: everything that it had started is ended, then told.
func (p *pool) lost(inst *instance) {
	inst.sweep()
	inst.hangUp()
	p.mu.Lock()
	if p.inst == inst {
		p.inst = nil
	}
	p.dropElder(inst)
	p.died = true // whoever asks for an execution of before is told that it is lost, not that it never was
	var runs []*running
	for _, run := range inst.runs {
		runs = append(runs, run)
	}
	p.mu.Unlock()
	inst.unregister()
	for _, run := range runs {
		p.end(run, app.Ended{Outcome: app.Lost})
	}
	p.dispatch()
}
