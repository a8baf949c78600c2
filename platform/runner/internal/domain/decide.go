package domain

import "time"

// CommandKind says what the engine shall do once the transition's row is durable.
type CommandKind uint8

// The kinds of commands.
const (
	CommandStart    CommandKind = iota + 1 // send the attempt
	CommandAttach                          // listen to an attempt that was sent before a crash
	CommandCancel                          // tell the attempt to stop
	CommandForget                          // the end of the attempt is durable
	CommandLoad                            // load values from the filestore, then send EventLoaded
	CommandEnded                           // the run has ended
	CommandContinue                        // send EventContinue: the row was full
)

// Command is one order of the state machine.
type Command struct {
	Kind    CommandKind
	Attempt int32
	Reason  string
	Refs    []BlobRef
	node    *node
}

// Transition is what follows from one event.
type Transition struct {
	Row      []byte // nil: nothing to journal
	Commands []Command
	Due      int64 // Unix micros of the earliest new due time, 0 = none; then send EventTick
}

// Event is something that the state machine reacts to.
type Event interface{ event() }

// The events.
type (
	// EventStarted is the first event of every run.
	EventStarted struct {
		Inputs Values
		Vars   Values
		Event  Value
	}
	// EventAttempt is the end of an attempt.
	EventAttempt struct {
		Step     int32
		Path     []int32
		Attempt  int32
		Outcome  Outcome
		Err      *StepError
		Outputs  []Values
		IsList   bool
		Instance string
		Usage    Usage
		Phases   []Phase
	}
	// EventTick says that a due time has come.
	EventTick struct{}
	// EventCancel is a command to end the run.
	EventCancel struct{ Command, Reason string }
	// EventLoaded brings values from the filestore; nil Value with Err tells why not.
	EventLoaded struct {
		Digest string
		Value  Value
		Err    *StepError
	}
	// EventContinue goes on where a full row stopped.
	EventContinue struct{}
	// EventResume follows the replay of the journal after a take-over.
	EventResume struct{}
)

func (EventStarted) event()  {}
func (EventAttempt) event()  {}
func (EventTick) event()     {}
func (EventCancel) event()   {}
func (EventLoaded) event()   {}
func (EventResume) event()   {}
func (EventContinue) event() {}

// Handle lets one event happen: the state moves on, and what it returns must be made
// durable (Row) before it is acted upon (Commands). jitter is a random number in [0,1);
// what it decides is recorded.
func (s *State) Handle(ev Event, now time.Time, jitter float64) (Transition, error) {
	t := turn{s: s, now: now.UnixMicro(), jitter: jitter}
	switch e := ev.(type) {
	case EventStarted:
		t.emit(&Fact{Kind: FactRunStarted, Inputs: e.Inputs, Vars: e.Vars, Event: e.Event})
		t.noteDue(s.runDue())
		t.queue = append(t.queue, s.roots...)
	case EventAttempt:
		t.attempt(&e)
	case EventTick:
		t.tick()
	case EventCancel:
		t.cancel(CauseCancel, e.Reason)
	case EventLoaded:
		t.loaded(e)
	case EventResume:
		t.resume()
	case EventContinue:
		t.queue, s.more = s.more, nil
	}
	t.settle()
	return Transition{Row: t.row, Commands: t.cmds, Due: t.due}, t.err
}

// turn is the handling of one event.
type turn struct {
	s      *State
	now    int64
	jitter float64
	row    []byte
	cmds   []Command
	queue  []*node
	due    int64
	err    error
}

func (t *turn) emit(f *Fact) {
	f.At = t.now
	if err := t.s.apply(f); err != nil && t.err == nil {
		t.err = err
	}
	t.row = appendFact(t.row, f)
}

func (t *turn) noteDue(at int64) {
	if at > 0 && (t.due == 0 || at < t.due) {
		t.due = at
	}
}

func (s *State) runDue() int64 {
	d := s.Plan.Timeout
	if d == 0 {
		d = DefaultRunTimeout
	}
	return s.Started + d.Microseconds()
}

// maxRow is about how large a row gets, in bytes: a list of thousands of items starts its
// attempts in several rows, and no other run waits long for this one.
const maxRow = 1 << 20

func (t *turn) full() bool {
	limit := t.s.RowLimit
	if limit == 0 {
		limit = maxRow
	}
	return len(t.row) >= limit
}

// later leaves nodes to the next row. After a crash EventResume finds them again, since
// they are undecided.
func (t *turn) later(nodes ...*node) {
	if len(nodes) > 0 && len(t.s.more) == 0 {
		t.cmds = append(t.cmds, Command{Kind: CommandContinue})
	}
	t.s.more = append(t.s.more, nodes...)
}

// settle follows the consequences until nothing more can be decided, or the row is full.
func (t *turn) settle() {
	for len(t.queue) > 0 {
		q := t.queue
		t.queue = nil
		for i, n := range q {
			if t.full() {
				t.later(q[i:]...)
				break
			}
			t.consider(n)
		}
		if t.full() {
			t.later(t.queue...)
			t.queue = nil
		}
	}
	t.checkEnd()
}

