package shared

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
)

// message is what nodes ask each other: requests, holds (granted before, by whoever kept the
// domain), releases and questions for a keeper, decisions for who asked, a domain to be given up, or
// to be reported on.
type message struct {
	From    int64     `json:"from"`
	To      int64     `json:"to"` // an address may have passed to another incarnation
	Release []Request `json:"release,omitempty"`
	Hold    []Request `json:"hold,omitempty"`
	Acquire []Request `json:"acquire,omitempty"`
	Why     []Request `json:"why,omitempty"`
	News    []notice  `json:"news,omitempty"`
	Yield   string    `json:"yield,omitempty"`
	Report  string    `json:"report,omitempty"`
}

// reply answers a message.
type reply struct {
	Decisions []Decision       `json:"decisions,omitempty"` // of Acquire, as far as the domains are kept here
	Done      []string         `json:"done,omitempty"`      // releases that are noted
	Noted     []string         `json:"noted,omitempty"`     // holds that are
	Kept      []Request        `json:"kept,omitempty"`      // Yield: what the node had granted
	Owners    map[string]int64 `json:"owners,omitempty"`    // Yield
	Mine      []Request        `json:"mine,omitempty"`      // Report: what the node holds
	Waiting   []string         `json:"waiting,omitempty"`   // Report: what it waits for; Why: what waits
	Causes    []limits.Cause   `json:"causes,omitempty"`    // Why: of each that waits
}

var (
	errGone     = errors.New("another incarnation is meant")
	errStranger = errors.New("who asks is not known to live: it is looked up")
)

// take deals with a message.
func (n *Node) take(m message) (rep reply, err error) {
	n.mu.Lock()
	defer n.unlock()
	if m.From != n.cfg.Me && !slices.Contains(n.live, m.From) { // it has just begun, or is dead
		n.lookSoon()
		return reply{}, errStranger
	}
	if name := m.Yield + m.Report; name != "" {
		if !n.follow(name, m.From) {
			return reply{}, errStranger
		}
		if m.Yield != "" {
			return n.yield(name, m.From), nil
		}
		return n.report(name), nil
	}
	for _, x := range m.News {
		n.decide(m.From, x.Domain, x.Decision)
	}
	rep = n.keepFor(m)
	for _, r := range m.Why {
		if d := n.kept[r.Domain]; d != nil && d.open {
			if why, waits := d.keeper.Why(r.ID); waits {
				rep.Waiting, rep.Causes = append(rep.Waiting, r.ID), append(rep.Causes, why)
			}
		}
	}
	return rep, nil
}

// follow notes that a node is about to keep a domain: it counts until who lives is looked up anew.
// False: another one said so just before, and one of the two is dead. It needs n.mu.
func (n *Node) follow(name string, keeper int64) bool {
	if f, ok := n.follows[name]; ok && f.keeper != keeper && n.seen != n.seq {
		n.poke()
		return false
	}
	if keeper != n.cfg.Me {
		n.lookSoon()
	}
	n.follows[name] = epoch{keeper, n.seq}
	return true
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
	if to != n.cfg.Me {
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
	n.askAgain(name)
	return rep
}

// recount counts the domains of ours that are closed, each in a goroutine of its own.
func (n *Node) recount(ctx context.Context, wg *sync.WaitGroup) {
	n.mu.Lock()
	defer n.unlock()
	if !n.whole || n.seen != n.seq {
		return
	}
	for name, d := range n.kept {
		if d.open || d.asking || n.keeper(name) != n.cfg.Me {
			continue
		}
		d.asking = true
		live := slices.Clone(n.live)
		wg.Go(func() {
			ok := n.count(ctx, name, d, live)
			n.mu.Lock()
			d.asking = false
			n.mu.Unlock()
			if !ok && n.pause(ctx) != nil {
				return
			}
			n.poke()
		})
	}
}

// count asks every node: first to give the domain up, then, when nobody grants any more, for what
// is held. What a keeper had granted counts if the node that asked still waits for it: the grant is
// on its way. What starts have taken of rates is read last, so that none is missed that becomes
// durable meanwhile. False: somebody did not answer, or was faster.
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
	held := []ask{}
	for _, to := range live {
		rep, err := n.ask(ctx, to, message{Report: name})
		if err != nil {
			return false
		}
		for _, r := range rep.Mine {
			held = append(held, ask{Request: r, owner: to})
		}
		for _, id := range rep.Waiting {
			if r, ok := granted[to][id]; ok {
				held = append(held, ask{Request: r, owner: to})
			}
		}
	}
	keeper := limits.New(n.cfg.Now, after)
	if n.cfg.Spent != nil {
		spent, err := n.cfg.Spent(ctx, name)
		if err != nil {
			n.cfg.Log.Warn("what is taken of rates is not known: limits wait", "error", err)
			return false
		}
		keeper.Spent(spent)
	}
	n.mu.Lock()
	defer n.unlock()
	if n.kept[name] != d || n.keeper(name) != n.cfg.Me || !n.whole || n.seen != n.seq || !slices.Equal(live, n.live) {
		return false
	}
	for _, a := range d.asks {
		if a.late {
			held = append(held, *a)
		}
	}
	owners := map[string]int64{}
	for _, a := range held {
		if owner, ok := owners[a.ID]; ok && owner != a.owner { // one of them is dead
			n.lookSoon()
			return false
		}
		owners[a.ID] = a.owner
	}
	n.reopen(name, d, keeper, held)
	return true
}

