package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
	"github.com/pelton-run/pelton/functions/formats/problem"
)

// check does what needs no metadata: expressions parse, what they name exists, needs have no cycle.
func (w *Workflow) check(r *doc.Reader) {
	ids := map[string]int{}
	for i, s := range w.Steps {
		ids[s.ID] = i
	}
	for i := range w.Steps {
		w.checkStep(ids, &w.Steps[i])
	}
	w.chosen(ids)
	for _, v := range []*Value{w.IdempotencyKey, keyOf(w.Concurrency), rateKey(w.RateLimit)} {
		if v != nil {
			w.value(ids, *v, place{before: true})
		}
	}
	for _, v := range w.Result {
		w.value(ids, v, place{})
	}
	for _, t := range w.Triggers {
		for _, v := range t.Inputs {
			if !slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == v.Name }) {
				v.node.Wrong(nearestInput(v.Name, w.Inputs), "the workflow has no input %q", v.Name)
			}
			w.value(ids, v, place{event: true, secrets: true})
		}
	}
	w.cycles(ids)
}

func keyOf(l *Limit) *Value {
	if l == nil {
		return nil
	}
	return l.Key
}

func rateKey(r *Rate) *Value {
	if r == nil {
		return nil
	}
	return r.Key
}

// checkStep checks the expressions of a step, and notes the needs that they imply.
func (w *Workflow) checkStep(ids map[string]int, s *Step) {
	for _, need := range s.Needs {
		w.known(ids, s.node, need, s.ID)
	}
	imply := func(refs []expr.Ref) {
		for _, ref := range refs {
			if ref.Root == "steps" && ref.Step != "" && ref.Step != s.ID && !slices.Contains(s.Needs, ref.Step) {
				s.Needs = append(s.Needs, ref.Step)
			}
		}
	}
	here := place{step: s.ID, loop: s.Loop != nil}
	if s.ForEach != nil {
		here.item = s.ForEach.As
		imply(w.expression(ids, s.ForEach.node.Get("in"), s.ForEach.In, place{step: s.ID}))
	}
	if s.If != "" {
		imply(w.bare(ids, s.ifNode, s.If, place{step: s.ID, condition: true}))
	}
	if s.Kind == KindSwitch && s.Switch != "" {
		imply(w.bare(ids, s.node.Get("switch"), s.Switch, place{step: s.ID}))
	}
	if s.Kind == KindCollect && s.Collect != "" {
		w.known(ids, s.node.Get("collect"), s.Collect, s.ID)
		imply([]expr.Ref{{Root: "steps", Step: s.Collect}})
		if s.Collect == s.ID {
			s.node.Get("collect").Wrong("name an earlier step", "step %s collects itself", s.ID)
		}
	}
	if s.Loop != nil && s.Loop.Until != "" {
		imply(w.bare(ids, s.Loop.node.Get("until"), s.Loop.Until, here))
	}
	for _, v := range s.texts() {
		imply(w.value(ids, v, here))
	}
	for _, c := range s.Catch {
		if c.Outputs != nil {
			p := here
			p.failure = true
			imply(w.value(ids, *c.Outputs, p))
		}
	}
	here.secrets = true
	for _, v := range s.With {
		imply(w.value(ids, v, here))
	}
	if s.Undo != nil {
		here.self = s.ID
		for _, v := range s.Undo.With {
			imply(w.value(ids, v, here))
		}
	}
}

// texts are the values of a step that are kept in the history, where secrets have no place.
func (s *Step) texts() []Value {
	var out []Value
	add := func(v *Value) {
		if v != nil {
			out = append(out, *v)
		}
	}
	if s.Wait != nil {
		add(s.Wait.For)
		add(s.Wait.Until)
		if s.Wait.Approval != nil {
			add(s.Wait.Approval.Title)
		}
	}
	if s.Approval != nil {
		add(s.Approval.Title)
	}
	if s.Cache != nil {
		add(s.Cache.Key)
	}
	add(keyOf(s.Concurrency))
	return out
}

