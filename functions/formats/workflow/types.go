package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// scope is what the workflow's expressions may read, with the types that metadata give.
func (w *Workflow) scope(acts map[string]action.Action, loose bool) *expr.Scope {
	var steps []expr.Step
	for _, s := range w.Steps {
		a, known := acts[s.ID]
		steps = append(steps, expr.Step{ID: s.ID, Outputs: fields(a.Outputs), List: s.ForEach != nil,
			Unknown: !known || s.ForEach != nil && s.ForEach.OnError == "collect"})
	}
	return expr.NewScope(fields(w.Inputs), steps, loose)
}

func fields(items []action.Item) []expr.Field {
	var out []expr.Field
	for _, i := range items {
		out = append(out, expr.Field{Name: i.Name, Type: expr.TypeOf(i.Type)})
	}
	return out
}

// checkConditions checks a step's `if` and `forEach`, and gives the scope of its inputs: with the
// forEach's name and the type of its elements.
func (w *Workflow) checkConditions(r *problems, s Step, scope *expr.Scope, acts map[string]action.Action) *expr.Scope {
	if s.If != "" {
		w.checkBoolean(r, s.ifNode, s.If, "if", scope, acts)
	}
	if s.Loop != nil {
		scope = scope.With("pass", expr.TypeOf("json"))
		w.checkBoolean(r, s.Loop.node.Get("until"), s.Loop.Until, "loop.until", scope, acts)
	}
	if s.Kind == KindSwitch {
		w.typed(r, s.node.Get("switch"), s.Switch, scope, acts)
	}
	if s.ForEach == nil {
		return scope
	}
	n := s.ForEach.node.Get("in")
	t, ok := w.typed(r, n, unwrap(s.ForEach.In), scope, acts)
	if !ok {
		return scope.With(s.ForEach.As, expr.TypeOf("json"))
	}
	element, ok := expr.Element(t)
	if !ok {
		r.add(n, "give a list, such as steps.a.items", "forEach.in wants a list, this is %s", expr.Article(expr.Word(t)))
		element = expr.TypeOf("json")
	}
	return scope.With(s.ForEach.As, element)
}

func (w *Workflow) checkBoolean(r *problems, n *doc.Node, text, what string, scope *expr.Scope, acts map[string]action.Action) {
	t, ok := w.typed(r, n, unwrap(text), scope, acts)
	if !ok {
		return
	}
	if m := expr.Fits(t, "boolean"); m != nil {
		r.add(n, m.Remedy, "%s wants a condition, this is %s", what, m.Message)
	}
}

// outputs are what a step gives that runs no action; a sub-workflow's are known when it is
// deployed.
func (s *Step) outputs() ([]action.Item, bool) {
	item := func(name, kind string) action.Item { return action.Item{Name: name, Type: kind} }
	switch {
	case s.Kind == KindSwitch:
		return []action.Item{item("case", "string")}, true
	case s.Kind == KindCollect:
		return []action.Item{item("items", "list")}, true
	case s.Kind == KindWait && s.Wait != nil && s.Wait.Signal != "":
		return []action.Item{item("payload", "json")}, true
	case s.Kind == KindWait && s.Wait != nil && s.Wait.Approval != nil:
		return []action.Item{item("approved", "boolean"), item("by", "string"), item("comment", "string"), item("values", "json")}, true
	case s.Kind == KindWait:
		return nil, true
	}
	return nil, false
}

// checkEffect checks what a step may do with an action of that effect.
func (w *Workflow) checkEffect(r *problems, s Step, a action.Action) {
	effect := s.Effect
	if effect == "" {
		effect = a.Effect
	}
	if s.Cache != nil && effect != "pure" && effect != "read" {
		remedy := "write effect: pure or effect: read if that is what it is"
		if effect != "" {
			remedy = "leave the cache out"
		}
		r.add(s.node.Get("cache"), remedy, "only steps with the effect pure or read are cached, this one's is %q", effect)
	}
	if w.Durability == "none" && (effect == "write" || effect == "irreversible") {
		r.add(s.node, "use durability: strict", "durability: none is for pure and reading steps, and %s has the effect %s", s.ID, effect)
	}
}

