package workflow

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/pelton-run/pelton/functions/formats/expr"
)

// tolerantCall is what a condition calls to run although a need did not complete.
var tolerantCall = regexp.MustCompile(`\b(always|failed|skipped)\s*\(`)

// tolerant tells whether a step runs although a need of it was skipped: its condition says so, or
// it does not wait for all of them.
func (x *Step) tolerant() bool { return tolerantCall.MatchString(x.If) || x.wanted() < len(x.Needs) }

// wanted is how many of a step's needs have to complete.
func (x *Step) wanted() int {
	if x.Join == "any" {
		return min(1, len(x.Needs))
	}
	if n, err := strconv.Atoi(x.Join); err == nil {
		return n
	}
	return len(x.Needs)
}

// maySkip tells whether a step may end as skipped while the run goes on: it has a condition of its
// own, a switch chooses it, or it needs a step that may be skipped and does not run nevertheless.
// A failed need is another matter: then the run fails.
func (w *Workflow) maySkip(id string, seen []string) bool {
	s := w.step(id)
	if s == nil || slices.Contains(seen, id) {
		return false
	}
	switch {
	case s.switchedBy != "":
		return true
	case tolerantCall.MatchString(s.If):
		return false
	case s.If != "":
		return true
	}
	certain := 0
	for _, need := range s.Needs {
		if !w.maySkip(need, append(seen, id)) {
			certain++
		}
	}
	return certain < s.wanted()
}

// lacks tells why a step that runs may find a need without an output; "" = it never does.
func (w *Workflow) lacks(s *Step, need, output string) string {
	x := w.step(need)
	if x == nil {
		return ""
	}
	if s.tolerant() && w.maySkip(need, nil) {
		return fmt.Sprintf("step %s runs even when step %s is skipped, and %s then has no output %q", s.ID, need, need, output)
	}
	for _, e := range x.Catch {
		if e.Caught {
			return fmt.Sprintf("step %s runs even when step %s has failed and was caught, and %s then has no output %q", s.ID, need, need, output)
		}
		if !slices.ContainsFunc(e.Outputs, func(v Value) bool { return v.Name == output }) {
			return fmt.Sprintf("step %s runs with what catch gives for step %s, which has no output %q", s.ID, need, output)
		}
	}
	return ""
}

// skipped checks that a step reads outputs that may be missing only in a way that bears it. Other
// readers are skipped with what they read, and a result that cannot be read is told by the run.
func (c *checker) skipped(s *Step) {
	for _, at := range s.spots() {
		texts, err := at.texts()
		if err != nil {
			continue
		}
		for _, t := range texts {
			refs, err := expr.Refs(t)
			if err != nil {
				continue
			}
			c.missing(s, at, refs)
		}
	}
}

// missing checks what one expression reads.
func (c *checker) missing(s *Step, at spot, refs []expr.Ref) {
	for _, ref := range refs {
		if ref.Root != "steps" || ref.Name == "" || ref.Optional || ref.Step == at.self {
			continue
		}
		asked := func(o expr.Ref) bool { return o.Optional && o.Step == ref.Step && o.Name == ref.Name }
		if why := c.w.lacks(s, ref.Step, ref.Name); why != "" && !slices.ContainsFunc(refs, asked) {
			c.add(at.node, fmt.Sprintf("write steps.%s.?%s.orValue(…)", ref.Step, ref.Name), "%s", why)
		}
	}
}
