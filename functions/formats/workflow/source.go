package workflow

import (
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// checkSetting checks what the expressions of a source's setting read: a source starts before any
// run, so there are variables and secrets, and nothing else.
func (w *Workflow) checkSetting(r *problems, v Value) bool {
	texts, err := expr.Texts(v.JSON)
	if err != nil {
		r.add(v.node, "close every ${ with }, or write $${ for the characters themselves", "%s", err)
		return false
	}
	good := true
	for _, t := range texts {
		refs, err := expr.Refs(t)
		if err != nil {
			r.add(v.node, "", "the expression %q is not valid: %s", t, err)
			good = false
			continue
		}
		for _, ref := range refs {
			if ref.Root != "vars" && ref.Root != "secrets" {
				r.add(v.node, "write the value itself, or keep it as a variable: vars.NAME", "a source starts before any run: its settings may read vars and secrets, and not %s", ref.Root)
				good = false
			}
		}
	}
	return good
}
