package workflow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
	"github.com/pelton-run/pelton/functions/formats/problem"
)

// Resolver finds the action that `uses` means.
type Resolver func(uses string) (action.Action, error)

// Siblings finds another workflow of the project; false: it is not known, which is no error, for
// the workflow that is meant is the one that is deployed when the step starts.
type Siblings func(name string) (Workflow, bool)

// CheckUses checks steps and triggers against the metadata of their actions, and against the
// inputs of the workflows that they start. siblings may be nil.
func (w *Workflow) CheckUses(file string, resolve Resolver, siblings Siblings) problem.List {
	if siblings == nil {
		siblings = func(string) (Workflow, bool) { return Workflow{}, false }
	}
	c := &checker{w: w, file: file, resolve: resolve, acts: map[string]action.Action{}, gives: map[string][]expr.Field{}, subs: map[string]Workflow{}, elements: map[string]expr.Type{}}
	for i := range w.Steps {
		c.find(&w.Steps[i], siblings)
	}
	c.scope, c.loose = c.newScope(false, ""), c.newScope(true, "")
	for i := range w.Steps {
		c.step(&w.Steps[i])
	}
	for _, v := range w.Result {
		at := spot{node: v.node, raw: v.JSON}
		c.there(at)
		c.shown(at)
		c.within(at, c.loose)
	}
	for _, at := range w.keys() {
		c.within(at, c.scope)
	}
	for _, t := range w.Triggers {
		c.trigger(t)
	}
	return c.list
}

// checker holds a workflow to what its steps use.
type checker struct {
	w        *Workflow
	file     string
	list     problem.List
	resolve  Resolver
	acts     map[string]action.Action
	subs     map[string]Workflow
	gives    map[string][]expr.Field // by step, its outputs; without an entry they are known at run time only
	elements map[string]expr.Type    // by step, the items of its forEach
	scope    *expr.Scope
	loose    *expr.Scope
}

func (c *checker) add(n *doc.Node, remedy, format string, args ...any) {
	c.tell(n, false, remedy, format, args...)
}

func (c *checker) tell(n *doc.Node, warning bool, remedy, format string, args ...any) {
	p := problem.Problem{File: c.file, Message: fmt.Sprintf(format, args...), Remedy: remedy, Warning: warning}
	if n != nil {
		p.Line, p.Column, p.Path = n.Line(), n.Column(), n.Path()
	}
	c.list = append(c.list, p)
}

// action finds the action of a step or of its undo.
func (c *checker) action(n *doc.Node, uses string) (action.Action, bool) {
	if uses == "" {
		return action.Action{}, false
	}
	a, err := c.resolve(uses)
	switch {
	case err != nil:
		c.add(n, "", "%s", err)
		return a, false
	case a.Kind == "Source":
		c.add(n, "use it as a trigger", "%s is a source, not a step", uses)
		return a, false
	}
	return a, true
}

// find finds what a step runs, and with that what it gives.
func (c *checker) find(s *Step, siblings Siblings) {
	switch s.Kind {
	case KindAction:
		a, ok := c.action(s.node.Get("uses"), s.Uses)
		if !ok {
			return
		}
		c.acts[s.ID] = a
		c.gives[s.ID] = fields(a.Outputs)
	case KindWorkflow:
		sub, ok := siblings(s.Workflow)
		if ok {
			c.subs[s.ID] = sub
		}
		switch {
		case s.Detach:
			c.gives[s.ID] = []expr.Field{{Name: "run", Type: expr.TypeOf("string")}}
		case ok:
			c.gives[s.ID] = []expr.Field{}
			for _, v := range sub.Result {
				c.gives[s.ID] = append(c.gives[s.ID], expr.Field{Name: v.Name, Type: expr.TypeOf("json")})
			}
		}
	default:
		c.gives[s.ID] = s.outputs(c.w)
	}
}

// outputs are what a step gives that runs nothing.
func (x *Step) outputs(w *Workflow) []expr.Field {
	text, anything := expr.TypeOf("string"), expr.TypeOf("json")
	switch {
	case x.Kind == KindSwitch:
		return []expr.Field{{Name: "case", Type: anything}} // a string, or null where default was taken
	case x.Kind == KindCollect:
		item := expr.Outputs(x.Collect)
		if s := w.step(x.Collect); s == nil || s.ForEach != nil || len(s.Catch) > 0 || s.Kind == KindWorkflow {
			item = anything
		}
		return []expr.Field{{Name: "items", Type: expr.List(item)}}
	case x.Wait == nil:
	case x.Wait.Signal != "":
		return []expr.Field{{Name: "payload", Type: anything}}
	case x.Wait.Approval != nil:
		return []expr.Field{
			{Name: "approved", Type: expr.TypeOf("boolean")}, {Name: "by", Type: text}, {Name: "comment", Type: text},
			{Name: "values", Fields: append([]expr.Field{}, fields(x.Wait.Approval.Form)...)},
		}
	}
	return []expr.Field{}
}

// step checks one step.
func (c *checker) step(s *Step) {
	scope := c.conditions(s)
	c.skipped(s)
	for _, at := range s.spots() {
		c.there(at)
		c.shown(at)
	}
	switch a, known := c.acts[s.ID]; {
	case s.Kind == KindWorkflow:
		c.sub(s, scope)
	case known:
		c.inputs(s.node, valuesAt(s.With, s.given()), a.Inputs, a.ID, scope)
		c.effects(s, a)
	}
	c.undo(s, scope)
	c.catches(s, scope)
	c.kept(s, scope)
	c.journal(s)
}