// checkUndo checks the action that takes a step back.
func (w *Workflow) checkUndo(r *problems, s Step, resolve Resolver) {
	u := s.Undo
	if u.Uses == "" {
		return
	}
	a, err := resolve(u.Uses)
	if err != nil {
		r.add(u.node.Get("uses"), "", "%s", err)
		return
	}
	if a.Kind == "Source" {
		r.add(u.node.Get("uses"), "name an action", "%s is a source", u.Uses)
		return
	}
	given := map[string]bool{}
	for _, v := range u.With {
		given[v.Name] = true
		if !slices.ContainsFunc(a.Inputs, func(i action.Item) bool { return i.Name == v.Name }) {
			r.add(v.node, nearestInput(v.Name, a.Inputs), "%s has no input %q", a.ID, v.Name)
		}
	}
	for _, it := range a.Inputs {
		if !given[it.Name] && !it.Optional && it.Default == nil {
			r.add(u.node, fmt.Sprintf("add it under with: a %s", it.Type), "the input %q of %s is missing", it.Name, a.ID)
		}
	}
}

// checkTexts checks the types within every expression of a value.
func (w *Workflow) checkTexts(r *problems, v Value, scope *expr.Scope, acts map[string]action.Action) {
	texts, err := expr.Texts(v.JSON)
	if err != nil {
		return
	}
	for _, t := range texts {
		w.typed(r, v.node, t, scope, acts)
	}
}

// typed finds the type of an expression and tells what is wrong inside it. What names something
// that is not there was told already: ok is false then too.
func (w *Workflow) typed(r *problems, n *doc.Node, text string, scope *expr.Scope, acts map[string]action.Action) (t expr.Type, ok bool) {
	refs, err := expr.Refs(text)
	if err != nil {
		return nil, false
	}
	for _, ref := range refs {
		if !w.readable(ref, acts) {
			return nil, false
		}
	}
	t, mistake := scope.Check(text)
	if mistake == nil {
		return t, true
	}
	if !strings.HasPrefix(mistake.Message, "undeclared reference") {
		r.add(n, mistake.Remedy, "%s: %s", strings.TrimSpace(text), mistake.Message)
	}
	return nil, false
}

// readable tells whether what a reference names is there.
func (w *Workflow) readable(ref expr.Ref, acts map[string]action.Action) bool {
	has := func(items []action.Item) bool {
		return ref.Name == "" || slices.ContainsFunc(items, func(i action.Item) bool { return i.Name == ref.Name })
	}
	switch ref.Root {
	case "inputs":
		return has(w.Inputs)
	case "steps":
		if ref.Step == "" {
			return true
		}
		if w.step(ref.Step) == nil {
			return false
		}
		a, known := acts[ref.Step]
		return !known || w.loops(ref.Step) || has(a.Outputs)
	}
	return true
}

// checkType checks what is given for an input: literals as they are, an expression by its type.
func (w *Workflow) checkType(r *problems, v Value, it action.Item, acts map[string]action.Action, scope *expr.Scope) {
	texts, err := expr.Texts(v.JSON)
	if err != nil {
		return
	}
	if len(texts) == 0 {
		if m := action.CheckValue(it, v.JSON); m != "" {
			r.add(v.node, "give a "+it.Type, "%s", m)
		}
		return
	}
	if !whole(v.JSON) {
		w.checkTexts(r, v, scope, acts)
		if m := expr.Fits(shape(v.JSON), it.Type); m != nil {
			r.add(v.node, m.Remedy, "this is %s and the input %q is %s", m.Message, it.Name, expr.Article(it.Type))
		}
		return
	}
	t, ok := w.typed(r, v.node, texts[0], scope, acts)
	if !ok {
		return
	}
	if m := expr.Fits(t, it.Type); m != nil {
		r.add(v.node, m.Remedy, "%s is %s and the input %q is %s", strings.TrimSpace(texts[0]), m.Message, it.Name, expr.Article(it.Type))
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
