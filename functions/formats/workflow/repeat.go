package workflow

import (
	"slices"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// ForEach runs a step once per item.
type ForEach struct {
	In          string
	As          string
	Concurrency int    // 0 = all at once
	OnError     string // fail | skip | collect
	node        *doc.Node
}

// Loop repeats a step.
type Loop struct {
	Until string // an expression over pass.index and pass.last
	Max   int    // passes, 1..10000
	Delay time.Duration
	node  *doc.Node
}

// repetition reads forEach and loop, of which a step has one.
func (x *Step) repetition(has func(string) *doc.Node) {
	x.ForEach = forEach(has("forEach"))
	x.Loop = loop(has("loop"))
	if x.ForEach != nil && x.Loop != nil {
		x.Loop.node.Wrong("put one of them into a workflow of its own, and start that with workflow:", "a step has either forEach or loop")
	}
}

func forEach(n *doc.Node) *ForEach {
	if n == nil || !n.Mapping() {
		return nil
	}
	f := &ForEach{node: n, As: "item", OnError: "fail"}
	f.In = n.Need("in", `give a list: "${steps.x.items}"`).Text()
	if a := n.Get("as"); a != nil {
		f.As = a.Names(idPattern, idAllowed)
		if slices.Contains(reserved, f.As) {
			a.Wrong("choose another name", "%q is a word of expressions", f.As)
		}
	}
	if c := n.Get("concurrency"); c != nil {
		f.Concurrency = c.Int(1, 10000)
	}
	if o := n.Get("onError"); o != nil {
		f.OnError = o.OneOf("fail", "skip", "collect")
	}
	n.Only()
	return f
}

func loop(n *doc.Node) *Loop {
	if n == nil || !n.Mapping() {
		return nil
	}
	l := &Loop{node: n}
	l.Until = unwrap(n.Need("until", `give the condition that ends the loop: "pass.last.done"`).Text())
	l.Max = n.Need("max", "give how many passes there may be, from 1 to 10000").Int(1, 10000)
	l.Delay = duration(n.Get("delay"))
	n.Only()
	return l
}
