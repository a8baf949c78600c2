package limits

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

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

// Config of NewNode.
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
}

// asked is a request of ours that waits.
type asked struct {
	Request
	sent bool
}

// domain is one that this node keeps, is about to keep, or has kept and not been asked for since.
type domain struct {
	*Keeper
	owners  map[string]int64 // request -> node that asked
	closed  bool             // it must be counted before it grants
	asking  bool             // and that is under way
	gone    []string         // released while closed
	late    []Request        // told as held while closed
	lateFor map[string]int64
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

// NewNode makes a node; Run works.
func NewNode(cfg Config) *Node {
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
	if r.At.IsZero() {
		r.At = n.cfg.Now()
	}
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
	due := time.NewTimer(time.Hour)
	defer due.Stop()
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
		next := n.tick()
		n.send(ctx, &sending)
		due.Reset(next)
		again = false
		select {
		case <-ctx.Done():
		case <-beat.C:
			again = true
			n.resend()
		case <-due.C:
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
			d.closed, d.open = true, false // who keeps it now asks what it had granted
			continue
		}
		if !n.whole || d.closed {
			continue
		}
		for id, owner := range d.owners {
			if !slices.Contains(n.live, owner) {
				n.note(d, name, d.Keeper.Release(id, n.cfg.Now()))
				delete(d.owners, id)
			}
		}
	}
	for to := range n.grants {
		if !slices.Contains(n.live, to) {
			delete(n.grants, to)
		}
	}
}

// note remembers whom grants are to be told. It needs n.mu.
func (n *Node) note(d *domain, name string, ids []string) {
	for _, id := range ids {
		to := d.owners[id]
		n.grants[to] = append(n.grants[to], Request{ID: id, Domain: name})
	}
	if len(ids) > 0 {
		n.poke()
	}
}

// keep is a domain of ours, nil if another node keeps it. It needs n.mu.
func (n *Node) keep(name string) *domain {
	if n.me == 0 || n.keeperOf(name) != n.me {
		return nil
	}
	d := n.kept[name]
	if d == nil {
		d = &domain{Keeper: NewKeeper(n.cfg.Now()), owners: map[string]int64{}, closed: true}
		n.kept[name] = d
	}
	if d.closed && !d.asking {
		n.poke()
	}
	return d
}

// tick grants what tokens have gathered for, and tells when to look again.
func (n *Node) tick() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, next := n.cfg.Now(), time.Hour
	for name, d := range n.kept {
		n.note(d, name, d.Tick(now))
		if at, ok := d.Next(now); ok {
			next = min(next, max(at.Sub(now), time.Millisecond))
		}
	}
	return next
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
