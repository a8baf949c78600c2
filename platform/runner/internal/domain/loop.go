package domain

import (
	"errors"
	"fmt"
	"slices"
)

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
		if t.full() {
			t.later(n)
			return
		}
		running := n.next - (total - n.open)
		if p.ForEach.Concurrency > 0 && running >= int32(p.ForEach.Concurrency) {
			return
		}
		i := n.next
		path := childPath(n.path, i)
		sc := t.s.scope(n, n.items[i])
		computed, err := t.inputs(p, sc)
		if err != nil {
			var need *NeedRefsError
			if errors.As(err, &need) {
				if err = t.wait(n, need.Refs); err == nil {
					return
				}
			}
			t.emit(&Fact{Kind: FactStepEnded, Step: n.step, Path: path, State: StepFailed, Other: -1, Err: asStepError("", err)})
			break
		}
		n.loads = 0
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