// reopen begins to grant in a domain. It needs n.mu.
func (n *Node) reopen(name string, d *domain, keeper *limits.Keeper, held []ask) {
	old := d.asks
	d.keeper, d.asks = keeper, map[string]*ask{}
	for _, a := range held {
		if !d.gone[a.ID] && d.asks[a.ID] == nil {
			d.asks[a.ID] = &ask{Request: a.Request, owner: a.owner, held: true}
			keeper.Restore(a.Request.Request)
		}
	}
	n.inline.Store(true)
	for id, a := range old {
		if now := d.asks[id]; now != nil {
			now.Ask = max(now.Ask, a.Ask)
		} else if !a.held {
			d.asks[id] = a
			n.at(d, name, a)
		}
	}
	d.open, d.gone = true, map[string]bool{}
	keeper.Open()
	n.inline.Store(false)
	n.collect()
	for id, a := range old { // who waited for the keeper learns where it stands
		if !a.late {
			n.notify(a.owner, name, d.stands(id))
		}
	}
}

// batchSize bounds one message.
const batchSize = 2000

// send sends what there is to whom nothing is under way to.
func (n *Node) send(ctx context.Context, wg *sync.WaitGroup) {
	n.mu.Lock()
	n.collect()
	batches := map[int64]*message{}
	to := func(k int64) *message {
		if k == 0 || n.busy[k] {
			return nil
		}
		if batches[k] == nil {
			batches[k] = &message{}
		}
		return batches[k]
	}
	for name, o := range n.out {
		if len(o.ask)+len(o.hold)+len(o.release) == 0 {
			delete(n.out, name)
		} else if m := to(n.keeper(name)); m != nil {
			n.pack(m, name, o)
		}
	}
	for k, list := range n.news {
		if m := to(k); m != nil {
			m.News = list
			delete(n.news, k)
		}
	}
	for k, m := range batches {
		if k == n.cfg.Me {
			m.From = k
			n.answered(k, m, n.keepFor(*m), nil)
			continue
		}
		n.busy[k] = true
		wg.Go(func() {
			rep, err := n.ask(ctx, k, *m)
			n.mu.Lock()
			n.busy[k] = false
			n.answered(k, m, rep, err)
			n.unlock()
			if err == nil || n.pause(ctx) == nil {
				n.poke() // there may be more by now
			}
		})
	}
	n.unlock()
}

// pack puts what is to be told into a message. It needs n.mu.
func (n *Node) pack(m *message, name string, o *outgoing) {
	for id := range o.release {
		if len(m.Release) < batchSize {
			m.Release = append(m.Release, bare(id, name))
		}
	}
	for id := range o.hold {
		if r, ok := n.held[id]; !ok {
			delete(o.hold, id)
		} else if len(m.Hold) < batchSize {
			m.Hold = append(m.Hold, r)
		}
	}
	for id := range o.ask {
		if w := n.waiting[id]; w == nil {
			delete(o.ask, id)
		} else if len(m.Acquire) < batchSize {
			delete(o.ask, id)
			m.Acquire = append(m.Acquire, w.Request)
		}
	}
}

// answered deals with what a keeper said. What it did not answer is told again with the next
// beat. It needs n.mu.
func (n *Node) answered(k int64, m *message, rep reply, err error) {
	if err != nil {
		n.cfg.Log.Debug("limits are asked again", "keeper", k, "error", err)
		n.news[k] = append(m.News, n.news[k]...)
	}
	domains := map[string]string{}
	for _, r := range m.Acquire {
		domains[r.ID] = r.Domain
	}
	for _, d := range rep.Decisions {
		n.decide(k, domains[d.ID], d)
		delete(domains, d.ID)
	}
	for id, domain := range domains {
		if w := n.waiting[id]; w != nil {
			n.outgoing(domain).ask[id] = true
			w.cause = unknown
		}
	}
	said := func(ids []string, list []Request, of func(*outgoing) map[string]bool) {
		noted := map[string]bool{}
		for _, id := range ids {
			noted[id] = true
		}
		for _, r := range list {
			if o := n.out[r.Domain]; o != nil && n.keeper(r.Domain) == k && noted[r.ID] {
				delete(of(o), r.ID)
			}
		}
	}
	said(rep.Done, m.Release, func(o *outgoing) map[string]bool { return o.release })
	said(rep.Noted, m.Hold, func(o *outgoing) map[string]bool { return o.hold })
}

func (n *Node) ask(ctx context.Context, to int64, m message) (reply, error) {
	m.From, m.To = n.cfg.Me, to
	if to == n.cfg.Me {
		return n.take(m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return reply{}, err
	}
	calling, cancel := context.WithTimeout(ctx, n.cfg.Beat)
	defer cancel()
	if b, err = n.cfg.Network.Call(calling, to, b); err != nil {
		return reply{}, err
	}
	var r reply
	return r, json.Unmarshal(b, &r)
}

// Answer serves another node's call.
func (n *Node) Answer(_ context.Context, ask []byte) ([]byte, error) {
	var m message
	if err := json.Unmarshal(ask, &m); err != nil {
		return nil, fmt.Errorf("read a call about limits: %w", err)
	}
	if m.To != n.cfg.Me || !n.cfg.Network.Held() {
		return nil, errGone
	}
	rep, err := n.take(m)
	if err != nil {
		return nil, err
	}
	return json.Marshal(rep)
}
