package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits/shared"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Errors between the engine and its journal.
var (
	ErrFenced    = errors.New("another incarnation has taken over")
	ErrStopped   = errors.New("the runner is stopping")
	ErrDuplicate = errors.New("the key is taken")
	// ErrNoLiveRun tells that a run has ended, or never was.
	ErrNoLiveRun = errors.New("there is no such run that has not ended")
)

// Metrics counts what the engine does. Every field may be nil.
type Metrics struct {
	RunStarted   func(project, workflow string)
	RunEnded     func(project, workflow string, state domain.RunState, took time.Duration)
	AttemptEnded func(action, outcome string, took time.Duration)
	Swept        func(Swept)
}

// engine holds the live runs, spread over shards by id. Each shard is one goroutine that
// owns its runs: nothing of a run is touched from elsewhere.
type engine struct {
	shards  []*shard
	journal Journal
	exec    Executor
	gather  Gatherer // exec, nil if it is none
	files   Files
	secrets *secretBook
	logs    *logWriter
	feed    feed
	now     func() time.Time
	jitter  func() float64
	metrics Metrics
	log     *slog.Logger
	grace   time.Duration
	stop    context.Context
	svc     *Service
	node    atomic.Pointer[shared.Node]
	bulk    sync.WaitGroup // bulk orders under way
	caps    *capBook
	ahead   bool // see Config.Ahead
	// sleepAfter is how far off its next due time must be for a run to leave memory.
	sleepAfter time.Duration

	// wanted says by project which events are told as messages, nil = none.
	wanted atomic.Pointer[map[string]Wants]

	unwritten atomic.Int64 // ended runs of durability none that the journal has not taken yet
}

func (e *engine) shardOf(run string) *shard {
	h := uint32(2166136261)
	for i := len(run) - 1; i >= 0 && i >= len(run)-8; i-- { // the random end of a UUIDv7
		h = (h ^ uint32(run[i])) * 16777619
	}
	return e.shards[h%uint32(len(e.shards))]
}

// shard is one goroutine's share of the runs.
type shard struct {
	e       *engine
	mu      sync.Mutex
	inbox   []message
	wake    chan struct{}
	runs    map[string]*liveRun
	timers  timerHeap
	pending []*Entry
	early   []early
	unsent  int // attempts that were gathered
}

// message is one thing that a shard is told. Either do is set, or what it is about.
type message struct {
	do    func(*shard)
	entry *Entry
	err   error
	sink  *attemptSink
	end   *domain.EventAttempt
}

// liveRun is one run in memory.
type liveRun struct {
	s        *domain.State
	summary  RunSummary
	seq      int64
	tail     *queued // its newest row, while it is being written
	timer    timer
	done     chan struct{} // closed when the end is durable, or the run is given up
	result   *RunResult    // set before done is closed when the end is durable
	gone     func()        // counts the run out of its project's limit
	sinks    map[string]*attemptSink
	watchers []*watcher
	watched  atomic.Int32     // len(watchers), for sinks
	logSeq   atomic.Int64     // cursor of the last log record
	logged   map[string]int64 // attached executions: log records that are durable already
	orders   map[string]bool  // commands of the inbox that it has been told
	parked   []InboxCommand   // those of them that wait until it is no longer held
	awaited  int              // callers who wait for its end
	stored   domain.RunState  // what lists show
	shown    domain.RunState  // what watchers were told last
	asleep   bool             // its newest row says that it only waits
	waited   bool             // it has slept or waited for somebody, as far as is known here
	unsaid   int              // its rows that are not durable yet
	brief    bool             // durability none: nothing is written before its end
	kept     []byte           // brief: its row so far
	since    unsnapped
}

// queued keeps what an entry sets going once it is durable.
type queued struct {
	Entry
	run      *liveRun
	commands []domain.Command
	started  func(error)
}

func newShard(e *engine) *shard {
	return &shard{e: e, wake: make(chan struct{}, 1), runs: map[string]*liveRun{}}
}

func (sh *shard) post(m message) {
	sh.mu.Lock()
	sh.inbox = append(sh.inbox, m)
	first := len(sh.inbox) == 1
	sh.mu.Unlock()
	if first {
		select {
		case sh.wake <- struct{}{}:
		default:
		}
	}
}