// chosen ties the steps that a switch lists to it.
func (w *Workflow) chosen(ids map[string]int) {
	by := map[string]string{}
	tie := func(sw *Step, where, id string) {
		i, ok := ids[id]
		if !ok {
			w.known(ids, sw.node, id, sw.ID)
			return
		}
		if other, twice := by[id]; twice {
			sw.node.Wrong("let it need both steps that lead to it, with join: any", "step %s is chosen in two places: %s and %s", id, other, where)
			return
		}
		by[id] = where
		if s := &w.Steps[i]; !slices.Contains(s.Needs, sw.ID) && s.ID != sw.ID {
			s.Needs = append(s.Needs, sw.ID)
			s.gate = sw.ID
		} else {
			s.gate = sw.ID
		}
	}
	for i := range w.Steps {
		sw := &w.Steps[i]
		for _, c := range sortedKeys(sw.Cases) {
			for _, id := range sw.Cases[c] {
				tie(sw, sw.ID+".cases."+c, id)
			}
		}
		for _, id := range sw.Default {
			tie(sw, sw.ID+".default", id)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func nearestInput(name string, items []action.Item) string {
	var names []string
	for _, i := range items {
		names = append(names, i.Name)
	}
	if near := doc.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	if len(names) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(names, ", ")
}

// place says where an expression stands, which decides what it may name.
type place struct {
	step      string
	item      string
	event     bool
	secrets   bool
	condition bool
	loop      bool   // a loop's step: pass.index and pass.last
	failure   bool   // outputs of catch: error.*
	self      string // undo: the step whose own outputs may be read
	before    bool   // keys of runs: there are no steps yet
}

func (w *Workflow) value(ids map[string]int, v Value, p place) []expr.Ref {
	texts, err := expr.Texts(v.JSON)
	if err != nil {
		v.node.Wrong("close every ${ with }, or write $${ for the characters themselves", "%s", err)
		return nil
	}
	var refs []expr.Ref
	for _, t := range texts {
		refs = append(refs, w.bare(ids, v.node, t, p)...)
	}
	return refs
}

func (w *Workflow) expression(ids map[string]int, n *doc.Node, text string, p place) []expr.Ref {
	if n == nil {
		return nil
	}
	return w.bare(ids, n, unwrap(text), p)
}

func (w *Workflow) bare(ids map[string]int, n *doc.Node, text string, p place) []expr.Ref {
	refs, err := expr.Refs(text)
	if err != nil {
		n.Wrong("", "the expression %q is not valid: %s", text, err)
		return nil
	}
	for _, ref := range refs {
		switch ref.Root {
		case "steps":
			if ref.Step == "" {
				continue
			}
			if p.before {
				n.Wrong("read inputs, trigger or vars", "steps have not run when this is read")
				continue
			}
			if ref.Step == p.step && ref.Step == p.self {
				continue
			}
			if ref.Step == p.step {
				n.Wrong("name an earlier step", "step %s refers to itself", p.step)
				continue
			}
			w.known(ids, n, ref.Step, p.step)
		case "inputs":
			if ref.Name != "" && !slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == ref.Name }) {
				n.Wrong(nearestInput(ref.Name, w.Inputs), "the workflow has no input %q", ref.Name)
			}
		case "trigger", "run", "vars":
		case "secrets":
			if !p.secrets {
				n.Wrong("pass the secret to a step's input of the type password", "secrets cannot be used here: the value would be kept in the history")
			}
		case "event":
			if !p.event {
				n.Wrong("use trigger", "event is for the inputs of a trigger")
			}
		case "pass":
			if !p.loop {
				n.Wrong("give the step a loop, or leave it out", "pass is for steps with a loop")
			} else if ref.Name != "" && ref.Name != "index" && ref.Name != "last" {
				n.Wrong("use pass.index or pass.last", "pass has no %q", ref.Name)
			}
		case "error":
			if !p.failure {
				n.Wrong(`use errorOf("step") elsewhere`, "error is for the outputs of catch")
			}
		case p.item:
		default:
			known := append(slices.Clone(reserved), p.item)
			remedy := "expressions know inputs, trigger, steps, run, vars and secrets"
			if near := doc.Nearest(ref.Root, known); near != "" {
				remedy = "did you mean " + near + "?"
			} else if _, ok := ids[ref.Root]; ok {
				remedy = "write steps." + ref.Root
			} else if slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == ref.Root }) {
				remedy = "write inputs." + ref.Root
			}
			n.Wrong(remedy, "nothing is named %q here", ref.Root)
		}
	}
	return refs
}

