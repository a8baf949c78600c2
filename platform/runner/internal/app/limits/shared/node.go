package shared

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/app/rendezvous"
)

// Network is what a Node knows of the replicas.
type Network interface {
	// Live are this incarnation and the others that live. whole tells that no incarnation is dead
	// without its runs having been taken up and its grants restored.
	Live(ctx context.Context) (me int64, live []int64, whole bool, err error)
	// Call asks another replica's Node (its Answer) and gives its one answer.
	Call(ctx context.Context, to int64, ask []byte) (answer []byte, err error)
}

// Config of New.
type Config struct {
	Network Network
	// Tell takes decisions about this node's requests: the same request may be told again while it
	// waits, and is told granted once. One call at a time; it must not call the Node.
	Tell func(Decision)
	// Beat is how often is looked who lives, and what got lost is asked again. Defaults to 1 s.
	Beat time.Duration
	Now  func() time.Time
	Log  *slog.Logger // Defaults to slog.Default()
}

// Request asks for places in one domain. Its Granted is not used: Tell tells.
type Request struct {
	limits.Request
	Domain string
}

// Decision is where a request stands.
type Decision struct {
	ID      string       `json:"id"`
	Granted bool         `json:"granted"`
	Cause   limits.Cause `json:"cause,omitzero"` // while it waits
}

// Node is one replica's part in keeping limits. Safe for concurrent use, but for Run, which is called once.
type Node struct {
	cfg  Config
	wake chan struct{}

	tell sync.Mutex // held while Tell is called

	mu       sync.Mutex
	me       int64
	live     []int64
	whole    bool
	held     map[string]Request  // ours, granted
	waiting  map[string]*asked   // ours, not granted
	released map[string]Request  // ours, not yet confirmed by their keeper
	kept     map[string]*domain  // domains that we keep
	grants   map[int64][]Request // to be told to those who asked
	busy     map[int64]bool      // a message to it is under way
	missed   map[int64]bool      // and there was more for it meanwhile

	fresh sync.Mutex // of given; never held while another lock is taken
	given []given
}

// given is a grant of a keeper here that is not noted yet.
type given struct {
	d    *domain
	name string
	id   string
}

// asked is a request of ours that waits.
type asked struct {
	Request
	sent bool
}

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

// message is what nodes ask each other: requests, holds (granted before, by whoever kept the
// domain) and releases for a keeper, grants for who asked, a domain to be given up, or to be
// reported on.
type message struct {
	From    int64     `json:"from"`
	Acquire []Request `json:"acquire,omitempty"`
	Hold    []Request `json:"hold,omitempty"`
	Release []Request `json:"release,omitempty"`
	Granted []Request `json:"granted,omitempty"`
	Yield   string    `json:"yield,omitempty"`
	Report  string    `json:"report,omitempty"`
}

// reply answers a message.
type reply struct {
	Decisions []Decision       `json:"decisions,omitempty"`
	Done      []string         `json:"done,omitempty"`    // holds and releases that are noted
	Kept      []Request        `json:"kept,omitempty"`    // Yield: what the node had granted
	Owners    map[string]int64 `json:"owners,omitempty"`  // Yield
	Mine      []Request        `json:"mine,omitempty"`    // Report: what the node holds
	Waiting   []string         `json:"waiting,omitempty"` // Report: what it waits for
}

