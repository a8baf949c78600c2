package workflow

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// check does what needs no metadata: expressions parse, what they name exists, needs have no cycle.
func (w *Workflow) check() {
	ids := map[string]int{}
	for i, s := range w.Steps {
		ids[s.ID] = i
	}
	for i := range w.Steps {
		s := &w.Steps[i]
		for _, need := range s.Needs {
			w.known(ids, s.node, need)
		}
		if s.Collect != "" {
			w.gathers(ids, s)
		}
		for _, at := range s.spots() {
			for _, ref := range w.look(ids, at) {
				if ref.Root == "steps" && ref.Step != "" && ref.Step != s.ID {
					s.need(ref.Step)
				}
			}
		}
		w.fittingCases(s)
	}
	w.choices(ids)
	for i := range w.Steps {
		w.Steps[i].joins()
	}
	for _, v := range w.Result {
		w.look(ids, spot{node: v.node, raw: v.JSON})
	}
	for _, at := range w.keys() {
		w.look(ids, at)
	}
	for _, t := range w.Triggers {
		for _, v := range t.Inputs {
			if !slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == v.Name }) {
				v.node.Wrong(nearestItem(v.Name, w.Inputs), "the workflow has no input %q", v.Name)
			}
			w.look(ids, spot{place: place{event: true, secrets: true}, node: v.node, raw: v.JSON})
		}
	}
	w.cycles(ids)
}

// gathers makes a collect step need what it collects.
func (w *Workflow) gathers(ids map[string]int, s *Step) {
	n := s.node.Get("collect")
	if s.Collect == s.ID {
		n.Wrong("name an earlier step", "step %s refers to itself", s.ID)
		return
	}
	w.known(ids, n, s.Collect)
	s.need(s.Collect)
}

// joins checks that as many steps come before as are waited for.
func (x *Step) joins() {
	if n, err := strconv.Atoi(x.Join); err == nil && n > len(x.Needs) && n <= 1000 {
		x.node.Get("join").Wrong("give at most that many, all or any", "wants %d steps of those before, and there are %d", n, len(x.Needs))
	}
}

var plainInput = regexp.MustCompile(`^\s*inputs\.([A-Za-z_][A-Za-z0-9_]*)\s*$`)

// fittingCases checks the values of a switch over an input whose values are known.
func (w *Workflow) fittingCases(s *Step) {
	m := plainInput.FindStringSubmatch(s.Switch)
	if m == nil {
		return
	}
	i := slices.IndexFunc(w.Inputs, func(i action.Item) bool { return i.Name == m[1] })
	if i < 0 {
		return
	}
	values := w.Inputs[i].EnumValues
	if w.Inputs[i].Type == "boolean" {
		values = []string{"true", "false"}
	}
	for _, c := range s.Cases {
		if len(values) > 0 && !slices.Contains(values, c.Value) {
			remedy := "it is one of " + strings.Join(values, ", ")
			if near := doc.Nearest(c.Value, values); near != "" {
				remedy = "did you mean " + near + "?"
			}
			c.node.Wrong(remedy, "the input %s is never %q", m[1], c.Value)
		}
	}
}

// nearestItem proposes an item that may be meant.
func nearestItem(name string, items []action.Item) string {
	var names []string
	for _, i := range items {
		names = append(names, i.Name)
	}
	return nearest(name, names, "there are ")
}

func nearest(name string, names []string, otherwise string) string {
	if near := doc.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	if len(names) == 0 {
		return "there are none"
	}
	return otherwise + strings.Join(names, ", ")
}

// look checks what the expressions of a spot name, and gives it.
func (w *Workflow) look(ids map[string]int, at spot) []expr.Ref {
	texts, err := at.texts()
	if err != nil {
		at.node.Wrong("close every ${ with }, or write $${ for the characters themselves", "%s", err)
		return nil
	}
	var refs []expr.Ref
	for _, text := range texts {
		found, err := expr.Refs(text)
		if err != nil {
			at.node.Wrong("", "the expression %q is not valid: %s", text, err)
			continue
		}
		for _, ref := range found {
			w.named(ids, at, ref, found)
		}
		refs = append(refs, found...)
	}
	return refs
}

