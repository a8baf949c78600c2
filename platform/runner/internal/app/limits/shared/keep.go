package shared

import (
	"slices"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
)

// domain is one that this node keeps, is about to keep, or has kept and not been asked for since.
type domain struct {
	keeper *limits.Keeper
	asks   map[string]*ask // known requests, of all nodes
	open   bool            // it grants
	asking bool            // it is being counted, to be opened
	gone   map[string]bool // released while it was closed
}

// ask is a request at its keeper.
type ask struct {
	Request
	owner int64 // node that asked
	held  bool
	late  bool // told as held while the domain was closed
}

// given is a grant of a keeper here that is not noted yet.
type given struct {
	d    *domain
	name string
	id   string
}

// notice is a decision that is told unasked.
type notice struct {
	Decision
	Domain string `json:"domain"`
}

// unknown is why requests wait whose keeper is not known, or does not know yet what is held.
var unknown = limits.Cause{Label: "who holds the places"}

// keep is a domain of ours, nil if another node keeps it. It needs n.mu.
func (n *Node) keep(name string) *domain {
	if n.keeper(name) != n.cfg.Me {
		return nil
	}
	d := n.kept[name]
	if d == nil {
		d = &domain{keeper: limits.New(n.cfg.Now, after), asks: map[string]*ask{}, gone: map[string]bool{}}
		n.kept[name] = d
	}
	if !d.open && !d.asking {
		n.poke()
	}
	return d
}

// keepFor is the keeper's part. What belongs to a domain of others is left out of the reply. It needs n.mu.
func (n *Node) keepFor(m message) (rep reply) {
	n.inline.Store(true)
	for _, r := range m.Release {
		if d := n.keep(r.Domain); d != nil && n.mayOwn(d, r.ID, m.From) {
			rep.Done = append(rep.Done, r.ID)
			if !d.open {
				d.gone[r.ID] = true
			}
			delete(d.asks, r.ID)
			d.keeper.Release(r.ID)
		}
	}
	for _, r := range m.Hold {
		if d := n.keep(r.Domain); d != nil && n.mayOwn(d, r.ID, m.From) {
			rep.Noted = append(rep.Noted, r.ID)
			d.hold(r, m.From)
		}
	}
	for _, r := range m.Acquire {
		d := n.keep(r.Domain)
		if d == nil || !n.mayOwn(d, r.ID, m.From) {
			continue
		}
		delete(d.gone, r.ID)
		a := d.asks[r.ID]
		if a == nil {
			a = &ask{Request: r}
			d.asks[r.ID] = a
			if d.open {
				n.at(d, r.Domain, a)
			}
		}
		a.owner, a.Ask = m.From, r.Ask
	}
	n.inline.Store(false)
	n.collect()
	for _, r := range m.Acquire {
		if d := n.keep(r.Domain); d != nil && d.asks[r.ID] != nil && d.asks[r.ID].owner == m.From {
			dec := d.stands(r.ID)
			dec.Ask = r.Ask
			rep.Decisions = append(rep.Decisions, dec)
		}
	}
	return rep
}

// mayOwn tells whether a request is for a node to speak of: another one's is only if that is dead. It
// needs n.mu.
func (n *Node) mayOwn(d *domain, id string, node int64) bool {
	a := d.asks[id]
	if a == nil || a.owner == node {
		return true
	}
	if slices.Contains(n.live, a.owner) { // one of the two is dead
		n.lookSoon()
		return false
	}
	return true
}

// hold notes what was granted before, by whoever kept the domain.
func (d *domain) hold(r Request, owner int64) {
	if a := d.asks[r.ID]; a != nil && !a.held {
		d.keeper.Release(r.ID)
	}
	delete(d.gone, r.ID)
	d.asks[r.ID] = &ask{Request: r, owner: owner, held: true, late: !d.open}
	if d.open {
		d.keeper.Restore(r.Request)
	}
}

// stands is where a request stands. One that is refused is forgotten.
func (d *domain) stands(id string) Decision {
	a, out := d.asks[id], Decision{ID: id, Cause: unknown}
	if a == nil {
		return out
	}
	out.Ask = a.Ask
	switch {
	case !d.open:
		return out
	case a.held:
		return Decision{ID: id, Ask: a.Ask, Granted: true}
	}
	why, waits := d.keeper.Why(id)
	if !waits {
		return out
	}
	out.Cause = why
	switch {
	case a.Try:
		out.Refused = true
		d.keeper.Release(id)
		delete(d.asks, id)
	case a.Oldest:
		holders := d.keeper.Holders(why.Key)
		out.Oldest = holders[:min(len(holders), why.Position)]
	}
	return out
}

// after is time.AfterFunc for a keeper's rates.
func after(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// at hands a request to its keeper. It needs n.mu.
func (n *Node) at(d *domain, name string, a *ask) {
	r := a.Request.Request
	r.Granted = func() { // under whatever locks: it is noted later
		n.fresh.Lock()
		n.given = append(n.given, given{d, name, a.ID})
		n.fresh.Unlock()
		if !n.inline.Load() {
			n.poke()
		}
	}
	d.keeper.Acquire(r)
}

// collect notes what keepers here have granted, and tells who asked. It needs n.mu.
func (n *Node) collect() {
	n.fresh.Lock()
	list := n.given
	n.given = nil
	n.fresh.Unlock()
	for _, g := range list {
		a := g.d.asks[g.id]
		if a == nil || a.held || !g.d.open {
			continue
		}
		a.held = true
		n.notify(a.owner, g.name, Decision{ID: g.id, Ask: a.Ask, Granted: true})
	}
}

// notify tells who asked what is decided. It needs n.mu.
func (n *Node) notify(owner int64, domain string, d Decision) {
	if owner == n.cfg.Me {
		n.decide(owner, domain, d)
		return
	}
	n.news[owner] = append(n.news[owner], notice{d, domain})
	n.poke()
}

// adjust closes the domains that others keep now, and drops what dead replicas held once their
// heirs have adopted it. It needs n.mu.
func (n *Node) adjust() {
	for name, d := range n.kept {
		if n.keeper(name) != n.cfg.Me {
			n.shut(d) // who keeps it now asks what it had granted
			continue
		}
		if !n.whole || !d.open {
			continue
		}
		n.inline.Store(true)
		for id, a := range d.asks {
			if !slices.Contains(n.live, a.owner) {
				delete(d.asks, id)
				d.keeper.Release(id)
			}
		}
		n.inline.Store(false)
		n.collect()
	}
	for to := range n.news {
		if !slices.Contains(n.live, to) {
			delete(n.news, to)
		}
	}
}

// shut makes a domain grant nothing more, for good. It needs n.mu.
func (n *Node) shut(d *domain) {
	n.collect() // what was given up to now counts
	d.open = false
	d.keeper.Reset()
}