func (w *Workflow) known(ids map[string]int, n *doc.Node, id, _ string) {
	if _, ok := ids[id]; ok {
		return
	}
	var names []string
	for k := range ids {
		names = append(names, k)
	}
	slices.Sort(names)
	remedy := "the steps are " + strings.Join(names, ", ")
	if near := doc.Nearest(id, names); near != "" {
		remedy = "did you mean " + near + "?"
	}
	n.Wrong(remedy, "there is no step %q", id)
}

func (w *Workflow) cycles(ids map[string]int) {
	state := make([]int, len(w.Steps)) // 0 unseen, 1 under way, 2 done
	var visit func(i int, trail []string) bool
	visit = func(i int, trail []string) bool {
		if state[i] == 2 {
			return true
		}
		trail = append(trail, w.Steps[i].ID)
		if state[i] == 1 {
			w.Steps[i].node.Wrong("break the circle", "steps need each other in a circle: %s", strings.Join(trail, " -> "))
			return false
		}
		state[i] = 1
		defer func() { state[i] = 2 }()
		for _, need := range w.Steps[i].Needs {
			if j, ok := ids[need]; ok && !visit(j, trail) {
				return false
			}
		}
		return true
	}
	for i := range w.Steps {
		if !visit(i, nil) {
			return
		}
	}
}

// Resolver finds the action that `uses` means.
type Resolver func(uses string) (action.Action, error)

// CheckUses checks steps and triggers against the metadata of their actions.
func (w *Workflow) CheckUses(file string, resolve Resolver) problem.List {
	r := &problems{file: file}
	acts := map[string]action.Action{}
	for _, s := range w.Steps {
		if outputs, ok := s.outputs(); ok {
			acts[s.ID] = action.Action{ID: s.ID, Outputs: outputs}
		}
		if s.Undo != nil {
			w.checkUndo(r, s, resolve)
		}
		if s.Uses == "" {
			continue
		}
		a, err := resolve(s.Uses)
		if err != nil {
			r.add(s.node.Get("uses"), "", "%s", err)
			continue
		}
		if a.Kind == "Source" {
			r.add(s.node.Get("uses"), "use it as a trigger", "%s is a source, not a step", s.Uses)
			continue
		}
		acts[s.ID] = a
		w.checkEffect(r, s, a)
	}
	scope := w.scope(acts, false)
	for _, s := range w.Steps {
		item := w.checkConditions(r, s, scope, acts)
		w.checkSkipped(r, s)
		for _, v := range s.texts() {
			w.checkTexts(r, v, item, acts)
		}
		switch a, ok := acts[s.ID]; {
		case s.Kind == KindWorkflow:
			for _, v := range s.With {
				w.checkOutputs(r, v, acts)
				w.checkTexts(r, v, item, acts)
			}
		case ok && s.Kind == KindAction:
			w.checkWith(r, s, a, acts, item)
		}
	}
	loose := w.scope(acts, true)
	for _, v := range w.Result {
		w.checkOutputs(r, v, acts)
		w.checkTexts(r, v, loose, acts)
	}
	for _, t := range w.Triggers {
		if t.Uses == "http" || t.Uses == "cron" || t.Uses == "" {
			continue
		}
		a, err := resolve(t.Uses)
		if err != nil {
			r.add(t.node.Get("uses"), "", "%s", err)
		} else if a.Kind != "Source" {
			r.add(t.node.Get("uses"), "use a source, http or cron", "%s is a %s, not a source", t.Uses, strings.ToLower(a.Kind))
		} else {
			w.checkSource(r, t, a)
		}
	}
	return r.list
}

