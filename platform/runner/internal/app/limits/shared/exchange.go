package shared

import (
	"context"
	"slices"
	"sync"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
)

// recount counts the domains of ours that are closed, each in a goroutine of its own.
func (n *Node) recount(ctx context.Context, wg *sync.WaitGroup) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.whole {
		return
	}
	for name, d := range n.kept {
		if d.open || d.asking || n.keeperOf(name) != n.me {
			continue
		}
		d.asking = true
		live := slices.Clone(n.live)
		wg.Go(func() {
			ok := n.count(ctx, name, d, live)
			n.mu.Lock()
			d.asking = false
			n.mu.Unlock()
			if !ok && wait(ctx, n.cfg.Beat/10) != nil {
				return
			}
			n.poke()
		})
	}
}

// count asks every node: first to give the domain up, then, when nobody grants any more, for what
// is held. What a keeper had granted counts if the node that asked still waits for it: the grant is
// on its way. False: somebody did not answer, or was faster.
func (n *Node) count(ctx context.Context, name string, d *domain, live []int64) bool {
	granted := map[int64]map[string]Request{} // by owner
	for _, to := range live {
		rep, err := n.ask(ctx, to, message{Yield: name})
		if err != nil {
			return false
		}
		for _, r := range rep.Kept {
			owner := rep.Owners[r.ID]
			if granted[owner] == nil {
				granted[owner] = map[string]Request{}
			}
			granted[owner][r.ID] = r
		}
	}
	held, owners := []Request{}, map[string]int64{}
	for _, to := range live {
		rep, err := n.ask(ctx, to, message{Report: name})
		if err != nil {
			return false
		}
		for _, r := range rep.Mine {
			held, owners[r.ID] = append(held, r), to
		}
		for _, id := range rep.Waiting {
			if r, ok := granted[to][id]; ok {
				held, owners[id] = append(held, r), to
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.kept[name] != d || n.keeperOf(name) != n.me || !n.whole || !slices.Equal(live, n.live) {
		return false
	}
	n.reopen(name, d, held, owners)
	return true
}

// reopen begins to grant in a domain. It needs n.mu.
func (n *Node) reopen(name string, d *domain, held []Request, owners map[string]int64) {
	old := d.asks
	d.keeper, d.asks = limits.New(n.cfg.Now, after), map[string]*ask{}
	hold := func(r Request, owner int64) {
		if !d.gone[r.ID] && d.asks[r.ID] == nil {
			d.asks[r.ID] = &ask{Request: r, owner: owner, held: true}
			d.keeper.Restore(r.Request)
		}
	}
	for _, r := range held {
		hold(r, owners[r.ID])
	}
	for _, a := range old {
		if a.late {
			hold(a.Request, a.owner)
		}
	}
	for id, a := range old {
		if d.asks[id] == nil && !a.held {
			d.asks[id] = a
			n.at(d, name, a)
		}
	}
	d.open, d.gone = true, map[string]bool{}
	d.keeper.Open()
	n.collect()
	n.poke()
}

// take deals with a message.
func (n *Node) take(m message) (rep reply) {
	var told []Decision
	n.mu.Lock()
	switch {
	case m.Yield != "":
		rep = n.yield(m.Yield, m.From)
	case m.Report != "":
		rep = n.report(m.Report)
	default:
		rep = n.keepFor(m)
		for _, r := range m.Granted {
			told = n.got(told, r)
		}
	}
	n.mu.Unlock()
	n.tellAll(told)
	return rep
}

func (n *Node) tellAll(list []Decision) {
	if len(list) == 0 {
		return
	}
	n.tell.Lock()
	defer n.tell.Unlock()
	for _, d := range list {
		n.mu.Lock()
		stale := !d.Granted && n.waiting[d.ID] == nil // it was granted meanwhile, or given up
		n.mu.Unlock()
		if !stale {
			n.cfg.Tell(d)
		}
	}
}

// yield gives a domain up for another node. It needs n.mu.
func (n *Node) yield(name string, to int64) (rep reply) {
	d := n.kept[name]
	if d == nil {
		return rep
	}
	n.shut(d)
	rep.Owners = map[string]int64{}
	for id, a := range d.asks {
		if a.held {
			rep.Kept, rep.Owners[id] = append(rep.Kept, a.Request), a.owner
		}
	}
	if to != n.me {
		delete(n.kept, name)
	}
	return rep
}

// report tells what this node's own requests are about. It needs n.mu.
func (n *Node) report(name string) (rep reply) {
	for _, r := range n.held {
		if r.Domain == name {
			rep.Mine = append(rep.Mine, r)
		}
	}
	for id, w := range n.waiting {
		if w.Domain == name {
			rep.Waiting = append(rep.Waiting, id)
		}
	}
	return rep
}

// keepFor is the keeper's part. What belongs to a domain of others is left out of the reply. It needs n.mu.
func (n *Node) keepFor(m message) (rep reply) {
	for _, r := range m.Release {
		if d := n.keep(r.Domain); d != nil {
			rep.Done = append(rep.Done, r.ID)
			if !d.open {
				d.gone[r.ID] = true
			}
			delete(d.asks, r.ID)
			d.keeper.Release(r.ID)
		}
	}
	for _, r := range m.Hold {
		d := n.keep(r.Domain)
		if d == nil {
			continue
		}
		rep.Done = append(rep.Done, r.ID)
		if a := d.asks[r.ID]; a != nil && !a.held {
			d.keeper.Release(r.ID)
		}
		d.asks[r.ID] = &ask{Request: r, owner: m.From, held: true, late: !d.open}
		if d.open {
			d.keeper.Restore(r.Request)
		}
	}
	for _, r := range m.Acquire {
		d := n.keep(r.Domain)
		if d == nil {
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
		a.owner = m.From
		n.collect()
		dec := Decision{ID: r.ID, Granted: a.held && d.open}
		if !dec.Granted {
			dec.Cause = unknown
			if why, waits := d.keeper.Why(r.ID); waits && d.open {
				dec.Cause = why
			}
		}
		rep.Decisions = append(rep.Decisions, dec)
	}
	n.collect()
	return rep
}

// unknown is why requests wait whose keeper is not known, or does not know yet what is held.
var unknown = limits.Cause{Label: "who holds the places"}

// got notes a grant. One that nobody waits for is given back. It needs n.mu.
func (n *Node) got(told []Decision, r Request) []Decision {
	if _, ok := n.held[r.ID]; ok {
		return told
	}
	w := n.waiting[r.ID]
	if w == nil {
		n.released[r.ID] = r
		n.poke()
		return told
	}
	delete(n.waiting, r.ID)
	n.held[r.ID] = w.Request
	return append(told, Decision{ID: r.ID, Granted: true})
}

// batchSize bounds one message.
const batchSize = 2000

// send sends what there is to whom nothing is under way to.
func (n *Node) send(ctx context.Context, wg *sync.WaitGroup) {
	n.mu.Lock()
	n.collect()
	batches := map[int64]*message{}
	to := func(k int64) *message {
		if k == 0 {
			return nil
		}
		if n.busy[k] {
			n.missed[k] = true
			return nil
		}
		if batches[k] == nil {
			batches[k] = &message{}
		}
		return batches[k]
	}
	for _, r := range n.released {
		if m := to(n.keeperOf(r.Domain)); m != nil && len(m.Release) < batchSize {
			m.Release = append(m.Release, Request{Request: limits.Request{ID: r.ID}, Domain: r.Domain})
		}
	}
	for _, w := range n.waiting {
		if w.sent {
			continue
		}
		if m := to(n.keeperOf(w.Domain)); m != nil && len(m.Acquire) < batchSize {
			w.sent = true
			m.Acquire = append(m.Acquire, w.Request)
		}
	}
	for k, list := range n.grants {
		if m := to(k); m != nil {
			m.Granted = list
			delete(n.grants, k)
		}
	}
	for k := range batches {
		n.busy[k] = true
	}
	n.mu.Unlock()
	for k, m := range batches {
		wg.Go(func() {
			rep, err := n.ask(ctx, k, *m)
			n.answered(k, m, rep, err)
		})
	}
}

// answered deals with what a keeper said. Without an answer everything is asked again with the
// next beat.
func (n *Node) answered(k int64, m *message, rep reply, err error) {
	var told []Decision
	n.mu.Lock()
	n.busy[k] = false
	more := n.missed[k] || len(m.Release) == batchSize || len(m.Acquire) == batchSize
	delete(n.missed, k)
	if err != nil {
		n.cfg.Log.Debug("limits are asked again", "keeper", k, "error", err)
		for _, r := range m.Acquire {
			if n.waiting[r.ID] != nil {
				told = append(told, Decision{ID: r.ID, Cause: unknown})
			}
		}
	}
	for _, id := range rep.Done {
		delete(n.released, id)
	}
	domains := map[string]string{}
	for _, r := range m.Acquire {
		domains[r.ID] = r.Domain
	}
	for _, d := range rep.Decisions {
		switch {
		case d.Granted:
			told = n.got(told, Request{Request: limits.Request{ID: d.ID}, Domain: domains[d.ID]})
		case n.waiting[d.ID] != nil:
			told = append(told, d)
		}
	}
	n.mu.Unlock()
	n.tellAll(told)
	if more && err == nil {
		n.poke()
	}
}
