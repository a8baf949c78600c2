package workflow

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// Retry says how often a step is tried.
type Retry struct {
	Attempts int // the first included
	Backoff  time.Duration
	Factor   float64
	Cap      time.Duration
	Jitter   bool
	On       []string // kinds of errors, empty = every kind but cancelled
	node     *doc.Node
}

// Catch says what becomes of a failure.
type Catch struct {
	On      []string // kinds of errors, empty = every kind but cancelled
	Outputs []Value  // what the step completes with
	Caught  bool     // there are no outputs: the step stays failed and the run goes on
	node    *doc.Node
}

// JSON gives the outputs as one object, nil where there are none.
func (c Catch) JSON() json.RawMessage {
	if c.Caught {
		return nil
	}
	return c.node.Get("outputs").JSON()
}

// Undo is the action that takes back what a step did.
type Undo struct {
	Uses    string
	With    []Value
	Retry   *Retry
	Timeout time.Duration
	node    *doc.Node
}

// failures reads what is done about failures.
func (x *Step) failures(has func(string) *doc.Node) {
	x.Retry = retry(has("retry"))
	x.catches(has("catch"), has("continueOnError"))
	x.Undo = undo(has("undo"))
	x.Effect = has("effect").OneOf("pure", "read", "write", "irreversible")
}

func retry(n *doc.Node) *Retry {
	if n == nil || !n.Mapping() {
		return nil
	}
	r := &Retry{Attempts: 1, node: n}
	if a := n.Need("attempts", "give how often the step is tried, the first time included"); a != nil {
		r.Attempts = a.Int(1, 1000)
	}
	r.Backoff = duration(n.Get("backoff"))
	if f := n.Get("factor"); f != nil {
		r.Factor = f.Float(1)
	}
	if c := n.Get("cap"); c != nil {
		if r.Cap = c.Duration(); r.Cap > 0 && r.Cap < r.Backoff {
			c.Wrong("give the longest pause, at least backoff", "is shorter than backoff")
		}
	}
	r.Jitter = n.Get("jitter").Bool()
	r.On = errorKinds(n.Get("on"), "tried again")
	n.Only()
	return r
}

// errorKinds reads kinds of errors. Actions raise kinds of their own, so any name is one.
func errorKinds(n *doc.Node, what string) []string {
	list := texts(n)
	if n != nil && len(list) == 0 {
		n.Wrong("name a kind, or leave it out for every kind but cancelled", "names no kind of error")
	}
	seen := map[string]bool{}
	for _, kind := range list {
		switch {
		case kind == "cancelled":
			n.Wrong("leave it out", "what was cancelled is never %s", what)
		case !kindPattern.MatchString(kind):
			n.Wrong("give kinds such as timeout, user_error or not_found", "is %q", kind)
		case seen[kind]:
			n.Wrong("name it once", "the kind %s is given twice", kind)
		}
		seen[kind] = true
	}
	return list
}

// catches reads catch and continueOnError. An entry that cannot be reached is a mistake.
func (x *Step) catches(n, goOn *doc.Node) {
	covered := map[string]bool{}
	all := false
	entries := n.Items()
	for _, c := range entries {
		if !c.Mapping() {
			continue
		}
		e := Catch{On: errorKinds(c.Get("on"), "caught"), node: c}
		if o := c.Get("outputs"); o != nil && o.Mapping() {
			e.Outputs = values(o)
		}
		e.Caught = c.Get("outputs") == nil
		c.Only()
		fresh := len(e.On) == 0
		for _, kind := range e.On {
			fresh = fresh || !covered[kind]
			covered[kind] = true
		}
		if all || !fresh {
			c.Wrong("put it before, or leave it out", "is never reached: an entry before it covers %s", covering(all, e.On))
		}
		all = all || len(e.On) == 0
		x.Catch = append(x.Catch, e)
	}
	if entries != nil && len(entries) == 0 {
		n.Wrong("add an entry: - {on: [timeout], outputs: {…}}", "has no entries")
	}
	if x.ContinueOnError = goOn.Bool(); !x.ContinueOnError {
		return
	}
	if all {
		goOn.Wrong("leave it out", "catch covers every kind of error already")
	}
	x.Catch = append(x.Catch, Catch{Caught: true, node: goOn})
}

func covering(all bool, on []string) string {
	if all {
		return "every kind of error"
	}
	return strings.Join(on, " and ")
}

func undo(n *doc.Node) *Undo {
	if n == nil || !n.Mapping() {
		return nil
	}
	u := &Undo{node: n}
	u.Uses = n.Need("uses", "give the action that takes back what the step did").Text()
	u.With = values(n.Get("with"))
	u.Retry = retry(n.Get("retry"))
	u.Timeout = duration(n.Get("timeout"))
	n.Only()
	return u
}
