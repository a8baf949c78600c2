package workflow

import (
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// ambiguous are the kinds of errors after which nobody knows whether the action did its work. A
// step of the effect irreversible is not tried again after them.
var ambiguous = []string{"timeout", "lost", "crashed", "out_of_memory", "disk_full", "internal", "unavailable", "invalid_output"}

// effects checks what depends on the effect of a step, its own or its action's.
func (c *checker) effects(s *Step, a action.Action) {
	effect := s.Effect
	if effect == "" {
		effect = a.Effect
	}
	if s.Cache != nil && s.Effect == "" && !slices.Contains(harmless, effect) {
		what := "says not what it does to the world"
		if effect != "" {
			what = "is of the effect " + effect
		}
		c.add(s.Cache.node, "add effect: read to the step if running it changes nothing, or leave cache out", "%s %s: only pure and read steps are cached", a.ID, what)
	}
	if s.Undo != nil && s.Effect == "" && slices.Contains(harmless, effect) {
		c.add(s.Undo.node, "leave it out, or give the step effect: write", "%s is of the effect %s: there is nothing to take back", a.ID, effect)
	}
	c.retries(s.Retry, effect)
	if c.w.Durability == "none" && effect != "" && !slices.Contains(harmless, effect) {
		c.add(c.w.durability, "leave it out", "step %s is of the effect %s: a run without a journal could do it twice", s.ID, effect)
	}
}

// retries checks that trying again can work.
func (c *checker) retries(r *Retry, effect string) {
	const remedy = "name the kinds that the action raises before it has done anything: retry: {on: [user_error]}"
	if r == nil || effect != "irreversible" || r.Attempts < 2 {
		return
	}
	if len(r.On) == 0 {
		c.tell(r.node, true, remedy, "an irreversible step is tried again only where it is certain that nothing was done, never after %s", strings.Join(ambiguous[:4], ", "))
	}
	for _, kind := range r.On {
		if slices.Contains(ambiguous, kind) {
			c.add(r.node.Get("on"), remedy, "an irreversible step is never tried again after %s: it may have done its work", kind)
		}
	}
}

// journal checks that a run that keeps no journal does nothing that needs one.
func (c *checker) journal(s *Step) {
	if c.w.Durability != "none" {
		return
	}
	for what, is := range map[string]bool{"waits": s.Wait != nil, "asks for an approval": s.Approval != nil, "has undo": s.Undo != nil} {
		if is {
			c.add(c.w.durability, "leave it out", "step %s %s, which a run without a journal cannot", s.ID, what)
		}
	}
}

// undo checks the action that takes back what a step did.
func (c *checker) undo(s *Step, scope *expr.Scope) {
	if s.Undo == nil {
		return
	}
	a, ok := c.action(s.Undo.node.Get("uses"), s.Undo.Uses)
	if !ok {
		return
	}
	if s.ForEach != nil {
		// Each item is undone for itself, and sees its own outputs.
		scope = c.newScope(false, s.ID).With(s.ForEach.As, c.elements[s.ID])
	}
	given := slices.DeleteFunc(s.spots(), func(at spot) bool { return at.self == "" })
	c.inputs(s.Undo.node, given, a.Inputs, a.ID, scope)
	c.retries(s.Undo.Retry, a.Effect)
}

// catches checks what catch gives instead of a step's outputs.
func (c *checker) catches(s *Step, scope *expr.Scope) {
	anything := expr.TypeOf("json")
	scope = scope.WithObject("error", expr.Field{Name: "kind", Type: expr.TypeOf("string")}, expr.Field{Name: "message", Type: expr.TypeOf("string")},
		expr.Field{Name: "code", Type: expr.TypeOf("string")}, expr.Field{Name: "details", Type: anything})
	gives, known := c.gives[s.ID]
	for _, e := range s.Catch {
		p := place{step: s.ID, item: s.given().item, loop: s.Loop != nil, failure: true}
		for i, at := range valuesAt(e.Outputs, p) {
			name := e.Outputs[i].Name
			if known && !slices.Contains(names(gives), name) {
				c.add(at.node, nearest(name, names(gives), "its outputs are "), "step %s has no output %q", c.label(s.ID), name)
				continue
			}
			outputs := c.acts[s.ID].Outputs
			if j := slices.IndexFunc(outputs, func(it action.Item) bool { return it.Name == name }); j >= 0 {
				c.fits(at, outputs[j], scope)
			} else {
				c.within(at, scope)
			}
		}
	}
}
