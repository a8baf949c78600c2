package workflow

import (
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
)

// Limit says how many with one key may be under way at a time.
type Limit struct {
	Key    *Value // nil = one key for all
	Limit  int
	Policy string // queue | skip | cancel-oldest; runs only
}

// Rate bounds starts: Count in Per, up to Burst at once.
type Rate struct {
	Key   *Value // nil = one bucket for all
	Count int
	Per   time.Duration
	Burst int // 0 = Count
}

// policies reads what holds for the runs of the workflow.
func (w *Workflow) policies(spec *doc.Node) {
	if p := spec.Get("priority"); p != nil {
		w.Priority = p.Int(-100, 100)
	}
	if k := spec.Get("idempotencyKey"); k != nil {
		w.IdempotencyKey = one("idempotencyKey", k)
		if !strings.Contains(string(w.IdempotencyKey.JSON), "${") {
			k.Wrong(`read something that tells runs apart: "${inputs.order}"`, "a key that is always the same starts one run for ever")
		}
	}
	if c := spec.Get("concurrency"); c != nil {
		w.Concurrency = limit(c, true)
	}
	if r := spec.Get("rateLimit"); r != nil {
		w.RateLimit = rate(r)
	}
	if f := spec.Get("onFailure"); f != nil {
		w.OnFailure = f.Names(namePattern, "give the name of a workflow of this project")
		if w.OnFailure == w.Name && w.Name != "" {
			f.Wrong("name another workflow", "a workflow cannot handle its own failures")
		}
	}
	if d := spec.Get("durability"); d != nil {
		w.Durability = d.OneOf("strict", "none")
	}
	if r := spec.Get("retention"); r != nil {
		r.Wrong("set the project's retention", "retention of one workflow is not supported yet by this version")
	}
}

func limit(n *doc.Node, runs bool) *Limit {
	if !n.Mapping() {
		return nil
	}
	l := &Limit{Limit: 1}
	if k := n.Get("key"); k != nil {
		l.Key = one("key", k)
	}
	if m := n.Get("limit"); m != nil {
		l.Limit = m.Int(1, 100_000)
	}
	if p := n.Get("policy"); p != nil {
		if l.Policy = p.OneOf("queue", "skip", "cancel-oldest"); !runs {
			p.Wrong("leave it out", "steps wait for their turn; a policy is for the concurrency of the workflow")
		}
	}
	n.Only()
	return l
}

func rate(n *doc.Node) *Rate {
	if !n.Mapping() {
		return nil
	}
	r := &Rate{}
	if k := n.Get("key"); k != nil {
		r.Key = one("key", k)
	}
	if c := n.Need("count", "give how many may start in that time"); c != nil {
		r.Count = c.Int(1, 1_000_000)
	}
	if p := n.Need("per", "give the time, such as 1m"); p != nil {
		if r.Per = p.Duration(); r.Per <= 0 {
			p.Wrong("give a time such as 1m", "it must be longer than nothing")
		}
	}
	if b := n.Get("burst"); b != nil {
		r.Burst = b.Int(1, 1_000_000)
	}
	n.Only()
	return r
}
