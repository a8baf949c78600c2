package workflow

import (
	"slices"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// Limit says how many with one key may be under way at a time.
type Limit struct {
	Key    *Value // nil = one key for all
	Limit  int
	Policy string // runs only: queue | skip | cancel-oldest, "" = queue
}

// Rate is a token bucket.
type Rate struct {
	Key   *Value // nil = one bucket for all
	Count int
	Per   time.Duration
	Burst int // 0 = Count
}

// Cache keeps the outputs of a step.
type Cache struct {
	Key  *Value
	TTL  time.Duration
	node *doc.Node
}

// limits reads what holds a step back or spares it.
func (x *Step) limits(has func(string) *doc.Node) {
	if t := has("timeout"); t != nil {
		if x.Timeout = t.Duration(); x.Detach {
			t.Wrong("leave it out; give the other workflow a timeout of its own", "nobody waits for the end of a detached workflow")
		}
	}
	if t := has("stepTimeout"); t != nil {
		if x.StepTimeout = t.Duration(); x.StepTimeout > 0 && x.StepTimeout < x.Timeout {
			t.Wrong("give the time of all attempts together, at least timeout", "is shorter than timeout, which is of one attempt")
		}
	}
	x.Cache = x.cache(has("cache"))
	x.Approval = approval(has("approval"), false)
	x.Concurrency = limit(has("concurrency"), false)
	if p := has("priority"); p != nil {
		v := p.Int(-100, 100)
		x.Priority = &v
	}
	if x.Undo != nil && slices.Contains(harmless, x.Effect) {
		x.Undo.node.Wrong("leave it out, or give effect: write", "a step of the effect %s changes nothing that could be taken back", x.Effect)
	}
}

// harmless are the effects of steps that change nothing.
var harmless = []string{"pure", "read"}

func (x *Step) cache(n *doc.Node) *Cache {
	if n == nil || !n.Mapping() {
		return nil
	}
	c := &Cache{node: n}
	c.Key = value(n.Need("key", `give what the outputs depend on: key: "${inputs.q}"`))
	c.TTL = duration(n.Need("ttl", "give how long outputs are kept: ttl: 1h"))
	n.Only()
	if x.Effect != "" && !slices.Contains(harmless, x.Effect) {
		n.Wrong("leave it out", "a step of the effect %s has to run each time: only pure and read ones are cached", x.Effect)
	}
	return c
}

func limit(n *doc.Node, ofRuns bool) *Limit {
	if n == nil || !n.Mapping() {
		return nil
	}
	l := &Limit{Key: value(n.Get("key")), Limit: 1}
	if x := n.Get("limit"); x != nil {
		l.Limit = x.Int(1, 100000)
	}
	if p := n.Get("policy"); p != nil {
		if ofRuns {
			l.Policy = p.OneOf("queue", "skip", "cancel-oldest")
		} else {
			p.Wrong("leave it out, or give the workflow a concurrency: of its own", "is for the concurrency of a workflow: steps wait for their turn")
		}
	}
	n.Only()
	return l
}

func rate(n *doc.Node) *Rate {
	if n == nil || !n.Mapping() {
		return nil
	}
	r := &Rate{Key: value(n.Get("key"))}
	r.Count = n.Need("count", "give how many runs may start: count: 10").Int(1, 1_000_000)
	r.Per = duration(n.Need("per", "give the time in which they may start: per: 1m"))
	if b := n.Get("burst"); b != nil {
		r.Burst = b.Int(1, 1_000_000)
	}
	n.Only()
	return r
}
