package domain

import "fmt"

// maxItems bounds what a damaged row can make the replay allocate.
const maxItems = 1 << 24

func childPath(p []int32, i int32) []int32 {
	c := make([]int32, len(p)+1)
	copy(c, p)
	c[len(p)] = i
	return c
}

// apply changes the state by one fact. It decides nothing.
func (s *State) apply(f *Fact) error {
	if s.applyRun(f) {
		return nil
	}
	n := s.find(f.Step, f.Path)
	if n == nil {
		n = s.undoNode(f)
	}
	if n == nil && len(f.Path) > 0 {
		n = s.item(f)
	}
	if n == nil {
		return fmt.Errorf("fact of kind %d names step %d at %v, which does not exist", f.Kind, f.Step, f.Path)
	}
	if f.N < 0 || f.N > maxItems {
		return fmt.Errorf("fact of kind %d counts %d items", f.Kind, f.N)
	}
	switch f.Kind {
	case FactExpanded:
		s.applyExpanded(n, f)
	case FactForEach:
		n.kind, n.state, n.started = looping, StepRunning, f.At
		s.nodes += int(f.N)
		n.children = make([]*node, f.N)
		n.open, n.listOf = f.N, f.List
	case FactAttemptStarted:
		s.applyAttemptStarted(n, f)
	case FactAttemptEnded:
		s.applyAttemptEnded(n, f)
	case FactRetry:
		n.state, n.wait, n.due = StepWaiting, WaitRetry, f.Due
		s.activate(n)
	case FactRepeating:
		n.kind, n.state, n.started = repeating, StepRunning, f.At
	case FactWaitStarted:
		s.applyWait(n, f)
	case FactApproved:
		n.approved, n.wait, n.state, n.due, n.reminder = true, WaitNone, StepPending, 0, 0
		n.reason = f.Reason
	case FactReminded:
		n.reminder = f.Due
	case FactStepEnded:
		s.applyStepEnded(n, f)
	}
	return nil
}

// applyRun applies a fact that is about the run as a whole; false if it is about a step.
func (s *State) applyRun(f *Fact) bool {
	switch f.Kind {
	case FactRunStarted:
		s.Inputs, s.Vars, s.Event = f.Inputs, f.Vars, f.Event
		s.Started, s.Status = f.At, RunRunning
	case FactRunQueued:
		s.Status, s.Reason = RunQueued, f.Reason
	case FactRunAdmitted:
		s.Status, s.Started, s.Reason = RunRunning, f.At, ""
	case FactPaused:
		s.Paused, s.Reason = true, f.Reason
	case FactResumed:
		s.Paused, s.Reason = false, ""
	case FactSignal:
		s.signals = append(s.signals, signal{f.Reason, f.Event})
	case FactCancelling:
		s.Status, s.Cause, s.Reason, s.Paused = RunCancelling, f.Command, f.Reason, false
	case FactConcluding:
		s.verdict = &Verdict{f.Run, f.Err, f.Other}
		if s.undos = s.undoable(); len(s.undos) > 0 {
			s.Status = RunUndoing
		}
	case FactHandled:
		s.Handler = f.Reason
	case FactRunEnded:
		s.Status, s.Result, s.Err, s.ErrStep, s.Finished = f.Run, f.Result, f.Err, f.Other, f.At
		s.Paused = false
	default:
		return false
	}
	return true
}

func (s *State) applyWait(n *node, f *Fact) {
	if n.kind == undecided {
		n.kind = leaf
	}
	n.wait, n.due, n.reminder, n.text, n.state = f.Wait, f.Due, f.Reminder, f.Reason, StepWaiting
	switch f.Wait {
	case WaitSlot:
		n.state, n.slotKey = StepQueued, f.Reason
	case WaitCache:
		n.cacheKey = f.Reason
	}
	n.granted, n.missed = false, n.missed && f.Wait == WaitSlot
	if n.started == 0 {
		n.started = f.At
	}
	s.activate(n)
}

func (s *State) applyStepEnded(n *node, f *Fact) {
	n.reason, n.other, n.err, n.caught = f.Reason, f.Other, f.Err, f.Caught
	n.kept = f.Reason == ReasonKept
	if n.kind == undecided {
		n.kind = leaf
	}
	if n.wait == WaitSignal && f.State == StepCompleted {
		for i := range s.signals {
			if s.signals[i].name == n.text {
				s.signals = append(s.signals[:i:i], s.signals[i+1:]...)
				break
			}
		}
	}
	switch {
	case f.State == StepCompleted && n.kind == repeating && len(n.children) > 0:
		last := n.children[len(n.children)-1]
		n.outputs, n.list = last.outputs, last.list
	case f.State == StepCompleted && n.kind == leaf:
		n.outputs, n.list = f.Outputs, f.IsList
	}
	s.end(n, f.State, f.At)
}

