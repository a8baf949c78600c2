package workflow

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// tolerantCall is what a condition calls to run although a need did not complete.
var tolerantCall = regexp.MustCompile(`\b(always|failed|skipped)\s*\(`)

// tolerant tells whether a step runs although a need of it was skipped.
func (s Step) tolerant() bool {
	return tolerantCall.MatchString(s.If) || s.Join != "" && s.Join != "all" && len(s.Needs) > 1
}

// mayMiss tells whether a step may fail, be caught and then have no outputs: what needs it runs
// all the same.
func (w *Workflow) mayMiss(id string) bool {
	s := w.step(id)
	return s != nil && slices.ContainsFunc(s.Catch, func(c Catch) bool { return c.Outputs == nil })
}

// maySkip tells whether a step may end as skipped while the run goes on: it has a condition of its
// own, or needs a step that may be skipped and does not run nevertheless. A failed need is another
// matter: then the run fails.
func (w *Workflow) maySkip(id string, seen []string) bool {
	s := w.step(id)
	if s == nil || slices.Contains(seen, id) {
		return false
	}
	if s.tolerant() {
		return false
	}
	if s.If != "" || s.gate != "" {
		return true
	}
	for _, need := range s.Needs {
		if w.maySkip(need, append(seen, id)) {
			return true
		}
	}
	return false
}

// checkSkipped checks that a step that runs although a need was skipped reads the outputs of such
// a need only in a way that bears that there are none. Other readers are skipped with what they
// read, and a result that cannot be read is told by the run.
func (w *Workflow) checkSkipped(r *problems, s Step) {
	look := func(n *doc.Node, text string) {
		refs, err := expr.Refs(text)
		if err != nil {
			return
		}
		for _, ref := range refs {
			if ref.Root != "steps" || ref.Name == "" || ref.Optional || ref.Step == s.ID {
				continue
			}
			why := "is skipped"
			switch {
			case w.mayMiss(ref.Step):
				why = "has failed and that is caught"
			case !s.tolerant() || !w.maySkip(ref.Step, nil):
				continue
			}
			asked := func(o expr.Ref) bool { return o.Optional && o.Step == ref.Step && o.Name == ref.Name }
			if !slices.ContainsFunc(refs, asked) {
				r.add(n, fmt.Sprintf("write steps.%s.?%s.orValue(…)", ref.Step, ref.Name),
					"step %s runs even when step %s %s, and %s then has no output %q", s.ID, ref.Step, why, ref.Step, ref.Name)
			}
		}
	}
	look(s.ifNode, unwrap(s.If))
	if s.ForEach != nil {
		look(s.ForEach.node.Get("in"), unwrap(s.ForEach.In))
	}
	for _, v := range s.With {
		texts, err := expr.Texts(v.JSON)
		if err != nil {
			continue
		}
		for _, t := range texts {
			look(v.node, strings.TrimSpace(t))
		}
	}
}
