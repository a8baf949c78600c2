package workflow

import (
	"fmt"
	"slices"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/expr"
)

// source checks a source's settings, which are its inputs: values, and expressions over what
// there is before any run.
func (c *checker) source(t Trigger, a action.Action) {
	given := map[string]bool{}
	scope := expr.NewScope(fields(c.w.Inputs), nil, false)
	for _, v := range values(t.node.Get("with")) {
		given[v.Name] = true
		i := slices.IndexFunc(a.Inputs, func(i action.Item) bool { return i.Name == v.Name })
		if i < 0 {
			c.add(v.node, nearestItem(v.Name, a.Inputs), "%s has no input %q", a.ID, v.Name)
			continue
		}
		if at := (spot{node: v.node, raw: v.JSON}); c.setting(at) {
			c.fits(at, a.Inputs[i], scope)
		}
	}
	for _, it := range a.Inputs {
		if !given[it.Name] && !it.Optional && it.Default == nil {
			c.add(t.node, fmt.Sprintf("add it under with: a %s", it.Type), "the input %q of %s is missing", it.Name, a.ID)
		}
	}
}

// setting checks what the expressions of a source's setting read: a source starts before any
// run, so there are variables and secrets, and nothing else.
func (c *checker) setting(at spot) bool {
	texts, err := at.texts()
	if err != nil {
		c.add(at.node, "close every ${ with }, or write $${ for the characters themselves", "%s", err)
		return false
	}
	good := true
	for _, t := range texts {
		refs, err := expr.Refs(t)
		if err != nil {
			c.add(at.node, "", "the expression %q is not valid: %s", t, err)
			good = false
			continue
		}
		for _, ref := range refs {
			if ref.Root != "vars" && ref.Root != "secrets" {
				c.add(at.node, "write the value itself, or keep it as a variable: vars.NAME", "a source starts before any run: its settings may read vars and secrets, and not %s", ref.Root)
				good = false
			}
		}
	}
	return good
}