// item makes the node of a forEach's item or of a loop's pass at its first fact.
func (s *State) item(f *Fact) *node {
	last := len(f.Path) - 1
	p := s.find(f.Step, f.Path[:last])
	i := f.Path[last]
	switch {
	case p == nil || i < 0:
		return nil
	case p.kind == looping && int(i) < len(p.children) && !p.results.has(i):
	case p.kind == repeating && int(i) == len(p.children):
		p.children = append(p.children, nil)
		p.wait, p.due, p.state = WaitNone, 0, StepRunning
		p.open++
		s.nodes++
		s.deactivate(p)
	default:
		return nil
	}
	n := &node{step: f.Step, opener: -1, other: -1, state: StepPending, item: true, path: childPath(p.path, i), parent: p}
	p.children[i] = n
	p.live++
	return n
}

// undoNode makes the node that takes back what n did, at its first fact.
func (s *State) undoNode(f *Fact) *node {
	if int(f.Step) >= len(s.Plan.Nodes) || f.Step < 0 || s.Plan.Nodes[f.Step].Undoes < 0 {
		return nil
	}
	n := s.find(s.Plan.Nodes[f.Step].Undoes, f.Path)
	if n == nil {
		return nil
	}
	n.undo = newUndo(f.Step, n)
	s.nodes++
	return n.undo
}

// newUndo is the place of what takes n back.
func newUndo(step int32, n *node) *node {
	return &node{step: step, opener: -1, other: -1, state: StepPending, kind: leaf, undoes: true, path: n.path, item: n.item, parent: n.parent}
}

func (s *State) applyExpanded(n *node, f *Fact) {
	n.kind, n.opener, n.started = expanded, f.Other, f.At
	s.nodes += int(f.N)
	n.children = make([]*node, f.N)
	block := make([]node, f.N)
	for i := range block {
		block[i] = node{step: n.step, opener: -1, other: -1, state: StepPending, path: childPath(n.path, int32(i)), parent: n}
		n.children[i] = &block[i]
	}
	n.open = f.N
	if f.N == 0 {
		n.state, n.reason, n.other = StepSkipped, ReasonEmptyList, f.Other
		n.ended = f.At
		s.childEnded(n.parent)
	}
}

func (s *State) applyAttemptStarted(n *node, f *Fact) {
	n.kind, n.state, n.attempt, n.due = leaf, StepRunning, f.Attempt, f.Due
	n.inFlight, n.timedOut = true, false
	n.holds = n.holds || n.wait == WaitSlot
	n.wait, n.text, n.reminder = WaitNone, "", 0
	if f.Attempt == 1 {
		n.computed = f.Computed
		if n.started == 0 {
			n.started = f.At
		}
	}
	n.history = append(n.history, AttemptView{Number: f.Attempt, State: AttemptStarted, Started: f.At, Deadline: f.Due})
	s.activate(n)
}

func (s *State) applyAttemptEnded(n *node, f *Fact) {
	n.inFlight, n.unknown = false, 0
	s.cpuMicros += f.Usage.CPUMicros
	s.byteMicros += float64(f.Usage.MaxRSS) * float64(f.Usage.WallMicros)
	s.deactivate(n)
	if i := len(n.history) - 1; i >= 0 {
		a := &n.history[i]
		a.State = f.Outcome.AttemptState()
		a.Ended, a.Instance, a.Phases, a.Err, a.Usage = f.At, f.Instance, f.Phases, f.Err, f.Usage
	}
	switch f.Outcome {
	case OutcomeCompleted:
		n.outputs, n.list, n.err = f.Outputs, f.IsList, nil
		s.end(n, StepCompleted, f.At)
	case OutcomeLost:
		n.lost++
		n.err = f.Err
	default:
		n.err = f.Err
	}
}

func (o Outcome) AttemptState() AttemptState {
	switch o {
	case OutcomeCompleted:
		return AttemptCompleted
	case OutcomeCancelled:
		return AttemptCancelled
	case OutcomeLost:
		return AttemptLost
	default:
		return AttemptFailed
	}
}

// end gives a node its final state.
func (s *State) end(n *node, st StepState, at int64) {
	claims := n.holds || n.wait == WaitSlot
	n.state, n.ended, n.wait, n.reminder = st, at, WaitNone, 0
	if n.started == 0 && st != StepSkipped && st != StepCancelled {
		n.started = at
	}
	s.deactivate(n)
	if claims {
		n.holds = false
		s.freed = append(s.freed, n)
	}
	if n.undoes {
		s.undone++
		return
	}
	if n.item {
		n.parent.live--
	}
	if st == StepFailed && !n.caught {
		if s.firstFail == nil && !n.item {
			s.firstFail = n
		}
		if n.parent != nil {
			n.parent.failed++
		}
	}
	s.childEnded(n.parent)
	s.condense(n)
}

// childEnded counts down towards the root; nil is the run itself.
func (s *State) childEnded(p *node) {
	if p == nil {
		s.open--
		return
	}
	p.open--
	if p.kind == expanded && p.open == 0 {
		s.childEnded(p.parent)
	}
}

func (s *State) activate(n *node) {
	if n.active == 0 {
		s.active = append(s.active, n)
		n.active = int32(len(s.active))
	}
}

func (s *State) deactivate(n *node) {
	if n.active == 0 {
		return
	}
	i, last := n.active-1, len(s.active)-1
	s.active[i] = s.active[last]
	s.active[i].active = i + 1
	s.active[last] = nil
	s.active = s.active[:last]
	n.active = 0
}
