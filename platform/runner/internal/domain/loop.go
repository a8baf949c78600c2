package domain

import (
	"errors"
	"fmt"
)

// openLoop starts a forEach.
func (t *turn) openLoop(n *node, p *PlanStep) {
	items, computed, err := t.loopItems(n, p)
	if t.failedOrWaiting(n, n, "forEach.in", err) {
		return
	}
	t.emit(&Fact{Kind: FactForEach, Step: n.step, Path: n.path, N: int32(items.count), List: computed})
	n.items = items
	t.advanceLoop(n)
}

// loopItems gives the items, and the list itself if an expression made it.
func (t *turn) loopItems(n *node, p *PlanStep) (*itemList, Value, error) {
	e := p.ForEach.In
	list := n.listOf
	if list == nil {
		v, err := t.listOf(e, t.s.scope(n, nil))
		if err != nil {
			return nil, nil, err
		}
		list = v
	}
	items, serr := readList(list)
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

// listOf evaluates the list of a forEach. One that is only passed on may be of any size.
func (t *turn) listOf(e Expression, sc *Scope) (Value, error) {
	r, ok := e.Ref()
	if !ok {
		return t.eval(e, sc)
	}
	v, ok := sc.Resolve(r)
	if !ok {
		return Value("null"), nil
	}
	return sc.Load(v)
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
	stops := p.ForEach.OnError == "" || p.ForEach.OnError == "fail"
	for (n.failed == 0 || !stops) && n.next < total {
		if n.children[n.next] != nil || n.results.has(n.next) { // kept from an earlier run, or begun before a restart
			n.next++
			continue
		}
		if t.full() {
			t.later(n)
			return
		}
		if p.ForEach.Concurrency > 0 && n.live >= int32(p.ForEach.Concurrency) {
			return
		}
		path := childPath(n.path, n.next)
		sc := t.s.scope(n, n.items.item(int(n.next)))
		if err := t.enter(nil, n.step, path, sc); err != nil && !t.childFailed(n, path, sc, err) {
			return
		}
		if c := n.children[n.next]; c != nil {
			c.given = sc.item
		}
	}
	switch {
	case n.open == 0 && (n.failed == 0 || !stops):
		t.endStep(n, StepCompleted, "", -1, nil)
	case n.failed > 0 && stops && n.live == 0:
		t.failStep(n, t.s.firstError(n, "item"))
	}
}

// childFailed ends an item or a pass that could not be begun; false if n waits for values.
func (t *turn) childFailed(n *node, path []int32, sc *Scope, err error) bool {
	var need *NeedRefsError
	if errors.As(err, &need) {
		if err = t.wait(n, need.Refs); err == nil {
			return false
		}
	}
	n.loads = 0
	t.failAt(n.step, path, asStepError("", err), sc)
	return true
}

// firstError is the first child's error, with its place.
func (s *State) firstError(n *node, what string) *StepError {
	var first *StepError
	n.ends(func(i int32, x itemEnd) bool {
		if x.uncaught() {
			e := *x.Err
			e.Message = fmt.Sprintf("%s %d: %s", what, i, e.Message)
			first = &e
		}
		return first == nil
	})
	if first != nil {
		return first
	}
	return errf("internal", "it failed without saying why")
}

// advancePasses starts the next pass of a loop … until, or ends it.
func (t *turn) advancePasses(n *node) {
	p := &t.s.Plan.Nodes[n.step]
	if len(n.children) == 0 {
		t.startPass(n, nil)
		return
	}
	last := n.children[len(n.children)-1]
	switch {
	case !last.hasEnded():
		return
	case n.wait == WaitPass:
		if n.due <= t.now {
			t.startPass(n, last)
		}
		return
	case last.uncaught():
		t.failStep(n, t.s.firstError(n, "pass"))
		return
	case last.state == StepCancelled || last.state == StepSkipped:
		return
	}
	sc := &Scope{s: t.s, path: n.path, step: n.step, loop: loopAt(int(last.path[len(last.path)-1]), last)}
	v, err := t.eval(p.Until, sc)
	if t.failedOrWaiting(n, n, "loop.until", err) {
		return
	}
	l := p.Spec.Loop
	switch {
	case string(v) == "true":
		t.endStep(n, StepCompleted, "", -1, nil)
	case string(v) != "false":
		t.failStep(n, errf("expression_error", "loop.until: a boolean is wanted, this is %s", describe(v)))
	case len(n.children) >= l.Max:
		t.failStep(n, errf("loop_limit", "it ran %d times, its max, and %q was never true", l.Max, l.Until))
	case l.Delay > 0:
		t.await(n.step, n.path, WaitPass, t.now+l.Delay.Microseconds(), 0, "")
	default:
		t.startPass(n, last)
	}
}

func (t *turn) startPass(n, last *node) {
	if t.full() {
		t.later(n)
		return
	}
	i := len(n.children)
	path := childPath(n.path, int32(i))
	sc := &Scope{s: t.s, path: n.path, step: n.step, loop: loopAt(i, last)}
	if err := t.enter(nil, n.step, path, sc); err != nil {
		t.childFailed(n, path, sc, err)
	}
}

// loopView is what expressions see as loop.
type loopView struct {
	index int
	last  Values
}

func loopAt(index int, last *node) *loopView {
	v := &loopView{index: index, last: Values{}}
	if last != nil && len(last.outputs) > 0 {
		v.last = last.outputs[0]
	}
	return v
}

// passages tells how the passages of a split step ended together: failed if one did and
// nothing caught it, completed otherwise.
func (s *State) passages(n *node) StepState {
	if n.kind != expanded {
		if n.uncaught() || n.state == StepCancelled {
			return StepFailed
		}
		return StepCompleted
	}
	for _, c := range n.children {
		if s.passages(c) == StepFailed {
			return StepFailed
		}
	}
	return StepCompleted
}

// collected are the outputs of the passages of a step below n, in order; an empty object
// stands for one that has none.
func collected(n *node, into []Value) []Value {
	switch {
	case n.kind == expanded:
		for _, c := range n.children {
			into = collected(c, into)
		}
	case n.list:
		for _, o := range n.outputs {
			into = append(into, objectOf(o))
		}
	case len(n.outputs) > 0:
		into = append(into, objectOf(n.outputs[0]))
	default:
		into = append(into, Value("{}"))
	}
	return into
}