// New makes a node; Run works.
func New(cfg Config) *Node {
	if cfg.Beat == 0 {
		cfg.Beat = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Node{cfg: cfg, wake: make(chan struct{}, 1), held: map[string]Request{}, waiting: map[string]*asked{}, released: map[string]Request{},
		kept: map[string]*domain{}, grants: map[int64][]Request{}, busy: map[int64]bool{}, missed: map[int64]bool{}}
}

// Acquire asks for a start; it never blocks. A known request is not asked twice.
func (n *Node) Acquire(r Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.held[r.ID]; ok || n.waiting[r.ID] != nil {
		return
	}
	if r.Since.IsZero() {
		r.Since = n.cfg.Now()
	}
	r.Granted = nil
	delete(n.released, r.ID)
	n.waiting[r.ID] = &asked{Request: r}
	n.poke()
}

// Release gives a start's claims back, or takes the request away. It never blocks; an unknown id
// changes nothing.
func (n *Node) Release(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r, ok := n.held[id]; ok {
		n.released[id] = r
	} else if w := n.waiting[id]; w != nil {
		n.released[id] = w.Request
	} else {
		return
	}
	delete(n.held, id)
	delete(n.waiting, id)
	n.poke()
}

// Restore makes grants this node's that another incarnation had. It returns once every keeper
// knows, so that the dead one's estate may be settled.
func (n *Node) Restore(ctx context.Context, held []Request) error {
	n.mu.Lock()
	for _, r := range held {
		n.held[r.ID] = r
		delete(n.waiting, r.ID)
	}
	n.mu.Unlock()
	left := slices.Clone(held)
	for len(left) > 0 {
		if err := n.look(ctx); err != nil {
			return err
		}
		for to, batch := range n.byKeeper(left) {
			rep, err := n.ask(ctx, to, message{Hold: batch})
			if err != nil {
				continue // it is asked again, or another one keeps the domain by then
			}
			left = slices.DeleteFunc(left, func(r Request) bool { return slices.Contains(rep.Done, r.ID) })
		}
		if len(left) > 0 {
			if err := wait(ctx, n.cfg.Beat/10); err != nil {
				return err
			}
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run works until ctx is done.
func (n *Node) Run(ctx context.Context) {
	beat := time.NewTicker(n.cfg.Beat)
	defer beat.Stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	again := true
	for ctx.Err() == nil {
		if again {
			if err := n.look(ctx); err != nil && ctx.Err() == nil {
				n.cfg.Log.Warn("who lives is not known: limits wait", "error", err)
			}
			n.adjust()
		}
		n.recount(ctx, &sending)
		n.send(ctx, &sending)
		again = false
		select {
		case <-ctx.Done():
		case <-beat.C:
			again = true
			n.resend()
		case <-n.wake:
		}
	}
}

func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// look finds out who lives.
func (n *Node) look(ctx context.Context) error {
	me, live, whole, err := n.cfg.Network.Live(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.whole = false
		return err
	}
	live = slices.Clone(live)
	slices.Sort(live)
	n.me, n.live, n.whole = me, live, whole
	return nil
}

// keeperOf needs n.mu; 0 = not known.
func (n *Node) keeperOf(name string) int64 { return rendezvous.Choose("limits "+name, n.live) }

func (n *Node) byKeeper(list []Request) map[int64][]Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[int64][]Request{}
	for _, r := range list {
		k := n.keeperOf(r.Domain)
		out[k] = append(out[k], r)
	}
	return out
}

// adjust closes the domains that others keep now, and drops what dead replicas held once their
// heirs have restored it.
func (n *Node) adjust() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, d := range n.kept {
		if n.keeperOf(name) != n.me {
			n.shut(d) // who keeps it now asks what it had granted
			continue
		}
		if !n.whole || !d.open {
			continue
		}
		for id, a := range d.asks {
			if !slices.Contains(n.live, a.owner) {
				delete(d.asks, id)
				d.keeper.Release(id)
			}
		}
	}
	for to := range n.grants {
		if !slices.Contains(n.live, to) {
			delete(n.grants, to)
		}
	}
}

// shut makes a domain grant nothing more, for good. It needs n.mu.
func (n *Node) shut(d *domain) {
	n.collect() // what was given up to now counts
	d.open = false
	d.keeper.Reset()
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
		n.poke()
	}
	d.keeper.Acquire(r)
}

// collect notes what keepers here have granted, and whom that is to be told. It needs n.mu.
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
		n.grants[a.owner] = append(n.grants[a.owner], Request{Request: limits.Request{ID: g.id}, Domain: g.name})
	}
}

// keep is a domain of ours, nil if another node keeps it. It needs n.mu.
func (n *Node) keep(name string) *domain {
	if n.me == 0 || n.keeperOf(name) != n.me {
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

// resend makes everything that waits for an answer be asked again.
func (n *Node) resend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.waiting {
		w.sent = false
	}
}

var errMoved = errors.New("another replica keeps it now")

func (n *Node) ask(ctx context.Context, to int64, m message) (reply, error) {
	n.mu.Lock()
	m.From = n.me
	own := to == n.me
	n.mu.Unlock()
	if own {
		return n.take(m), nil
	}
	if to == 0 {
		return reply{}, errMoved
	}
	b, err := json.Marshal(m)
	if err != nil {
		return reply{}, err
	}
	calling, cancel := context.WithTimeout(ctx, 5*n.cfg.Beat)
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
	return json.Marshal(n.take(m))
}
