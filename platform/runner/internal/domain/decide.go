package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// CommandKind says what the engine shall do once the transition's row is durable.
type CommandKind uint8

// The kinds of commands.
const (
	CommandStart  CommandKind = iota + 1 // send the attempt
	CommandAttach                        // listen to an attempt that was sent before a crash
	CommandCancel                        // tell the attempt to stop
	CommandForget                        // the end of the attempt is durable
	CommandLoad                          // load values from the filestore, then send EventLoaded
	CommandEnded                         // the run has ended
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
	// EventResume follows the replay of the journal after a take-over.
	EventResume struct{}
)

func (EventStarted) event() {}
func (EventAttempt) event() {}
func (EventTick) event()    {}
func (EventCancel) event()  {}
func (EventLoaded) event()  {}
func (EventResume) event()  {}

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

// settle follows the consequences until nothing more can be decided.
func (t *turn) settle() {
	for len(t.queue) > 0 {
		q := t.queue
		t.queue = nil
		for _, n := range q {
			t.consider(n)
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

func (s *State) scope(n *node, item Value) *Scope {
	return &Scope{s: s, path: n.path, step: n.step, item: item}
}

func (t *turn) eval(e Expression, sc *Scope) (Value, error) {
	if v, ok := e.Literal(); ok {
		return v, nil
	}
	if r, ok := e.Ref(); ok {
		v, ok := sc.Resolve(r)
		if !ok {
			return Value("null"), nil
		}
		return sc.Load(v)
	}
	return e.Eval(sc)
}

// failedOrWaiting ends the node with err, or lets holder wait for values to be loaded.
func (t *turn) failedOrWaiting(n, holder *node, what string, err error) bool {
	if err == nil {
		return false
	}
	var need *NeedRefs
	if errors.As(err, &need) {
		t.wait(holder, need.Refs)
		return true
	}
	t.endStep(n, StepFailed, "", -1, asStepError(what, err))
	return true
}

func asStepError(what string, err error) *StepError {
	var se *StepError
	if !errors.As(err, &se) {
		se = errf("expression_error", "%s", err)
	}
	if what == "" {
		return se
	}
	c := *se
	c.Message = what + ": " + c.Message
	return &c
}

// wait remembers that a node (nil = the result) goes on once values are loaded.
func (t *turn) wait(n *node, refs []BlobRef) {
	s := t.s
	if n == nil {
		s.waitEnd = true
	} else {
		if s.waiting == nil {
			s.waiting = map[*node]bool{}
		}
		s.waiting[n] = true
	}
	if s.asked == nil {
		s.asked = map[string]bool{}
	}
	var missing []BlobRef
	for _, r := range refs {
		if !s.asked[r.Digest] {
			s.asked[r.Digest] = true
			missing = append(missing, r)
		}
	}
	if len(missing) > 0 {
		t.cmds = append(t.cmds, Command{Kind: CommandLoad, Refs: missing})
	}
}

func (t *turn) loaded(e EventLoaded) {
	s := t.s
	if s.loaded == nil {
		s.loaded = map[string]loaded{}
	}
	s.loaded[e.Digest] = loaded{e.Value, e.Err}
	for n := range s.waiting {
		t.queue = append(t.queue, n)
	}
	clear(s.waiting)
	slices.SortFunc(t.queue, func(a, b *node) int {
		if a.step != b.step {
			return int(a.step - b.step)
		}
		return slices.Compare(a.path, b.path)
	})
	s.waitEnd = false
}

// inputs evaluates what must be evaluated of a step's inputs. Literals and plain references
// are not recorded: the plan and the outputs that they point at are.
func (t *turn) inputs(p *PlanStep, sc *Scope) ([]Computed, error) {
	var computed []Computed
	for i := range p.With {
		in := &p.With[i]
		if in.Tainted {
			continue
		}
		if _, ok := in.Expr.Literal(); ok {
			continue
		}
		if r, ok := in.Expr.Ref(); ok {
			if _, ok := sc.Resolve(r); !ok && !p.optional[in.Name] {
				e := errf("invalid_input", "%s: %s has no value here: the step was skipped or did not give it", in.Name, in.Expr.Text())
				e.Field = in.Name
				return nil, e
			}
			continue
		}
		v, err := in.Expr.Eval(sc)
		if err != nil {
			var need *NeedRefs
			if errors.As(err, &need) {
				return nil, err
			}
			se := asStepError("with."+in.Name, err)
			if se.Field == "" {
				c := *se
				c.Field = in.Name
				se = &c
			}
			return nil, se
		}
		computed = append(computed, Computed{int32(i), v})
	}
	return computed, nil
}

func (t *turn) startAttempt(step int32, path []int32, attempt int32, computed []Computed) {
	p := &t.s.Plan.Nodes[step]
	due := t.now + p.Timeout.Microseconds()
	t.emit(&Fact{Kind: FactAttemptStarted, Step: step, Path: path, Attempt: attempt, Due: due, Computed: computed})
	t.noteDue(due)
	t.cmds = append(t.cmds, Command{Kind: CommandStart, Attempt: attempt, node: t.s.find(step, path)})
}

// openLoop starts a forEach.
func (t *turn) openLoop(n *node, p *PlanStep) {
	items, computed, err := t.loopItems(n, p)
	if t.failedOrWaiting(n, n, "forEach.in", err) {
		return
	}
	t.emit(&Fact{Kind: FactForEach, Step: n.step, Path: n.path, N: int32(len(items)), List: computed})
	n.items = items
	t.advanceLoop(n)
}

// loopItems gives the items, and the list itself if an expression made it.
func (t *turn) loopItems(n *node, p *PlanStep) ([]Value, Value, error) {
	e := p.ForEach.In
	list := n.listOf
	if list == nil {
		v, err := t.eval(e, t.s.scope(n, nil))
		if err != nil {
			return nil, nil, err
		}
		list = v
	}
	items, serr := SplitList(list)
	if serr != nil {
		return nil, nil, serr
	}
	_, literal := e.Literal()
	_, ref := e.Ref()
	if literal || ref {
		return items, nil, nil
	}
	return items, list, nil
}

// advanceLoop starts as many items as concurrency allows and ends the loop.
func (t *turn) advanceLoop(n *node) {
	p := &t.s.Plan.Nodes[n.step]
	total := int32(len(n.children))
	if n.items == nil && total > 0 { // after a take-over
		items, _, err := t.loopItems(n, p)
		if t.failedOrWaiting(n, n, "forEach.in", err) {
			return
		}
		n.items = items
	}
	for n.failed == 0 && n.next < total {
		running := n.next - (total - n.open)
		if p.ForEach.Concurrency > 0 && running >= int32(p.ForEach.Concurrency) {
			return
		}
		i := n.next
		path := childPath(n.path, i)
		sc := t.s.scope(n, n.items[i])
		computed, err := t.inputs(p, sc)
		if err != nil {
			var need *NeedRefs
			if errors.As(err, &need) {
				t.wait(n, need.Refs)
				return
			}
			t.emit(&Fact{Kind: FactStepEnded, Step: n.step, Path: path, State: StepFailed, Other: -1, Err: asStepError("", err)})
			break
		}
		t.startAttempt(n.step, path, 1, computed)
	}
	running := n.next - (total - n.open)
	switch {
	case n.open == 0 && n.failed == 0:
		t.endStep(n, StepCompleted, "", -1, nil)
	case n.failed > 0 && running == 0:
		i := slices.IndexFunc(n.children, func(c *node) bool { return c != nil && c.state == StepFailed })
		c := *n.children[i].err
		c.Message = fmt.Sprintf("item %d: %s", i, c.Message)
		t.endStep(n, StepFailed, "", -1, &c)
	}
}

// attempt handles the end of an attempt.
func (t *turn) attempt(e *EventAttempt) {
	n := t.s.find(e.Step, e.Path)
	if n == nil || !n.inFlight || n.attempt != e.Attempt {
		return // told twice: the first one counted
	}
	if e.Outcome == OutcomeUnknown {
		if t.s.Status == RunRunning && !n.timedOut {
			t.cmds = append(t.cmds, Command{Kind: CommandStart, Attempt: n.attempt, node: n})
			return
		}
		e.Outcome, e.Err = OutcomeCancelled, errf("cancelled", "it had not started when it was told to stop")
	}
	p := &t.s.Plan.Nodes[n.step]
	if n.timedOut && e.Outcome != OutcomeCompleted && (e.Err == nil || e.Err.Kind != "timeout") {
		e.Outcome, e.Err = OutcomeFailed, errf("timeout", "it took longer than its timeout of %s", p.Timeout)
	}
	if e.Outcome == OutcomeCompleted && !e.IsList && len(e.Outputs) == 0 {
		e.Outputs = []Values{{}}
	}
	if e.Outcome != OutcomeCompleted && e.Err == nil {
		e.Err = defaultError(e.Outcome)
	}
	t.emit(&Fact{Kind: FactAttemptEnded, Step: e.Step, Path: n.path, Attempt: e.Attempt, Outcome: e.Outcome, Err: e.Err,
		Outputs: e.Outputs, IsList: e.IsList, Instance: e.Instance, Usage: e.Usage, Phases: e.Phases})
	t.cmds = append(t.cmds, Command{Kind: CommandForget, Attempt: e.Attempt, node: n})
	switch {
	case e.Outcome == OutcomeCompleted:
		t.wake(n)
	case t.s.Status == RunCancelling:
		st := StepCancelled
		if e.Outcome == OutcomeFailed {
			st = StepFailed
		}
		t.endStep(n, st, ReasonCancelled, -1, e.Err)
	case e.Outcome == OutcomeLost:
		t.afterLost(n, p)
	default:
		t.retryOrFail(n, p, e.Err)
	}
}

func defaultError(o Outcome) *StepError {
	switch o {
	case OutcomeLost:
		return errf("lost", "the instance that ran it is gone")
	case OutcomeCancelled:
		return errf("cancelled", "it was cancelled")
	default:
		return errf("internal", "it failed without saying why")
	}
}

func (t *turn) afterLost(n *node, p *PlanStep) {
	if p.Build.Effect == "irreversible" {
		t.endStep(n, StepFailed, "", -1, errf("lost", "the instance that ran it is gone; its effect is irreversible, so it is not tried again by itself"))
		return
	}
	if n.lost > LostLimit {
		t.endStep(n, StepFailed, "", -1, errf("lost", "%d attempts were lost with their instance; that is the limit", n.lost))
		return
	}
	t.startAttempt(n.step, n.path, n.attempt+1, nil)
}

func (t *turn) retryOrFail(n *node, p *PlanStep, err *StepError) {
	r := p.Spec.Retry
	tries := int(n.attempt - n.lost)
	if r == nil || tries >= r.Attempts || !r.covers(err.Kind) {
		t.endStep(n, StepFailed, "", -1, err)
		return
	}
	delay := r.delay(tries, t.jitter)
	if delay <= 0 {
		t.startAttempt(n.step, n.path, n.attempt+1, nil)
		return
	}
	due := t.now + delay.Microseconds()
	t.emit(&Fact{Kind: FactRetry, Step: n.step, Path: n.path, Attempt: n.attempt + 1, Due: due})
	t.noteDue(due)
}

func (r *RetrySpec) covers(kind string) bool {
	if len(r.On) == 0 {
		return kind != "cancelled"
	}
	return slices.Contains(r.On, kind)
}

// delay is how long to wait after the given number of tries. jitter in [0,1) takes up to
// half of it away, so that what failed together does not come back together.
func (r *RetrySpec) delay(tries int, jitter float64) time.Duration {
	factor := r.Factor
	if factor == 0 {
		factor = 2
	}
	d := float64(r.Backoff) * math.Pow(factor, float64(tries-1))
	limit := float64(r.Cap)
	if limit == 0 {
		limit = float64(time.Hour)
	}
	d = math.Min(d, limit)
	if r.Jitter {
		d *= 1 - jitter/2
	}
	return time.Duration(d)
}

func (t *turn) tick() {
	s := t.s
	if s.Status.Ended() {
		return
	}
	if due := s.runDue(); s.Status == RunRunning {
		if due <= t.now {
			t.cancel(CauseTimeout, "")
		} else {
			t.noteDue(due)
		}
	}
	for _, n := range slices.Clone(s.active) {
		switch {
		case n.due > t.now:
			t.noteDue(n.due)
		case n.state == StepWaiting:
			t.startAttempt(n.step, n.path, n.attempt+1, nil)
		case n.inFlight && !n.timedOut:
			n.timedOut = true
			t.cmds = append(t.cmds, Command{Kind: CommandCancel, Attempt: n.attempt, Reason: "timeout", node: n})
		}
	}
}

func (t *turn) cancel(cause, reason string) {
	if t.s.Status != RunRunning {
		return
	}
	t.emit(&Fact{Kind: FactCancelling, Command: cause, Reason: reason})
	t.stopAll()
}

// stopAll tells every attempt to stop and ends what only waits.
func (t *turn) stopAll() {
	for _, n := range slices.Clone(t.s.active) {
		if n.inFlight {
			t.cmds = append(t.cmds, Command{Kind: CommandCancel, Attempt: n.attempt, Reason: "cancelled", node: n})
			continue
		}
		t.endStep(n, StepCancelled, ReasonCancelled, -1, nil)
	}
}

// resume gives the orders again that were lost with the process.
func (t *turn) resume() {
	s := t.s
	if s.Status.Ended() {
		t.cmds = append(t.cmds, Command{Kind: CommandEnded})
		return
	}
	for _, n := range s.active {
		t.noteDue(n.due)
		if n.inFlight {
			t.cmds = append(t.cmds, Command{Kind: CommandAttach, Attempt: n.attempt, node: n})
		}
	}
	if s.Status == RunCancelling {
		t.stopAll()
		return
	}
	t.noteDue(s.runDue())
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		if n.kind == undecided || n.kind == looping {
			t.queue = append(t.queue, n)
		}
		if n.kind == expanded {
			for _, c := range n.children {
				walk(c)
			}
		}
	}
	for _, r := range s.roots {
		walk(r)
	}
}

// checkEnd ends the run when nothing is left to do.
func (t *turn) checkEnd() {
	s := t.s
	switch s.Status {
	case RunRunning:
		if s.open > 0 || s.waitEnd {
			return
		}
		t.finish()
	case RunCancelling:
		if len(s.active) > 0 {
			return
		}
		if s.Cause == CauseTimeout {
			t.endRun(RunFailed, nil, errf("timeout", "the run took longer than its timeout of %s", time.Duration(s.runDue()-s.Started)*time.Microsecond), -1)
			return
		}
		reason := s.Reason
		if reason == "" {
			reason = "cancelled"
		}
		t.endRun(RunCancelled, nil, errf("cancelled", "%s", reason), -1)
	}
}

func (t *turn) finish() {
	s := t.s
	if f := s.firstFail; f != nil {
		t.endRun(RunFailed, nil, f.err, f.step)
		return
	}
	result := Values{}
	for i := range s.Plan.Results {
		r := &s.Plan.Results[i]
		v, err := t.result(r, nil)
		if err != nil {
			var need *NeedRefs
			if errors.As(err, &need) {
				t.wait(nil, need.Refs)
				return
			}
			t.endRun(RunFailed, nil, asStepError("result."+r.Name, err), -1)
			return
		}
		result[r.Name] = v
	}
	t.endRun(RunCompleted, result, nil, -1)
}

func (t *turn) endRun(st RunState, result Values, err *StepError, step int32) {
	t.emit(&Fact{Kind: FactRunEnded, Run: st, Result: result, Err: err, Other: step})
	t.cmds = append(t.cmds, Command{Kind: CommandEnded})
}

// result evaluates one entry. What reads inside a passage is a list in item order; items
// whose step was skipped count as null, so that places keep their meaning.
func (t *turn) result(r *PlanResult, path []int32) (Value, error) {
	values, nested, err := t.resultAt(r, path)
	if err != nil {
		return nil, err
	}
	if nested {
		return JoinList(values), nil
	}
	return values[0], nil
}

func (t *turn) resultAt(r *PlanResult, path []int32) (values []Value, nested bool, err error) {
	s := t.s
	opener, count := int32(-1), 0
	for _, id := range r.Steps {
		v, item := s.view(id, path)
		o, c := int32(-1), 0
		if v.kind == expanded {
			o, c = v.opener, len(v.children)
		} else if v.list && item < 0 {
			o, c = v.step, len(v.outputs)
		}
		if o >= 0 && opener >= 0 && o != opener {
			return nil, false, errf("ambiguous_fanout", "it reads results of %s and of %s, which both returned lists",
				s.Plan.Nodes[opener].Spec.ID, s.Plan.Nodes[o].Spec.ID)
		}
		if o >= 0 {
			opener, count = o, c
		}
	}
	if opener < 0 {
		v, err := t.resultValue(r, path)
		return []Value{v}, false, err
	}
	for i := range count {
		vs, _, err := t.resultAt(r, childPath(path, int32(i)))
		if err != nil {
			return nil, false, err
		}
		values = append(values, vs...)
	}
	return values, true, nil
}

func (t *turn) resultValue(r *PlanResult, path []int32) (Value, error) {
	sc := &Scope{s: t.s, path: path, step: -1}
	if len(path) > 0 {
		for _, id := range r.Steps {
			if n, item := t.s.view(id, path); item < 0 && n.state != StepCompleted {
				return Value("null"), nil
			}
		}
	}
	if v, ok := r.Expr.Literal(); ok {
		return v, nil
	}
	if ref, ok := r.Expr.Ref(); ok {
		v, ok := sc.Resolve(ref)
		if !ok {
			return Value("null"), nil
		}
		return v, nil
	}
	return r.Expr.Eval(sc)
}

func appendJSONString(b []byte, s string) []byte {
	q, _ := json.Marshal(s)
	return append(b, q...)
}