// call runs do on the shard and waits for it.
func (sh *shard) call(ctx context.Context, do func(*shard)) error {
	done := make(chan struct{})
	sh.post(message{do: func(s *shard) { do(s); close(done) }})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-sh.e.stop.Done():
		return ErrStopped
	}
}

// loop handles messages and due times until ctx is done. What one turn journals is handed
// to the writer together.
func (sh *shard) loop(ctx context.Context) {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	var batch []message
	for {
		sh.mu.Lock()
		batch, sh.inbox = sh.inbox, batch[:0]
		sh.mu.Unlock()
		for i := range batch {
			sh.handle(&batch[i])
			batch[i] = message{}
		}
		next := sh.fire()
		sh.flush()
		sh.sendEarly()
		sh.sendGathered()
		if len(batch) > 0 {
			continue
		}
		clock.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-sh.wake:
		case <-clock.C:
		}
	}
}

func (sh *shard) flush() {
	if len(sh.pending) > 0 {
		sh.e.journal.Append(sh.pending...)
		clear(sh.pending)
		sh.pending = sh.pending[:0]
	}
}

func (sh *shard) handle(m *message) {
	switch {
	case m.do != nil:
		m.do(sh)
	case m.sink != nil:
		if r := m.sink.run; sh.runs[r.s.ID] == r {
			delete(r.sinks, m.sink.execution)
			sh.event(r, *m.end)
		}
	}
}

// fire ticks the runs whose time has come and tells how long the next one takes.
func (sh *shard) fire() time.Duration {
	for len(sh.timers) > 0 {
		now := sh.e.now()
		t := sh.timers[0]
		if wait := time.UnixMicro(t.due).Sub(now); wait > 0 {
			return wait
		}
		sh.timers.remove(t)
		sh.event(t.run, domain.EventTick{})
	}
	return time.Hour
}

// event lets the state machine react and queues its row.
func (sh *shard) event(r *liveRun, ev domain.Event) { sh.step(r, ev, nil) }

func (sh *shard) step(r *liveRun, ev domain.Event, amend func(*queued)) {
	tr, err := r.s.Handle(ev, sh.e.now(), sh.e.jitter())
	if err != nil {
		sh.giveUp(r, err)
		return
	}
	if tr.Due > 0 {
		sh.timers.set(&r.timer, r, tr.Due)
	}
	if tr.Row == nil && amend == nil {
		sh.run(r, sh.hold(r, tr.Commands))
		return
	}
	if tr.Row != nil { // an order may change nothing: a gap would make a later row collide after a restart
		r.seq++
	}
	q := &queued{run: r, commands: tr.Commands}
	r.tail = q
	q.Entry = Entry{Run: r.s.ID, Seq: r.seq, Row: tr.Row}
	q.Committed = func(_ *Entry, err error) {
		sh.post(message{do: func(sh *shard) {
			r.unsaid--
			sh.committed(q, err)
		}})
	}
	if r.s.Status.Ended() {
		sum := r.ended()
		q.End, q.Waited = &sum, r.waited || len(tr.Waits) > 0
	}
	if !r.brief {
		sh.settle(q, &tr)
	}
	if amend != nil {
		amend(q)
	}
	sh.snapshot(q)
	if r.brief {
		sh.keepBrief(r, q)
		return
	}
	sh.tell(r, &q.Entry, q.Row)
	sh.pending = append(sh.pending, &q.Entry)
	r.unsaid++
	sh.hasten(r, q)
}

// hold keeps back cancels while a row of the run is being written: the start that a cancel is for may
// wait for just that row, and would go out after it.
func (sh *shard) hold(r *liveRun, cmds []domain.Command) []domain.Command {
	if r.tail == nil {
		return cmds
	}
	var now []domain.Command
	for _, c := range cmds {
		if c.Kind == domain.CommandCancel {
			r.tail.commands = append(slices.Clip(r.tail.commands), c)
		} else {
			now = append(now, c)
		}
	}
	return now
}

// committed acts upon a row that is durable.
func (sh *shard) committed(q *queued, err error) {
	r := q.run
	if r.tail == q {
		r.tail = nil
	}
	if q.started != nil {
		q.started(err)
	}
	if err != nil {
		sh.giveUp(r, err)
		return
	}
	if len(r.watchers) > 0 {
		sh.publish(r, q.Row)
	}
	if q.Start != nil && sh.e.feed.watched() {
		sum := r.told()
		sh.e.feed.tell(sum.Project, ProjectEvent{Kind: "run_started", Run: &sum})
	}
	if len(q.Waits) > 0 && sh.e.feed.watched() {
		sum := r.told()
		sh.e.feed.tell(sum.Project, ProjectEvent{Kind: "waits_changed", Run: &sum})
	}
	sh.run(r, q.commands)
	sh.rest(r)
}

