package domain

import "slices"

// keep takes over what an earlier run of the workflow has finished. Steps that failed, were
// cancelled or never ran start again, and so does everything that follows them, and from and
// what follows it. A step that the plan of this run does not have, or that follows one that it
// has otherwise, is not kept.
func (t *turn) keep(old *State, from string) {
	same := old.Plan.RevisionID == t.s.Plan.RevisionID
	again := make([]bool, len(t.s.roots))
	order := slices.Clone(t.s.roots)
	slices.SortFunc(order, func(a, b *node) int {
		return len(t.s.Plan.Nodes[a.step].Ancestors) - len(t.s.Plan.Nodes[b.step].Ancestors)
	})
	for _, n := range order {
		p := &t.s.Plan.Nodes[n.step]
		i, known := old.Plan.StepIndex(p.Spec.ID)
		again[n.step] = !known || p.Spec.ID == from || p.Spec.Kind != old.Plan.Nodes[max(i, 0)].Spec.Kind ||
			slices.ContainsFunc(p.Needs, func(j int32) bool { return again[j] })
		if again[n.step] {
			continue
		}
		was := old.roots[i]
		if !finished(was) {
			again[n.step] = true
			if same && p.Spec.ID != from {
				t.keepItems(old, n.step, nil, was)
			}
			continue
		}
		t.keepNode(old, n.step, nil, was)
	}
}

// finished tells that everything of a node ended well, or was skipped for good.
func finished(n *node) bool {
	if n == nil {
		return false
	}
	if n.kind == expanded {
		return !slices.ContainsFunc(n.children, func(c *node) bool { return !finished(c) })
	}
	return n.state == StepCompleted || n.state == StepSkipped && (n.reason == ReasonIfFalse || n.reason == ReasonNotChosen || n.reason == ReasonEmptyList || n.reason == ReasonNeedSkip)
}

func (t *turn) keepNode(old *State, step int32, path []int32, was *node) {
	switch was.kind {
	case expanded:
		opener, ok := t.s.Plan.StepIndex(old.Plan.Nodes[was.opener].Spec.ID)
		if !ok {
			opener = -1
		}
		t.emit(&Fact{Kind: FactExpanded, Step: step, Path: path, N: int32(len(was.children)), Other: opener})
		for i, c := range was.children {
			t.keepNode(old, step, childPath(path, int32(i)), c)
		}
	case looping:
		t.keepItems(old, step, path, was)
		t.endAt(step, path, StepCompleted, ReasonKept, -1, nil)
	default:
		f := Fact{Kind: FactStepEnded, Step: step, Path: path, State: was.state, Reason: ReasonKept, Other: -1, Outputs: was.outputs, IsList: was.list}
		if was.state == StepSkipped {
			f.Reason = was.reason
		}
		t.emit(&f)
	}
}

// keepItems takes over the items of a forEach that ended well.
func (t *turn) keepItems(old *State, step int32, path []int32, was *node) {
	if was == nil || was.kind != looping {
		return
	}
	t.emit(&Fact{Kind: FactForEach, Step: step, Path: path, N: int32(len(was.children)), List: was.listOf})
	for i, c := range was.children {
		if c != nil && c.state == StepCompleted {
			t.keepNode(old, step, childPath(path, int32(i)), c)
		}
	}
	was.results.all(func(i int32, x itemEnd) bool {
		if x.State == StepCompleted {
			f := Fact{Kind: FactStepEnded, Step: step, Path: childPath(path, i), State: x.State, Reason: ReasonKept, Other: -1}
			if x.Outputs != nil {
				f.Outputs = []Values{x.Outputs}
			}
			t.emit(&f)
		}
		return true
	})
}