// sub checks what a sub-workflow is given.
func (c *checker) sub(s *Step, scope *expr.Scope) {
	target, known := c.subs[s.ID]
	spots := valuesAt(s.With, s.given())
	for i, at := range spots {
		j := slices.IndexFunc(target.Inputs, func(it action.Item) bool { return it.Name == s.With[i].Name })
		if j < 0 || target.Inputs[j].Type != "password" {
			at.secrets = false
			c.secrets(at, "give it to an input of the type password of workflow "+s.Workflow)
			c.shown(at)
		}
	}
	if !known {
		for _, at := range spots {
			c.within(at, scope)
		}
		return
	}
	c.inputs(s.node, spots, target.Inputs, "workflow "+s.Workflow, scope)
}

// secrets tells of secrets in a value that is kept.
func (c *checker) secrets(at spot, remedy string) {
	for _, ref := range refsOf(at) {
		i := slices.IndexFunc(c.w.Inputs, func(i action.Item) bool { return i.Name == ref.Name })
		if ref.Root == "secrets" || ref.Root == "inputs" && i >= 0 && c.w.Inputs[i].Type == "password" {
			c.add(at.node, remedy, isKept)
			return
		}
	}
}

// refsOf is what the expressions of a spot read; what is wrong with them is told elsewhere.
func refsOf(at spot) []expr.Ref {
	texts, err := at.texts()
	if err != nil {
		return nil
	}
	var out []expr.Ref
	for _, t := range texts {
		refs, err := expr.Refs(t)
		if err != nil {
			continue
		}
		out = append(out, refs...)
	}
	return out
}

// shown tells of passwords among outputs that would be kept in the history.
func (c *checker) shown(at spot) {
	if at.secrets {
		return
	}
	for _, ref := range refsOf(at) {
		i := slices.IndexFunc(c.acts[ref.Step].Outputs, func(i action.Item) bool { return i.Name == ref.Name })
		if ref.Root == "steps" && i >= 0 && c.acts[ref.Step].Outputs[i].Type == "password" {
			c.add(at.node, keptSecret, "the output %s of step %s is a password and cannot be used here: the value would be kept in the history", ref.Name, ref.Step)
		}
	}
}

// inputs checks what an action or a workflow is given.
func (c *checker) inputs(parent *doc.Node, given []spot, items []action.Item, label string, scope *expr.Scope) {
	with := parent.Get("with")
	seen := map[string]bool{}
	names, _ := with.Keys()
	for i, at := range given {
		name := names[i]
		seen[name] = true
		j := slices.IndexFunc(items, func(it action.Item) bool { return it.Name == name })
		if j < 0 {
			c.add(at.node, nearestItem(name, items), "%s has no input %q", label, name)
			continue
		}
		c.fits(at, items[j], scope)
	}
	for _, it := range items {
		if !seen[it.Name] && !it.Optional && it.Default == nil {
			n := with
			if n == nil {
				n = parent
			}
			c.add(n, fmt.Sprintf("add %s: a %s", it.Name, it.Type), "the input %q of %s is missing", it.Name, label)
		}
	}
}

// label is a step's name with what it is.
func (c *checker) label(step string) string {
	s := c.w.step(step)
	switch a, ok := c.acts[step]; {
	case ok:
		return step + " (" + a.ID + ")"
	case s != nil && s.Kind == KindWorkflow:
		return step + " (workflow " + s.Workflow + ")"
	case s != nil:
		return step + " (" + s.Kind + ")"
	}
	return step
}

// list tells whether others see a step as the list of its items.
func (c *checker) isList(step string, at place) bool {
	s := c.w.step(step)
	return s != nil && s.ForEach != nil && at.self != step
}

// there checks that the outputs that a spot names exist.
func (c *checker) there(at spot) {
	for _, ref := range refsOf(at) {
		step, name := ref.Step, ref.Name
		if ref.Root == "pass" && ref.Name == "last" {
			step, name = at.step, ref.Sub
		} else if ref.Root != "steps" || c.isList(ref.Step, at.place) {
			continue
		}
		gives, known := c.gives[step]
		if !known || name == "" {
			continue
		}
		i := slices.IndexFunc(gives, func(f expr.Field) bool { return f.Name == name })
		switch {
		case i < 0:
			c.add(at.node, nearest(name, names(gives), "its outputs are "), "step %s has no output %q", c.label(step), name)
		case ref.Root == "steps" && gives[i].Fields != nil && ref.Sub != "" && !slices.Contains(names(gives[i].Fields), ref.Sub):
			c.add(at.node, nearest(ref.Sub, names(gives[i].Fields), "it holds "), "the output %s of step %s has no %q", name, c.label(step), ref.Sub)
		}
	}
}

func names(fields []expr.Field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name)
	}
	return out
}

// trigger checks a trigger that is a source.
func (c *checker) trigger(t Trigger) {
	if builtin[t.Uses] || t.Uses == "" {
		return
	}
	a, err := c.resolve(t.Uses)
	switch {
	case err != nil:
		c.add(t.node.Get("uses"), "", "%s", err)
	case a.Kind != "Source":
		c.add(t.node.Get("uses"), "use a source, http, cron, workflow-end, platform-event or cloudevent", "%s is a %s, not a source", t.Uses, strings.ToLower(a.Kind))
	default:
		c.source(t, a)
	}
}

func (w *Workflow) step(id string) *Step {
	for i := range w.Steps {
		if w.Steps[i].ID == id {
			return &w.Steps[i]
		}
	}
	return nil
}
