package shared

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/app/rendezvous"
)

// Network is what a Node knows of the replicas.
type Network interface {
	// Live are the incarnations that live, as they are now. whole tells that none is dead without its
	// runs having been taken up and its grants adopted and flushed.
	Live(ctx context.Context) (live []int64, whole bool, err error)
	// Held tells whether this replica may still act, by its own clock.
	Held() bool
	// Call asks another replica's Node (its Answer) and gives its one answer.
	Call(ctx context.Context, to int64, ask []byte) (answer []byte, err error)
}

// Config of New.
type Config struct {
	Me      int64 // this incarnation
	Network Network
	// Spent tells what durable starts have taken of a domain's rates, by key: how long a bucket takes
	// to be full again. nil: nothing.
	Spent func(ctx context.Context, domain string) (map[string]time.Duration, error)
	// Beat is how often is looked who lives, and what got lost is asked again. Defaults to 1 s.
	Beat time.Duration
	Now  func() time.Time
	Log  *slog.Logger // Defaults to slog.Default()
}

// Request asks for places in one domain. Its Granted is not used.
type Request struct {
	limits.Request
	Domain string
	// Try asks for places at once or not at all; the decision waits until the keeper knows.
	Try bool `json:",omitempty"`
	// Oldest asks to be told who is in its way.
	Oldest bool `json:",omitempty"`
	// Ask tells calls of Acquire apart; the Node sets it.
	Ask int64 `json:",omitempty"`
	// Tell takes decisions: any number while it waits, then one that is granted or refused, after
	// which nothing counts. It is called from any goroutine and must neither block nor call the Node.
	Tell func(Decision) `json:"-"`
}

// Decision is where a request stands.
type Decision struct {
	ID      string       `json:"id"`
	Ask     int64        `json:"ask"`
	Granted bool         `json:"granted,omitempty"`
	Refused bool         `json:"refused,omitempty"` // Try
	Cause   limits.Cause `json:"cause,omitzero"`    // while it waits, or of Refused
	Oldest  []string     `json:"oldest,omitempty"`  // holders that are in its way, the earliest first
}

// Node is one replica's part in keeping limits. Safe for concurrent use, but for Run, which is called once.
type Node struct {
	cfg  Config
	wake chan struct{}

	mu      sync.Mutex
	live    []int64
	whole   bool
	seq     int              // counts what changes who lives
	seen    int              // seq when live was looked up
	follows map[string]epoch // domains whose keeper has asked what is held since
	held    map[string]Request
	waiting map[string]*asked
	out     map[string]*outgoing // by domain
	kept    map[string]*domain   // domains that we keep
	news    map[int64][]notice   // to be told to those who asked
	busy    map[int64]bool       // a message to it is under way
	asks    int64
	told    []func() // to be called once mu is free

	inline atomic.Bool // whoever holds mu collects afterwards
	fresh  sync.Mutex  // of given; never held while another lock is taken
	given  []given
}

type epoch struct {
	keeper int64
	seq    int
}

// asked is a request of ours that waits.
type asked struct {
	Request
	cause limits.Cause
}

// outgoing is what a domain's keeper has not been told yet, by request.
type outgoing struct{ ask, hold, release map[string]bool }

