package domain

import (
	"errors"
	"slices"
)

func (s *State) scope(n *node, item Value) *Scope {
	return &Scope{s: s, path: n.path, step: n.step, item: item}
}

func (t *turn) eval(e Expression, sc *Scope) (Value, error) {
	if v, ok := e.Literal(); ok {
		return v, nil
	}
	if r, ok := e.Ref(); ok {
		return sc.Read(r)
	}
	return e.Eval(sc)
}

// failedOrWaiting ends the node with err, or lets holder wait for values to be loaded.
func (t *turn) failedOrWaiting(n, holder *node, what string, err error) bool {
	if err == nil {
		return false
	}
	var need *NeedRefsError
	if errors.As(err, &need) {
		if err = t.wait(holder, need.Refs); err == nil {
			return true
		}
	}
	t.failStep(n, asStepError(what, err))
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

// What one expression may read from the filestore: so many values, of so many bytes at a
// time. What is over maxHeld is let go and loaded again when it is asked for.
const (
	maxLoads = 100
	maxHeld  = 32 << 20
)

// wait remembers that a node (nil = the result) goes on once values are loaded. It refuses
// one that never has enough.
func (t *turn) wait(n *node, refs []BlobRef) error {
	s := t.s
	loads := &s.endLoads
	if n != nil {
		loads = &n.loads
	}
	if *loads++; *loads > maxLoads {
		return errf("value_too_large", "an expression reads more than %d values that lie in the filestore: do this in an action", maxLoads)
	}
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
	return nil
}

func (t *turn) loaded(e EventLoaded) {
	s := t.s
	if s.loaded == nil {
		s.loaded = map[string]loaded{}
	}
	if s.held += len(e.Value); s.held > maxHeld {
		clear(s.loaded)
		clear(s.asked)
		s.held = len(e.Value)
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
			var need *NeedRefsError
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