// run carries out commands.
func (sh *shard) run(r *liveRun, cmds []domain.Command) {
	for _, c := range cmds {
		switch c.Kind {
		case domain.CommandStart, domain.CommandAttach:
			sh.send(r, c)
		case domain.CommandCancel:
			sh.cancelAttempt(r, c)
		case domain.CommandForget:
			id, _, _ := r.s.Target(c)
			sh.e.exec.Forget(id)
		case domain.CommandAdmit:
			sh.admitRun(r)
		case domain.CommandAcquire:
			sh.acquire(r, c)
		case domain.CommandRelease:
			sh.release(r, c)
		case domain.CommandLookUp:
			sh.lookUp(r, c)
		case domain.CommandKeep:
			sh.keep(r, c)
		case domain.CommandHandle:
			sh.handleFailure(r)
		case domain.CommandAsk:
			sh.ask(r, c)
		case domain.CommandLoad:
			sh.load(r, c.Refs)
		case domain.CommandContinue:
			sh.event(r, domain.EventContinue{})
		case domain.CommandEnded:
			sh.finish(r)
		}
	}
}

// cancelAttempt tells an attempt to stop; a sub-workflow's is the run that it started.
func (sh *shard) cancelAttempt(r *liveRun, c domain.Command) {
	id, _, _ := r.s.Target(c)
	child := r.s.Child(c)
	if child == "" {
		sh.e.exec.Cancel(id, c.Reason, sh.e.grace)
		return
	}
	e, project, sink := sh.e, r.s.Project, r.sinks[id]
	go func() {
		if !e.svc.isUp(e.stop) {
			return
		}
		// The child may be about to start: it is cancelled as soon as it is there.
		for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
			err := e.svc.Cancel(e.stop, project, child, "parent:"+id, c.Reason)
			if err == nil || fault.Is(err, fault.Conflict) || sink == nil || sink.isOver() {
				return
			}
			t := time.NewTimer(wait)
			select {
			case <-e.stop.Done():
				t.Stop()
				return
			case <-t.C:
			}
		}
	}()
}

// ask tells those who watch the project that a person is waited for.
func (sh *shard) ask(r *liveRun, c domain.Command) {
	if !sh.e.feed.watched() {
		return
	}
	_, step, _ := r.s.Target(c)
	sum := r.told()
	sh.e.feed.tell(sum.Project, ProjectEvent{Kind: "decision_wanted", Run: &sum, Step: r.s.Plan.Nodes[step].Spec.ID, Text: r.s.Question(c), Reminder: c.Reason != ""})
}

// finish lets go of a run whose end is durable.
func (sh *shard) finish(r *liveRun) {
	if m := sh.e.metrics.RunEnded; m != nil {
		m(r.summary.Project, r.summary.Workflow, r.s.Status, time.Duration(r.s.Finished-r.s.Started)*time.Microsecond)
	}
	if limited(r.s.Plan) {
		sh.e.limits().Release(r.s.ID)
	}
	sum := r.ended()
	r.result = &RunResult{ID: sum.ID, Workflow: sum.Workflow, State: sum.State, Result: r.s.Result, Error: r.s.Err, Step: sum.ErrorStep}
	if sh.e.feed.watched() {
		sh.e.feed.tell(sum.Project, ProjectEvent{Kind: "run_finished", Run: &sum})
	}
	if r.brief {
		sh.record(r, &sum)
		return
	}
	sh.drop(r, &sum)
}

func (sh *shard) drop(r *liveRun, last *RunSummary) {
	delete(sh.runs, r.s.ID)
	sh.letGo(r, last)
}

// letGo tells everybody who waits that the run is over here.
func (sh *shard) letGo(r *liveRun, last *RunSummary) {
	sh.timers.remove(&r.timer)
	for _, w := range r.watchers {
		w.close(last)
	}
	r.watchers = nil
	r.gone()
	close(r.done)
}

