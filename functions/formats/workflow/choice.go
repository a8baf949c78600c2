package workflow

import "github.com/pelton-run/pelton/functions/formats/doc"

// Case is one case of a switch: the value as text, and the steps that it chooses.
type Case struct {
	Value string
	Steps []string
	node  *doc.Node
}

// choice reads switch, cases and default.
func (x *Step) choice(s *doc.Node, has func(string) *doc.Node) {
	x.Switch = unwrap(s.Get("switch").Text())
	if n := s.Need("cases", "add cases: {value: [step]}"); n.Mapping() {
		names, nodes := n.Keys()
		if len(names) == 0 {
			n.Wrong("add a case: {value: [step]}", "there are no cases")
		}
		for i, name := range names {
			n.Get(name)
			x.Cases = append(x.Cases, Case{Value: name, Steps: texts(nodes[i]), node: nodes[i]})
		}
		n.Only()
	}
	x.Default = texts(has("default"))
}

// chosen gives every step that a switch may choose, with the place that says so.
func (x *Step) chosen(f func(step string, n *doc.Node)) {
	for _, c := range x.Cases {
		for _, id := range c.Steps {
			f(id, c.node)
		}
	}
	for _, id := range x.Default {
		f(id, x.node.Get("default"))
	}
}

// choices checks that what switches choose are steps, each chosen once, and makes them need the
// switch.
func (w *Workflow) choices(ids map[string]int) {
	by := map[string]string{}
	for i := range w.Steps {
		s := &w.Steps[i]
		s.chosen(func(id string, n *doc.Node) {
			j, ok := ids[id]
			switch {
			case !ok:
				w.known(ids, n, id)
			case id == s.ID:
				n.Wrong("name another step", "the switch %s chooses itself", id)
			case by[id] == s.ID:
				n.Wrong("name it once; a step after several cases needs their steps and has join: any", "step %s is chosen twice", id)
			case by[id] != "":
				n.Wrong("let one switch choose it", "step %s is chosen by the switch %s already", id, by[id])
			default:
				by[id] = s.ID
				w.Steps[j].switchedBy = s.ID
				w.Steps[j].need(s.ID)
			}
		})
	}
}
