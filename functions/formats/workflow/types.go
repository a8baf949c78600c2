package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// newScope is what the workflow's expressions may read, with the types that metadata give. self is
// a step that is seen from within: without its forEach.
func (c *checker) newScope(loose bool, self string) *expr.Scope {
	var steps []expr.Step
	for _, s := range c.w.Steps {
		gives, known := c.gives[s.ID]
		list := s.ForEach != nil && s.ID != self
		steps = append(steps, expr.Step{ID: s.ID, Outputs: gives, List: list, Mixed: list && s.ForEach.OnError == "collect", Unknown: !known && !list})
	}
	return expr.NewScope(fields(c.w.Inputs), steps, loose)
}

func fields(items []action.Item) []expr.Field {
	var out []expr.Field
	for _, i := range items {
		out = append(out, expr.Field{Name: i.Name, Type: expr.TypeOf(i.Type)})
	}
	return out
}

// conditions checks what decides how a step runs, and gives the scope of its inputs: with the
// forEach's name and the type of its elements, or with the loop.
func (c *checker) conditions(s *Step) *expr.Scope {
	scope := c.scope
	c.condition(textAt(s.node.Get("if"), s.If, place{step: s.ID}), "if", scope)
	for _, at := range textAt(s.node.Get("switch"), s.Switch, place{step: s.ID}) {
		if t, ok := c.typed(at, at.text, scope); ok && expr.Fits(t, "string") != nil && expr.Fits(t, "integer") != nil && expr.Fits(t, "boolean") != nil {
			c.add(at.node, "give something with few values: a string, an integer or a boolean", "switch compares texts, this is %s", expr.Article(expr.Word(t)))
		}
	}
	if s.Loop != nil {
		scope = scope.WithObject("pass", expr.Field{Name: "index", Type: expr.TypeOf("integer")}, expr.Field{Name: "last", Type: c.ownOutputs(s)})
		until := textAt(s.Loop.node.Get("until"), s.Loop.Until, place{step: s.ID, loop: true, again: true})
		c.condition(until, "until", scope)
	}
	if s.ForEach != nil {
		c.elements[s.ID] = c.element(s)
		scope = scope.With(s.ForEach.As, c.elements[s.ID])
	}
	if s.Wait != nil {
		p := s.given()
		p.secrets = false
		c.pauses(s.Wait, p, scope)
	}
	return scope
}

// ownOutputs is the type of a step's outputs as the step itself sees them.
func (c *checker) ownOutputs(s *Step) expr.Type {
	if _, known := c.gives[s.ID]; !known {
		return expr.TypeOf("json")
	}
	return expr.Outputs(s.ID)
}

func (c *checker) condition(spots []spot, field string, scope *expr.Scope) {
	for _, at := range spots {
		if t, ok := c.typed(at, at.text, scope); ok {
			if m := expr.Fits(t, "boolean"); m != nil {
				c.add(at.node, m.Remedy, "%s wants a condition, this is %s", field, m.Message)
			}
		}
	}
}

// element finds the type of the items of a step's forEach.
func (c *checker) element(s *Step) expr.Type {
	n := s.ForEach.node.Get("in")
	t, ok := c.typed(spot{place: place{step: s.ID}, node: n}, unwrap(s.ForEach.In), c.scope)
	if !ok {
		return expr.TypeOf("json")
	}
	element, is := expr.Element(t)
	if is {
		return element
	}
	c.add(n, "give a list, such as steps.a.items", "forEach.in wants a list, this is %s", expr.Article(expr.Word(t)))
	return expr.TypeOf("json")
}

// pauses checks the types of a wait.
func (c *checker) pauses(w *Wait, p place, scope *expr.Scope) {
	for _, at := range valueAt(w.For, p) {
		if t, ok := c.whole(at, scope); ok && expr.Fits(t, "string") != nil && expr.Fits(t, "float") != nil {
			c.add(at.node, "give a text such as 10m, or a number of seconds", "for wants a duration, this is %s", expr.Article(expr.Word(t)))
		}
	}
	for _, at := range valueAt(w.Until, p) {
		if t, ok := c.whole(at, scope); ok && expr.Fits(t, "string") != nil {
			c.add(at.node, "give a text such as 2026-12-01T09:00:00Z", "until wants a time, this is %s", expr.Article(expr.Word(t)))
		}
	}
	if w.Approval != nil {
		c.title(valueAt(w.Approval.Title, p), scope)
	}
}

func (c *checker) title(spots []spot, scope *expr.Scope) {
	for _, at := range spots {
		if t, ok := c.whole(at, scope); ok {
			if m := expr.Fits(t, "string"); m != nil {
				c.add(at.node, m.Remedy, "title wants a text, this is %s", m.Message)
			}
		}
	}
}

