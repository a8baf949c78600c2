package domain

import "time"

// Handle lets one event happen: the state moves on, and what it returns must be made
// durable (Row) before it is acted upon (Commands). jitter is a random number in [0,1);
// what it decides is recorded.
func (s *State) Handle(ev Event, now time.Time, jitter float64) (Transition, error) {
	t := turn{s: s, now: now.UnixMicro(), jitter: jitter}
	s.freed = s.freed[:0]
	switch e := ev.(type) {
	case EventStarted:
		t.started(e)
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
	default:
		t.order(ev)
	}
	t.settle()
	for _, n := range s.freed {
		t.cmds = append(t.cmds, Command{Kind: CommandRelease, node: n})
	}
	return Transition{Row: t.row, Commands: t.cmds, Due: t.due, Waits: t.waits}, t.err
}

// order handles what comes from people and from the limits and caches around the run.
func (t *turn) order(ev Event) {
	switch e := ev.(type) {
	case EventAdmitted:
		t.admitted()
	case EventRefused:
		if t.s.Status == RunQueued {
			t.endRun(RunCancelled, nil, errf("skipped", "%s", e.Reason), -1)
		}
	case EventGranted:
		t.granted(e)
	case EventLookedUp:
		t.lookedUp(e)
	case EventSignal:
		t.signal(e)
	case EventDecision:
		t.decision(e)
	case EventPause:
		t.pause(e.Reason)
	case EventUnpause:
		t.unpause()
	case EventHandled:
		t.handled(e)
	}
}

// turn is the handling of one event.
type turn struct {
	s      *State
	now    int64
	jitter float64
	row    []byte
	cmds   []Command
	queue  []*node
	waits  []WaitChange
	due    int64
	err    error
}

func (t *turn) emit(f *Fact) {
	f.At = t.now
	t.noteWait(f)
	if err := t.s.apply(f); err != nil && t.err == nil {
		t.err = err
	}
	t.row = appendFact(t.row, f)
}

// noteWait tells of what begins and what ends to wait for somebody outside.
func (t *turn) noteWait(f *Fact) {
	switch f.Kind {
	case FactWaitStarted:
		if f.Wait.outside() {
			t.waits = append(t.waits, WaitChange{Step: f.Step, Path: f.Path, Wait: f.Wait, Text: f.Reason, Due: f.Due, Since: t.now})
		}
	case FactStepEnded, FactApproved:
		if n := t.s.find(f.Step, f.Path); n != nil && n.wait.outside() {
			t.waits = append(t.waits, WaitChange{Step: f.Step, Path: f.Path, Wait: n.wait, Text: n.text, Over: true})
		}
	}
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
	if t.s.Status != RunRunning || t.s.Paused || n.hasEnded() {
		return
	}
	switch {
	case n.kind == looping:
		t.advanceLoop(n)
	case n.kind == repeating:
		t.advancePasses(n)
	case n.between():
		t.begin(n)
	}
	if n.kind != undecided {
		return
	}
	p := &t.s.Plan.Nodes[n.step]
	opener, count := int32(-1), 0
	for _, need := range p.Needs {
		v, item := t.s.view(need, n.path)
		if need == p.Collect {
			if !v.hasEnded() {
				return
			}
			continue
		}
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
	t.failStep(n, errf("ambiguous_fanout",
		"%s needs results of %s and of %s, which both returned lists: it is not clear which items belong together. Let one of them need the other, or use forEach",
		p.Nodes[n.step].Spec.ID, p.Nodes[a].Spec.ID, p.Nodes[b].Spec.ID))
}

// wake queues the steps that may go on now that n is decided.
func (t *turn) wake(n *node) {
	if n.undoes {
		return
	}
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
	t.endAt(n.step, n.path, st, reason, other, err)
}

// endAt ends a step run that may have no node yet.
func (t *turn) endAt(step int32, path []int32, st StepState, reason string, other int32, err *StepError) {
	t.emit(&Fact{Kind: FactStepEnded, Step: step, Path: path, State: st, Reason: reason, Other: other, Err: err})
	t.wakeAt(step, path)
}

// wakeAt queues what may go on now that the step run at a place is decided. It may be an item of which
// only its end is kept.
func (t *turn) wakeAt(step int32, path []int32) {
	if n := t.s.find(step, path); n != nil {
		t.wake(n)
		return
	}
	if last := len(path) - 1; last >= 0 {
		if p := t.s.find(step, path[:last]); p != nil && p.results.has(path[last]) {
			t.queue = append(t.queue, p)
		}
	}
}

// decide starts, skips or fails a step whose needs have ended.
func (t *turn) decide(n *node) {
	p := &t.s.Plan.Nodes[n.step]
	if g := p.Gate; g != nil && t.notChosen(n, g) {
		t.endStep(n, StepSkipped, ReasonNotChosen, g.Switch, nil)
		return
	}
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
			t.failStep(n, errf("expression_error", "if: a boolean is wanted, this is %s", describe(v)))
			return
		}
	}
	switch {
	case p.ForEach != nil:
		t.openLoop(n, p)
	case p.Until != nil:
		t.emit(&Fact{Kind: FactRepeating, Step: n.step, Path: n.path})
		t.advancePasses(n)
	default:
		t.begin(n)
	}
}

// blocked tells why a step must be skipped for what became of its needs.
func (t *turn) blocked(n *node, p *PlanStep) (reason string, other int32) {
	completed := 0
	failed, skipped := int32(-1), int32(-1)
	for _, need := range p.Needs {
		v, _ := t.s.view(need, n.path)
		state := v.state
		if need == p.Collect && v.kind == expanded {
			state = t.s.passages(v)
		}
		switch {
		case state == StepCompleted, state == StepFailed && v.caught:
			completed++
		case state == StepFailed, state == StepCancelled:
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

func (t *turn) startAttempt(n *node, step int32, path []int32, attempt int32, computed []Computed) {
	p := &t.s.Plan.Nodes[step]
	due := t.now + p.Timeout.Microseconds()
	if n != nil {
		if limit := t.s.stepDue(n); limit > 0 {
			due = min(due, limit)
		}
	} else if p.Spec.StepTimeout > 0 {
		due = min(due, t.now+p.Spec.StepTimeout.Microseconds())
	}
	t.emit(&Fact{Kind: FactAttemptStarted, Step: step, Path: path, Attempt: attempt, Due: due, Computed: computed})
	t.noteDue(due)
	t.cmds = append(t.cmds, Command{Kind: CommandStart, Attempt: attempt, node: t.s.find(step, path)})
}

// again starts the next attempt, or leaves it to the end of a pause.
func (t *turn) again(n *node) {
	if t.s.Paused {
		t.emit(&Fact{Kind: FactRetry, Step: n.step, Path: n.path, Attempt: n.attempt + 1, Due: t.now})
		return
	}
	t.startAttempt(n, n.step, n.path, n.attempt+1, nil)
}

// stepDue is when the whole step run must have ended, 0 = never.
func (s *State) stepDue(n *node) int64 {
	d := s.Plan.Nodes[n.step].Spec.StepTimeout
	if d == 0 || n.started == 0 {
		return 0
	}
	return n.started + d.Microseconds()
}
