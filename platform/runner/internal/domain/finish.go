package domain

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

func (t *turn) cancel(cause, reason string) {
	if (t.s.Status != RunRunning && t.s.Status != RunQueued) || t.s.verdict != nil {
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

// started is the first event of a run.
func (t *turn) started(e EventStarted) {
	t.emit(&Fact{Kind: FactRunStarted, Inputs: e.Inputs, Vars: e.Vars, Event: e.Event})
	if e.Keep != nil {
		t.keep(e.Keep, e.From)
	}
	if e.Queued {
		t.emit(&Fact{Kind: FactRunQueued})
		t.cmds = append(t.cmds, Command{Kind: CommandAdmit})
		return
	}
	t.noteDue(t.s.runDue())
	t.takeUp()
}

// resume gives the orders again that were lost with the process.
func (t *turn) resume() {
	s := t.s
	switch {
	case s.Status.Ended():
		t.cmds = append(t.cmds, Command{Kind: CommandEnded})
		return
	case s.Status == RunQueued:
		t.cmds = append(t.cmds, Command{Kind: CommandAdmit})
		return
	}
	for _, n := range s.active {
		t.noteDue(n.due)
		t.noteDue(n.reminder)
		t.noteDue(s.stepDue(n))
		switch {
		case n.inFlight:
			t.cmds = append(t.cmds, Command{Kind: CommandAttach, Attempt: n.attempt, node: n})
		case !n.wait.person() && !s.Paused:
			t.ask(n)
		}
	}
	if s.Status == RunCancelling {
		t.stopAll()
		return
	}
	if s.verdict == nil {
		t.noteDue(s.runDue())
		t.takeUp()
	}
}

// takeUp queues every node that may be able to go on.
func (t *turn) takeUp() {
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil || n.hasEnded() && n.kind != expanded {
			return
		}
		if n.kind != expanded {
			t.queue = append(t.queue, n)
		}
		for _, c := range n.children {
			walk(c)
		}
	}
	for _, r := range t.s.roots {
		walk(r)
	}
}

// checkEnd ends the run when nothing is left to do.
func (t *turn) checkEnd() {
	s := t.s
	if s.verdict != nil {
		if !s.Status.Ended() {
			t.concluding()
		}
		return
	}
	switch s.Status {
	case RunRunning:
		if s.open > 0 || s.waitEnd || s.Paused {
			return
		}
		t.finish()
	case RunCancelling:
		if len(s.active) > 0 {
			return
		}
		if s.Cause == CauseTimeout {
			t.conclude(RunFailed, errf("timeout", "the run took longer than its timeout of %s", time.Duration(s.runDue()-s.Started)*time.Microsecond), -1)
			return
		}
		reason := s.Reason
		if reason == "" {
			reason = "cancelled"
		}
		t.conclude(RunCancelled, errf("cancelled", "%s", reason), -1)
	}
}

func (t *turn) finish() {
	s := t.s
	if f := s.firstFail; f != nil {
		t.conclude(RunFailed, f.err, f.step)
		return
	}
	result := Values{}
	for i := range s.Plan.Results {
		r := &s.Plan.Results[i]
		v, err := t.result(r, nil)
		if err != nil {
			var need *NeedRefsError
			if errors.As(err, &need) {
				if err = t.wait(nil, need.Refs); err == nil {
					return
				}
			}
			t.conclude(RunFailed, asStepError("result."+r.Name, err), -1)
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