// kept checks the keys and questions of a step.
func (c *checker) kept(s *Step, scope *expr.Scope) {
	p := s.given()
	p.secrets = false
	if s.Approval != nil {
		c.title(valueAt(s.Approval.Title, p), scope)
	}
	var keys []spot
	if s.Cache != nil {
		keys = append(keys, valueAt(s.Cache.Key, p)...)
	}
	if s.Concurrency != nil {
		keys = append(keys, valueAt(s.Concurrency.Key, p)...)
	}
	for _, at := range keys {
		c.within(at, scope)
	}
}

// whole finds the type of a value; a text with expressions in it is a text.
func (c *checker) whole(at spot, scope *expr.Scope) (expr.Type, bool) {
	if texts, err := at.texts(); err != nil || len(texts) == 0 {
		return nil, false
	} else if whole(at.raw) {
		return c.typed(at, texts[0], scope)
	}
	c.within(at, scope)
	return shape(at.raw), true
}

// within checks the types within every expression of a value.
func (c *checker) within(at spot, scope *expr.Scope) {
	texts, err := at.texts()
	if err != nil {
		return
	}
	for _, t := range texts {
		c.typed(at, t, scope)
	}
}

// typed finds the type of an expression and tells what is wrong inside it. What names something
// that is not there was told already: ok is false then too.
func (c *checker) typed(at spot, text string, scope *expr.Scope) (t expr.Type, ok bool) {
	refs, err := expr.Refs(text)
	if err != nil {
		return nil, false
	}
	for _, ref := range refs {
		if !c.readable(at.place, ref) {
			return nil, false
		}
	}
	t, mistake := scope.Check(text)
	if mistake == nil {
		return t, true
	}
	if !strings.HasPrefix(mistake.Message, "undeclared reference") {
		c.add(at.node, mistake.Remedy, "%s: %s", strings.TrimSpace(text), mistake.Message)
	}
	return nil, false
}

// readable tells whether what a reference names is there.
func (c *checker) readable(at place, ref expr.Ref) bool {
	has := func(all []expr.Field, name, sub string) bool {
		i := slices.IndexFunc(all, func(f expr.Field) bool { return f.Name == name })
		return name == "" || i >= 0 && (sub == "" || all[i].Fields == nil || slices.Contains(names(all[i].Fields), sub))
	}
	switch ref.Root {
	case "inputs":
		return has(fields(c.w.Inputs), ref.Name, "")
	case "pass":
		gives, known := c.gives[at.step]
		return ref.Name != "last" || !known || has(gives, ref.Sub, "")
	case "error":
		return ref.Name == "" || slices.Contains(errorNames, ref.Name)
	case "steps":
		if ref.Step == "" {
			return true
		}
		if c.w.step(ref.Step) == nil {
			return false
		}
		gives, known := c.gives[ref.Step]
		return !known || c.isList(ref.Step, at) || has(gives, ref.Name, ref.Sub)
	}
	return true
}

// fits checks what is given for an input: literals as they are, an expression by its type.
func (c *checker) fits(at spot, it action.Item, scope *expr.Scope) {
	texts, err := at.texts()
	if err != nil {
		return
	}
	if len(texts) == 0 {
		if m := action.CheckValue(it, at.raw); m != "" {
			c.add(at.node, "give a "+it.Type, "%s", m)
		}
		return
	}
	if !whole(at.raw) {
		c.within(at, scope)
		if m := expr.Fits(shape(at.raw), it.Type); m != nil {
			c.add(at.node, m.Remedy, "this is %s and the input %q is %s", m.Message, it.Name, expr.Article(it.Type))
		}
		return
	}
	t, ok := c.typed(at, texts[0], scope)
	if !ok {
		return
	}
	if m := expr.Fits(t, it.Type); m != nil {
		c.add(at.node, m.Remedy, "%s is %s and the input %q is %s", strings.TrimSpace(texts[0]), m.Message, it.Name, expr.Article(it.Type))
	}
}

// whole tells whether a value is exactly one expression, whose type it then keeps.
func whole(raw json.RawMessage) bool {
	var s string
	if json.Unmarshal(raw, &s) != nil || !strings.HasPrefix(s, "${") {
		return false
	}
	texts, err := expr.Texts(raw)
	return err == nil && len(texts) == 1 && s == fmt.Sprintf("${%s}", texts[0])
}

// shape is the type of a value that has expressions somewhere inside: a text with some in it is a
// text, a list stays a list.
func shape(raw json.RawMessage) expr.Type {
	switch raw[0] {
	case '"':
		return expr.TypeOf("string")
	case '[':
		return expr.TypeOf("list")
	}
	return expr.TypeOf("json")
}