const (
	keptSecret = "pass the secret to a step's input of the type password"
	isKept     = "secrets cannot be used here: the value would be kept in the history"
)

// named checks that what an expression names is there and may be read at this place.
func (w *Workflow) named(ids map[string]int, at spot, ref expr.Ref, all []expr.Ref) {
	n := at.node
	if at.start && !slices.Contains([]string{"inputs", "trigger", "vars", "secrets"}, ref.Root) {
		n.Wrong("read inputs, trigger or vars", "%s cannot be read here: this is computed before the run starts", ref.Root)
		return
	}
	switch ref.Root {
	case "steps":
		switch {
		case ref.Step == "" || ref.Step == at.self:
		case ref.Step == at.step:
			n.Wrong("name an earlier step", "step %s refers to itself", at.step)
		default:
			w.known(ids, n, ref.Step)
		}
	case "inputs":
		i := slices.IndexFunc(w.Inputs, func(i action.Item) bool { return i.Name == ref.Name })
		if ref.Name != "" && i < 0 {
			n.Wrong(nearestItem(ref.Name, w.Inputs), "the workflow has no input %q", ref.Name)
		} else if i >= 0 && w.Inputs[i].Type == "password" && !at.secrets {
			n.Wrong(keptSecret, "the input %s is a password and cannot be used here: the value would be kept in the history", ref.Name)
		}
	case "trigger", "run", "vars":
	case "secrets":
		if !at.secrets {
			n.Wrong(keptSecret, isKept)
		}
	case "event":
		if !at.event {
			n.Wrong("use trigger", "event is for the inputs of a trigger")
		}
	case "pass", "error":
		at.special(ref, all)
	case at.item:
	default:
		w.unknown(ids, at, ref)
	}
}

var (
	passNames  = []string{"index", "last"}
	errorNames = []string{"kind", "message", "code", "details"}
)

// special checks the roots that are there in few places: pass and error.
func (s spot) special(ref expr.Ref, all []expr.Ref) {
	names := passNames
	switch {
	case ref.Root == "pass" && !s.loop:
		s.node.Wrong("give the step a loop, or leave it out", "pass is for steps with a loop")
		return
	case ref.Root == "error" && !s.failure:
		s.node.Wrong(`read errorOf("step") in a later step`, "error is for the outputs of catch")
		return
	case ref.Root == "error":
		names = errorNames
	}
	if ref.Name != "" && !slices.Contains(names, ref.Name) {
		s.node.Wrong(nearest(ref.Name, names, "there are "), "%s has no %q", ref.Root, ref.Name)
		return
	}
	if ref.Name == "last" && ref.Sub != "" && !ref.Optional && !s.again &&
		!slices.ContainsFunc(all, func(o expr.Ref) bool {
			return o.Optional && o.Root == "pass" && o.Name == "last" && (o.Sub == ref.Sub || o.Sub == "")
		}) {
		s.node.Wrong("write pass.last.?"+ref.Sub+".orValue(…)", "pass.last is empty on the first pass")
	}
}

func (w *Workflow) unknown(ids map[string]int, at spot, ref expr.Ref) {
	known := append(slices.Clone(reserved), at.item)
	remedy := "expressions know inputs, trigger, steps, run, vars and secrets"
	if near := doc.Nearest(ref.Root, known); near != "" {
		remedy = "did you mean " + near + "?"
	} else if _, ok := ids[ref.Root]; ok {
		remedy = "write steps." + ref.Root
	} else if slices.ContainsFunc(w.Inputs, func(i action.Item) bool { return i.Name == ref.Root }) {
		remedy = "write inputs." + ref.Root
	}
	at.node.Wrong(remedy, "nothing is named %q here", ref.Root)
}

func (w *Workflow) known(ids map[string]int, n *doc.Node, id string) {
	if _, ok := ids[id]; ok {
		return
	}
	var names []string
	for k := range ids {
		names = append(names, k)
	}
	slices.Sort(names)
	n.Wrong(nearest(id, names, "the steps are "), "there is no step %q", id)
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
