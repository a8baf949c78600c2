package domain

import (
	"cmp"
	"slices"
)

// conclude decides how the run ends. What was done is taken back first, then the failure
// handler is started, where the workflow has them.
func (t *turn) conclude(st RunState, err *StepError, step int32) {
	handler := st == RunFailed && t.s.Plan.OnFailure != ""
	if !handler && len(t.s.undoable()) == 0 {
		t.endRun(st, nil, err, step)
		return
	}
	t.emit(&Fact{Kind: FactConcluding, Run: st, Err: err, Other: step})
	t.concluding()
}

// undoable lists the step runs that completed and can be taken back, the latest first.
func (s *State) undoable() []*node {
	var list []*node
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		if n.kind == leaf && n.state == StepCompleted && !n.kept && !n.caught && len(n.history) > 0 && s.Plan.Nodes[n.step].Undo >= 0 {
			list = append(list, n)
		}
		for _, c := range n.children {
			walk(c)
		}
	}
	for _, r := range s.roots {
		walk(r)
	}
	slices.SortStableFunc(list, func(a, b *node) int {
		return cmp.Or(cmp.Compare(b.ended, a.ended), cmp.Compare(b.step, a.step), slices.Compare(b.path, a.path))
	})
	return list
}

// takeBack starts what takes the next step run back. One that cannot be started is recorded
// as failed, and the others go on.
func (t *turn) takeBack() {
	s := t.s
	for s.undone < len(s.undos) {
		n := s.undos[s.undone]
		if n.undo != nil {
			return // under way
		}
		step := s.Plan.Nodes[n.step].Undo
		p := &s.Plan.Nodes[step]
		sc, err := s.inputScope(&node{step: step, path: n.path, item: n.item, parent: n.parent, undoes: true})
		var computed []Computed
		if err == nil {
			computed, err = t.inputs(p, sc)
		}
		if err != nil {
			t.endAt(step, n.path, StepFailed, "", -1, asStepError("", err))
			continue
		}
		t.startAttempt(nil, step, n.path, 1, computed)
		return
	}
}

// concluding goes on after the verdict.
func (t *turn) concluding() {
	s := t.s
	t.takeBack()
	if s.undone < len(s.undos) {
		return
	}
	v := s.verdict
	if v.State == RunFailed && s.Plan.OnFailure != "" && s.Handler == "" {
		if !s.handling {
			s.handling = true
			t.cmds = append(t.cmds, Command{Kind: CommandHandle})
		}
		return
	}
	t.endRun(v.State, nil, v.Err, v.Step)
}

// handled ends the run once its failure handler is durable.
func (t *turn) handled(e EventHandled) {
	if t.s.verdict == nil || t.s.Handler != "" || t.s.Status.Ended() {
		return
	}
	text := e.Run
	if e.Problem != "" {
		text = "not started: " + e.Problem
	}
	t.emit(&Fact{Kind: FactHandled, Reason: text})
}

// NotUndone lists the step runs whose undo failed.
func (s *State) NotUndone() int {
	count := 0
	for _, n := range s.undos {
		if n.undo != nil && n.undo.state == StepFailed {
			count++
		}
	}
	return count
}

// Verdict is how the run will end, or nil as long as that is open.
func (s *State) Verdict() *Verdict { return s.verdict }