// consider decides a node if all its needs allow it.
func (t *turn) consider(n *node) {
	if t.s.Status != RunRunning {
		return
	}
	if n.kind == looping && !n.hasEnded() {
		t.advanceLoop(n)
	}
	if n.kind != undecided {
		return
	}
	opener, count := int32(-1), 0
	for _, need := range t.s.Plan.Nodes[n.step].Needs {
		v, item := t.s.view(need, n.path)
		if !v.decided() {
			return
		}
		o, c := int32(-1), 0
		if v.kind == expanded {
			o, c = v.opener, len(v.children)
		} else if v.list && item < 0 {
			o, c = v.step, len(v.outputs)
		}
		if o < 0 || o == opener {
			continue
		}
		if opener >= 0 {
			t.ambiguous(n, opener, o)
			return
		}
		opener, count = o, c
	}
	if opener < 0 {
		t.decide(n)
		return
	}
	t.emit(&Fact{Kind: FactExpanded, Step: n.step, Path: n.path, N: int32(count), Other: opener})
	t.queue = append(t.queue, n.children...)
	t.wake(n)
}

func (t *turn) ambiguous(n *node, a, b int32) {
	p := t.s.Plan
	t.endStep(n, StepFailed, "", -1, errf("ambiguous_fanout",
		"%s needs results of %s and of %s, which both returned lists: it is not clear which items belong together. Let one of them need the other, or use forEach",
		p.Nodes[n.step].Spec.ID, p.Nodes[a].Spec.ID, p.Nodes[b].Spec.ID))
}

// wake queues the steps that may go on now that n is decided.
func (t *turn) wake(n *node) {
	if n.item {
		t.queue = append(t.queue, n.parent)
		return
	}
	for _, d := range t.s.Plan.Nodes[n.step].Downstream {
		m := t.s.roots[d]
		for m.kind == expanded && len(m.path) < len(n.path) {
			m = m.children[n.path[len(m.path)]]
		}
		if m.kind == undecided {
			t.queue = append(t.queue, m)
		}
	}
}

func (t *turn) endStep(n *node, st StepState, reason string, other int32, err *StepError) {
	t.emit(&Fact{Kind: FactStepEnded, Step: n.step, Path: n.path, State: st, Reason: reason, Other: other, Err: err})
	t.wake(n)
}

// decide starts, skips or fails a step whose needs have ended.
func (t *turn) decide(n *node) {
	p := &t.s.Plan.Nodes[n.step]
	if p.If == nil || !p.If.Tolerant() {
		if reason, other := t.blocked(n, p); reason != "" {
			t.endStep(n, StepSkipped, reason, other, nil)
			return
		}
	}
	if p.If != nil {
		v, err := t.eval(p.If, t.s.scope(n, nil))
		if t.failedOrWaiting(n, n, "if", err) {
			return
		}
		switch string(v) {
		case "true":
		case "false", "null":
			t.endStep(n, StepSkipped, ReasonIfFalse, -1, nil)
			return
		default:
			t.endStep(n, StepFailed, "", -1, errf("expression_error", "if: a boolean is wanted, this is %s", describe(v)))
			return
		}
	}
	if p.ForEach != nil {
		t.openLoop(n, p)
		return
	}
	computed, err := t.inputs(p, t.s.scope(n, nil))
	if t.failedOrWaiting(n, n, "", err) {
		return
	}
	t.startAttempt(n.step, n.path, 1, computed)
}

// blocked tells why a step must be skipped for what became of its needs.
func (t *turn) blocked(n *node, p *PlanStep) (reason string, other int32) {
	completed := 0
	failed, skipped := int32(-1), int32(-1)
	for _, need := range p.Needs {
		switch v, _ := t.s.view(need, n.path); v.state {
		case StepCompleted:
			completed++
		case StepFailed, StepCancelled:
			failed = need
		default:
			skipped = need
		}
	}
	switch {
	case p.Join > 0 && completed >= p.Join:
		return "", -1
	case p.Join > 0 && len(p.Needs) > 0:
		return ReasonJoin, -1
	case failed >= 0:
		return ReasonNeedFailed, failed
	case skipped >= 0:
		return ReasonNeedSkip, skipped
	}
	return "", -1
}

func (t *turn) startAttempt(step int32, path []int32, attempt int32, computed []Computed) {
	p := &t.s.Plan.Nodes[step]
	due := t.now + p.Timeout.Microseconds()
	t.emit(&Fact{Kind: FactAttemptStarted, Step: step, Path: path, Attempt: attempt, Due: due, Computed: computed})
	t.noteDue(due)
	t.cmds = append(t.cmds, Command{Kind: CommandStart, Attempt: attempt, node: t.s.find(step, path)})
}