// giveUp takes a run out of memory that cannot go on here: its rows cannot be written, or
// make no sense to this version. What is journalled stays; a restart takes it up again.
func (sh *shard) giveUp(r *liveRun, err error) {
	if sh.runs[r.s.ID] != r {
		return
	}
	if r.brief {
		r.result = &RunResult{ID: r.s.ID, Workflow: r.summary.Workflow, State: domain.RunFailed, Error: &domain.StepError{Kind: "internal", Message: err.Error()}}
	}
	if !errors.Is(err, ErrStopped) && !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrFenced) {
		sh.e.log.Error("run given up until the next start", "run", r.s.ID, "error", err)
	}
	sh.drop(r, nil)
}

// told is what people may hear of a run: an end counts once it is durable.
func (r *liveRun) told() RunSummary {
	if r.s.Status.Ended() && r.result == nil {
		sum := r.summary
		sum.State = domain.RunRunning
		return sum
	}
	return r.ended()
}

// ended is a run as it stands in memory, which is ahead of what is durable.
func (r *liveRun) ended() RunSummary {
	sum := r.summary
	sum.State = r.s.Shown()
	if r.s.Status.Ended() {
		sum.FinishedAt = time.UnixMicro(r.s.Finished).UTC()
	}
	if r.s.Err != nil {
		sum.ErrorKind, sum.Error = r.s.Err.Kind, r.s.Err.Message
	}
	if r.s.ErrStep >= 0 {
		sum.ErrorStep = r.s.Plan.Nodes[r.s.ErrStep].Spec.ID
	}
	if r.s.Status == domain.RunFailed {
		sum.Fingerprint = fingerprint(sum.Workflow, sum.ErrorStep, r.s.Err)
	}
	sum.CPUMicros, sum.GiBSeconds = r.s.Cost()
	return sum
}

// send dispatches an attempt, or listens again to one that was sent before a crash.
func (sh *shard) send(r *liveRun, c domain.Command) {
	if !sh.e.held() {
		return // others may act for the run by now; if not, the next incarnation takes it up
	}
	d, err := r.s.Dispatch(c, sh.e.secrets.of(r.s.Project))
	sink := newSink(sh, r, d)
	if err != nil && c.Kind == domain.CommandStart {
		var need *domain.NeedRefsError
		if errors.As(err, &need) {
			sh.loadThen(r, need.Refs, func(sh *shard) { sh.send(r, c) })
			return
		}
		sink.fail(err)
		return
	}
	r.sinks[d.Execution] = sink
	if d.Workflow != "" {
		sh.callWorkflow(r, d, sink)
		return
	}
	x := Execution{
		ID: d.Execution, Project: r.s.Project, Workflow: r.summary.Workflow, Run: r.s.ID, Step: d.Step, ItemPath: d.Path,
		Attempt: d.Attempt, IdempotencyKey: d.IdempotencyKey, Deadline: time.UnixMicro(d.Deadline), Limit: d.Limit, Inputs: d.Inputs,
		Secrets: d.Secrets, Build: *d.Build,
	}
	if c.Kind == domain.CommandAttach {
		sh.e.exec.Attach(x, sink)
		return
	}
	if sh.e.gather == nil {
		sh.e.exec.Start(x, sink)
		return
	}
	sh.e.gather.Gather(x, sink)
	if sh.unsent++; sh.unsent >= mostGathered {
		sh.sendGathered()
	}
}

// mostGathered is how many attempts of one turn leave together: later ones must not hold up the first.
const mostGathered = 16

func (sh *shard) sendGathered() {
	if sh.unsent > 0 {
		sh.unsent = 0
		sh.e.gather.Send()
	}
}

// load reads values from the filestore that expressions wait for.
func (sh *shard) load(r *liveRun, refs []domain.BlobRef) { sh.loadThen(r, refs, nil) }

func (sh *shard) loadThen(r *liveRun, refs []domain.BlobRef, then func(*shard)) {
	go func() {
		for _, ref := range refs {
			v, serr := readBlob(sh.e.stop, sh.e.files, r.s.Project, ref)
			sh.post(message{do: func(sh *shard) {
				if sh.runs[r.s.ID] == r {
					sh.event(r, domain.EventLoaded{Digest: ref.Digest, Value: v, Err: serr})
				}
			}})
		}
		if then != nil {
			sh.post(message{do: func(sh *shard) {
				if sh.runs[r.s.ID] == r {
					then(sh)
				}
			}})
		}
	}()
}