// New makes a node; Run works.
func New(cfg Config) *Node {
	if cfg.Beat == 0 {
		cfg.Beat = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Node{cfg: cfg, wake: make(chan struct{}, 1), seq: 1, follows: map[string]epoch{}, held: map[string]Request{},
		waiting: map[string]*asked{}, out: map[string]*outgoing{}, kept: map[string]*domain{}, news: map[int64][]notice{}, busy: map[int64]bool{}}
}

// unlock gives mu back and tells what there is to tell.
func (n *Node) unlock() {
	told := n.told
	n.told = nil
	n.mu.Unlock()
	for _, f := range told {
		f()
	}
}

// Acquire asks for a start; it never blocks. A known request is not asked twice.
func (n *Node) Acquire(r Request) {
	n.mu.Lock()
	defer n.unlock()
	if _, ok := n.held[r.ID]; ok || n.waiting[r.ID] != nil {
		return
	}
	if r.Since.IsZero() {
		r.Since = n.cfg.Now()
	}
	n.asks++
	r.Granted, r.Ask = nil, n.asks
	n.waiting[r.ID] = &asked{Request: r, cause: unknown}
	if n.keep(r.Domain) != nil {
		rep := n.keepFor(message{From: n.cfg.Me, Acquire: []Request{r}})
		for _, d := range rep.Decisions {
			n.decide(n.cfg.Me, r.Domain, d)
			return
		}
	}
	o := n.outgoing(r.Domain)
	delete(o.release, r.ID)
	o.ask[r.ID] = true
	n.poke()
}

// Adopt makes a grant this node's that another incarnation had. It never blocks.
func (n *Node) Adopt(r Request) {
	n.mu.Lock()
	defer n.unlock()
	if _, ok := n.held[r.ID]; ok {
		return
	}
	r.Granted, r.Tell = nil, nil
	n.held[r.ID] = r
	delete(n.waiting, r.ID)
	if o := n.out[r.Domain]; o != nil {
		delete(o.ask, r.ID)
		delete(o.release, r.ID)
	}
	if n.keep(r.Domain) != nil && len(n.keepFor(message{From: n.cfg.Me, Hold: []Request{r}}).Noted) > 0 {
		return
	}
	n.outgoing(r.Domain).hold[r.ID] = true
	n.poke()
}

// Started tells that a granted start is durable together with what it has taken of rates: that is
// not to be taken off again.
func (n *Node) Started(id string) {
	n.mu.Lock()
	defer n.unlock()
	r, ok := n.held[id]
	if !ok {
		return
	}
	r.Claims = slices.DeleteFunc(slices.Clone(r.Claims), func(c limits.Claim) bool { return c.Per > 0 })
	if n.held[id] = r; len(r.Claims) == 0 {
		n.giveBack(id)
	}
}

// Release gives a start's claims back, or takes the request away. It never blocks; an unknown id
// changes nothing.
func (n *Node) Release(id string) {
	n.mu.Lock()
	defer n.unlock()
	n.giveBack(id)
}

// giveBack needs n.mu.
func (n *Node) giveBack(id string) {
	r, ok := n.held[id]
	w := n.waiting[id]
	switch {
	case ok:
	case w != nil:
		r = w.Request
	default:
		return
	}
	delete(n.held, id)
	delete(n.waiting, id)
	n.released(r.Domain, id)
}

// released tells a keeper that a place is free. It needs n.mu.
func (n *Node) released(domain, id string) {
	if o := n.out[domain]; o != nil {
		delete(o.ask, id)
		delete(o.hold, id)
	}
	if n.keep(domain) != nil && len(n.keepFor(message{From: n.cfg.Me, Release: []Request{bare(id, domain)}}).Done) > 0 {
		return
	}
	n.outgoing(domain).release[id] = true
	n.poke()
}

// Flush returns once the keepers know of everything that was adopted, or is released meanwhile.
func (n *Node) Flush(ctx context.Context) error {
	for {
		n.mu.Lock()
		left := 0
		for _, o := range n.out {
			left += len(o.hold)
		}
		n.mu.Unlock()
		if left == 0 {
			return nil
		}
		if err := n.pause(ctx); err != nil {
			return err
		}
		n.poke()
	}
}

// Known tells at once why a request waits, as far as this node knows; false if it does not wait.
func (n *Node) Known(id string) (limits.Cause, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.waiting[id]
	if w == nil {
		return limits.Cause{}, false
	}
	if d := n.kept[w.Domain]; d != nil && d.open {
		if why, ok := d.keeper.Why(id); ok {
			return why, true
		}
	}
	return w.cause, true
}

// Why tells why requests wait, as their keepers know it at this moment. One that does not answer
// is not waited for beyond a beat.
func (n *Node) Why(ctx context.Context, ids []string) map[string]limits.Cause {
	out, far := map[string]limits.Cause{}, map[int64][]Request{}
	for _, id := range ids {
		why, waits := n.Known(id)
		if !waits {
			continue
		}
		out[id] = why
		n.mu.Lock()
		if w := n.waiting[id]; w != nil {
			if k := n.keeper(w.Domain); k != n.cfg.Me && k != 0 {
				far[k] = append(far[k], bare(id, w.Domain))
			}
		}
		n.mu.Unlock()
	}
	for k, list := range far {
		rep, err := n.ask(ctx, k, message{Why: list})
		for i, id := range rep.Waiting {
			out[id] = rep.Causes[i]
		}
		if err != nil {
			for _, r := range list {
				out[r.ID] = unknown
			}
		}
	}
	return out
}

// bare names a request.
func bare(id, domain string) Request {
	return Request{Request: limits.Request{ID: id}, Domain: domain}
}

// pause waits until what has failed may be tried again.
func (n *Node) pause(ctx context.Context) error {
	t := time.NewTimer(min(n.cfg.Beat/10, 50*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Changed tells that somebody has begun or ended to live, or that an estate is settled.
func (n *Node) Changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookSoon()
}

// lookSoon needs n.mu.
func (n *Node) lookSoon() {
	n.seq++
	n.poke()
}

// Run works until ctx is done.
func (n *Node) Run(ctx context.Context) {
	beat := time.NewTicker(n.cfg.Beat)
	defer beat.Stop()
	var sending sync.WaitGroup
	defer sending.Wait()
	again := true
	for ctx.Err() == nil {
		n.mu.Lock()
		again = again || n.seen != n.seq
		n.mu.Unlock()
		if again {
			if err := n.look(ctx); err != nil && ctx.Err() == nil {
				n.cfg.Log.Warn("who lives is not known: limits wait", "error", err)
				_ = n.pause(ctx)
			}
		}
		n.recount(ctx, &sending)
		n.send(ctx, &sending)
		again = false
		select {
		case <-ctx.Done():
		case <-beat.C:
			again = true
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
	n.mu.Lock()
	seq := n.seq
	n.mu.Unlock()
	live, whole, err := n.cfg.Network.Live(ctx)
	n.mu.Lock()
	defer n.unlock()
	if err != nil {
		n.whole = false
		return err
	}
	live = slices.Clone(live)
	slices.Sort(live)
	moved := !slices.Equal(live, n.live)
	n.live, n.whole, n.seen = live, whole, seq
	for name, f := range n.follows {
		if f.seq <= seq {
			moved = moved || f.keeper != n.keeperOf(name)
			delete(n.follows, name)
		}
	}
	if moved {
		n.askAgain("")
	}
	n.adjust()
	return nil
}

// askAgain makes what waits in a domain, or in all, be asked of its keeper once more. It needs n.mu.
func (n *Node) askAgain(domain string) {
	for id, w := range n.waiting {
		if domain == "" || w.Domain == domain {
			n.outgoing(w.Domain).ask[id] = true
		}
	}
	n.poke()
}

// keeperOf is whose a domain is by hash; 0 = not known. It needs n.mu.
func (n *Node) keeperOf(name string) int64 { return rendezvous.Choose("limits "+name, n.live) }

// keeper is whom this node listens to about a domain; 0 = not known. It needs n.mu.
func (n *Node) keeper(name string) int64 {
	if f, ok := n.follows[name]; ok {
		return f.keeper
	}
	return n.keeperOf(name)
}

// outgoing needs n.mu.
func (n *Node) outgoing(domain string) *outgoing {
	o := n.out[domain]
	if o == nil {
		o = &outgoing{map[string]bool{}, map[string]bool{}, map[string]bool{}}
		n.out[domain] = o
	}
	return o
}

// decide takes what a keeper says of a request. It needs n.mu.
func (n *Node) decide(from int64, domain string, d Decision) {
	w := n.waiting[d.ID]
	switch {
	case from != n.keeper(domain):
		if w != nil {
			n.outgoing(domain).ask[d.ID] = true
		}
		return
	case w == nil:
		if _, ok := n.held[d.ID]; d.Granted && !ok {
			n.released(domain, d.ID) // nobody wants it any more
		}
		return
	case w.Ask != d.Ask:
		return // it was taken back, and asked anew
	case d.Granted:
		delete(n.waiting, d.ID)
		n.held[d.ID] = w.Request
	case d.Refused:
		delete(n.waiting, d.ID)
	default:
		w.cause = d.Cause
	}
	if w.Tell != nil {
		n.told = append(n.told, func() { w.Tell(d) })
	}
}