// checkSource checks a source's settings, which are its inputs: values, and expressions over what
// there is before any run.
func (w *Workflow) checkSource(r *problems, t Trigger, a action.Action) {
	with := t.node.Get("with")
	given := map[string]bool{}
	for _, v := range values(with) {
		given[v.Name] = true
		i := slices.IndexFunc(a.Inputs, func(i action.Item) bool { return i.Name == v.Name })
		if i < 0 {
			r.add(v.node, nearestInput(v.Name, a.Inputs), "%s has no input %q", a.ID, v.Name)
			continue
		}
		if w.checkSetting(r, v) {
			w.checkType(r, v, a.Inputs[i], nil, w.scope(nil, false))
		}
	}
	for _, it := range a.Inputs {
		if !given[it.Name] && !it.Optional && it.Default == nil {
			r.add(t.node, fmt.Sprintf("add it under with: a %s", it.Type), "the input %q of %s is missing", it.Name, a.ID)
		}
	}
}

type problems struct {
	file string
	list problem.List
}

func (r *problems) add(n *doc.Node, remedy, format string, args ...any) {
	p := problem.Problem{File: r.file, Message: fmt.Sprintf(format, args...), Remedy: remedy}
	if n != nil {
		p.Line, p.Column, p.Path = n.Line(), n.Column(), n.Path()
	}
	r.list = append(r.list, p)
}

func (w *Workflow) checkWith(r *problems, s Step, a action.Action, acts map[string]action.Action, scope *expr.Scope) {
	given := map[string]bool{}
	for _, v := range s.With {
		given[v.Name] = true
		i := slices.IndexFunc(a.Inputs, func(i action.Item) bool { return i.Name == v.Name })
		if i < 0 {
			r.add(v.node, nearestInput(v.Name, a.Inputs), "%s has no input %q", a.ID, v.Name)
			continue
		}
		w.checkOutputs(r, v, acts)
		w.checkType(r, v, a.Inputs[i], acts, scope)
	}
	for _, it := range a.Inputs {
		if !given[it.Name] && !it.Optional && it.Default == nil {
			n := s.node.Get("with")
			if n == nil {
				n = s.node
			}
			r.add(n, fmt.Sprintf("add %s: a %s", it.Name, it.Type), "the input %q of %s is missing", it.Name, a.ID)
		}
	}
}

// checkOutputs checks that the outputs that a value names exist.
func (w *Workflow) checkOutputs(r *problems, v Value, acts map[string]action.Action) {
	texts, err := expr.Texts(v.JSON)
	if err != nil {
		return
	}
	for _, t := range texts {
		refs, err := expr.Refs(t)
		if err != nil {
			continue
		}
		for _, ref := range refs {
			a, ok := acts[ref.Step]
			if ref.Root != "steps" || !ok || ref.Name == "" || w.loops(ref.Step) {
				continue
			}
			if !slices.ContainsFunc(a.Outputs, func(i action.Item) bool { return i.Name == ref.Name }) {
				var names []string
				for _, o := range a.Outputs {
					names = append(names, o.Name)
				}
				remedy := "its outputs are " + strings.Join(names, ", ")
				if near := doc.Nearest(ref.Name, names); near != "" {
					remedy = "did you mean " + near + "?"
				}
				r.add(v.node, remedy, "step %s (%s) has no output %q", ref.Step, a.ID, ref.Name)
				continue
			}
		}
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

func (w *Workflow) loops(id string) bool { s := w.step(id); return s != nil && s.ForEach != nil }
