// Package limits grants places under limits: so many at a time with one key, so many starts in a
// time. A Keeper holds the limits of the runs of one database; it lives in memory and is told at
// its start who holds places already (Restore), before it grants any (Open).
//
// A request names all the places that it needs and gets them together. While one of them is
// taken it waits in the queue of that one. Queues are ordered by time of arrival, from which a
// priority takes AgeStep a point: what has waited long enough overtakes what is more urgent and
// came later. Where requests of several shares (projects) wait for one place, the share that
// holds fewest places under it comes first.
package limits

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// AgeStep is the head start that one point of priority gives.
const AgeStep = 10 * time.Second

// Claim is one place that a request needs: of Limit at a time, or of a rate if Per is set.
type Claim struct {
	Key   string
	Label string // in words, such as "key customer-42"
	Limit int    // places; for a rate: starts within Per
	Per   time.Duration
	Burst int // rate: how many may start at once after a quiet time, 0 = Limit
}

// Request asks for places.
type Request struct {
	ID       string // unique among requests; Release names it
	Claims   []Claim
	Priority int
	Share    string
	Holder   string    // who asks, in words for others who wait: a run's id
	Since    time.Time // when it was first asked, zero = now
	// Granted is called once, without locks held, when all places are given. It must not block.
	Granted func() `json:"-"`

	order   int64
	blocked int // the claim in whose queue it waits
	index   int // place in that queue's heap
}

// Cause tells why a request waits.
type Cause struct {
	Key      string    `json:"-"` // of the claim
	Label    string    `json:"label"`
	HeldBy   []string  `json:"held_by,omitempty"` // holders, the earliest first, at most ten
	Taken    int       `json:"taken"`
	Limit    int       `json:"limit"`
	Position int       `json:"position"` // in the queue of its share, from 1
	Next     time.Time `json:"next,omitzero"`
}

// String tells the cause in words.
func (c Cause) String() string {
	switch {
	case !c.Next.IsZero():
		return fmt.Sprintf("%s allows the next start at %s", c.Label, c.Next.UTC().Format("15:04:05.000"))
	case len(c.HeldBy) == 0:
		return c.Label + " is not known yet"
	case c.Limit == 1:
		return fmt.Sprintf("%s is held by run %s", c.Label, c.HeldBy[0])
	}
	return fmt.Sprintf("%s: %d of %d taken, by runs %s", c.Label, c.Taken, c.Limit, strings.Join(c.HeldBy, ", "))
}

// Keeper grants places. Safe for concurrent use.
type Keeper struct {
	now   func() time.Time
	after func(time.Duration, func()) (stop func() bool)

	mu       sync.Mutex
	open     bool
	seq      int64
	places   map[string]*place
	requests map[string]*Request // that wait
	held     map[string][]string // request id -> keys
	early    []*Request          // asked before Open
	spent    map[string]time.Duration
	spentAt  time.Time
	buckets  int // made since the last sweep
}

// place is what is known of one key.
type place struct {
	key     string
	holders []holder // in order of their grants
	byShare map[string]int
	queues  map[string]*queue // by share
	waiting int
	claim   Claim // as asked for last

	tokens float64
	filled time.Time // zero = not looked at yet
	timer  func() bool
}

type holder struct{ id, name, share string }

// New makes a keeper that grants nothing until Open. after is time.AfterFunc or its like.
func New(now func() time.Time, after func(time.Duration, func()) (stop func() bool)) *Keeper {
	return &Keeper{now: now, after: after, places: map[string]*place{}, requests: map[string]*Request{}, held: map[string][]string{}}
}

// Restore notes places that were held before the keeper started.
func (k *Keeper) Restore(r Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.held[r.ID]; !known {
		k.hold(&r)
	}
}

// Spent tells the keeper what others have taken of rates, by key: how long the key's bucket takes to be
// full again. It is called before anything is restored or asked.
func (k *Keeper) Spent(rates map[string]time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spent, k.spentAt = rates, k.now()
}

// Open lets the keeper grant.
func (k *Keeper) Open() {
	k.mu.Lock()
	k.open = true
	early := k.early
	k.early = nil
	slices.SortStableFunc(early, func(a, b *Request) int { return int(min(max(a.order-b.order, -1), 1)) })
	var granted []*Request
	for _, r := range early {
		if k.requests[r.ID] == r && k.try(r) {
			granted = append(granted, r)
		}
	}
	k.mu.Unlock()
	tell(granted)
}

// Reset forgets everything and closes the keeper. Nothing that was asked before is granted.
func (k *Keeper) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.places {
		if p.timer != nil {
			p.timer()
		}
		p.waiting, p.queues = 0, map[string]*queue{} // a timer that runs already finds nobody
	}
	k.open, k.early, k.spent = false, nil, nil
	k.places, k.requests, k.held = map[string]*place{}, map[string]*Request{}, map[string][]string{}
}

func tell(granted []*Request) {
	for _, r := range granted {
		if r.Granted != nil {
			r.Granted()
		}
	}
}

// Acquire asks for places; Granted is called when they are given, which may be at once. A
// request that waits or holds already is not asked for twice.
func (k *Keeper) Acquire(r Request) {
	k.mu.Lock()
	_, holds := k.held[r.ID]
	if k.requests[r.ID] != nil {
		k.mu.Unlock()
		return
	}
	if holds {
		k.mu.Unlock()
		r.Granted()
		return
	}
	x := k.enqueue(&r)
	granted := k.open && k.try(x)
	if !k.open {
		k.early = append(k.early, x)
	}
	k.mu.Unlock()
	if granted {
		r.Granted()
	}
}

// TryAcquire gives the places at once, or tells why it cannot and forgets the request.
func (k *Keeper) TryAcquire(r Request) (Cause, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, holds := k.held[r.ID]; holds {
		return Cause{}, true
	}
	x := k.enqueue(&r)
	if k.open && k.try(x) {
		return Cause{}, true
	}
	c := k.cause(x)
	k.withdraw(x)
	return c, false
}

func (k *Keeper) enqueue(r *Request) *Request {
	k.seq++
	if r.Since.IsZero() {
		r.Since = k.now()
	}
	r.blocked, r.index = -1, -1
	r.order = r.Since.Add(-time.Duration(r.Priority) * AgeStep).UnixNano()
	k.requests[r.ID] = r
	return r
}

// Release gives places back, or withdraws a request that waits.
func (k *Keeper) Release(id string) {
	k.mu.Lock()
	if r := k.requests[id]; r != nil {
		k.withdraw(r)
	}
	keys := k.held[id]
	delete(k.held, id)
	var granted []*Request
	for _, key := range keys {
		p := k.places[key]
		if p == nil || p.claim.Per > 0 {
			continue
		}
		if i := slices.IndexFunc(p.holders, func(h holder) bool { return h.id == id }); i >= 0 {
			p.byShare[p.holders[i].share]--
			p.holders = slices.Delete(p.holders, i, i+1)
		}
		granted = append(granted, k.serve(p)...)
	}
	k.mu.Unlock()
	tell(granted)
}

// Why tells what a request waits for, false if it does not wait.
func (k *Keeper) Why(id string) (Cause, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.requests[id]
	if r == nil {
		return Cause{}, false
	}
	return k.cause(r), true
}

// Holders lists who holds places under a key, the earliest first.
func (k *Keeper) Holders(key string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.places[key]
	if p == nil {
		return nil
	}
	out := make([]string, len(p.holders))
	for i, h := range p.holders {
		out[i] = h.name
	}
	return out
}

func (k *Keeper) place(c Claim) *place {
	p := k.places[c.Key]
	if p == nil {
		p = &place{key: c.Key, byShare: map[string]int{}, queues: map[string]*queue{}}
		k.places[c.Key] = p
		if c.Per > 0 {
			k.sweep()
		}
	}
	p.claim = c
	return p
}

// sweep forgets, now and then, the buckets that are full: a new one is full too.
func (k *Keeper) sweep() {
	if k.buckets++; k.buckets < 1000+len(k.places)/2 {
		return
	}
	k.buckets = 0
	for key, p := range k.places {
		if p.claim.Per == 0 || p.waiting > 0 || p.timer != nil || p.filled.IsZero() {
			continue
		}
		if k.fill(p); p.tokens >= p.burst() {
			delete(k.places, key)
		}
	}
}

// try gives a request its places if all are free; else it waits for the first that is not.
func (k *Keeper) try(r *Request) bool {
	for i, c := range r.Claims {
		p := k.place(c)
		if !k.free(p) {
			k.wait(r, i, p)
			return false
		}
	}
	delete(k.requests, r.ID)
	k.hold(r)
	return true
}

func (k *Keeper) free(p *place) bool {
	if p.claim.Per == 0 {
		return len(p.holders) < max(p.claim.Limit, 1)
	}
	k.fill(p)
	return p.tokens >= 1
}

// fill adds the tokens that the time since the last look has brought.
func (k *Keeper) fill(p *place) {
	now, burst := k.now(), p.burst()
	if p.filled.IsZero() {
		p.tokens, p.filled = burst-k.spent[p.key].Seconds()*p.rate(), k.spentAt
		delete(k.spent, p.key)
	}
	p.tokens = min(burst, p.tokens+now.Sub(p.filled).Seconds()*p.rate())
	p.filled = now
}

// burst is how many tokens a full bucket holds.
func (p *place) burst() float64 {
	if p.claim.Burst > 0 {
		return float64(p.claim.Burst)
	}
	return float64(p.claim.Limit)
}

// rate is tokens a second.
func (p *place) rate() float64 { return float64(p.claim.Limit) / p.claim.Per.Seconds() }

func (k *Keeper) hold(r *Request) {
	keys := make([]string, 0, len(r.Claims))
	for _, c := range r.Claims {
		p := k.place(c)
		if c.Per > 0 {
			k.fill(p)
			p.tokens-- // below nothing if it is restored
			continue
		}
		keys = append(keys, c.Key)
		p.holders = append(p.holders, holder{r.ID, r.Holder, r.Share})
		p.byShare[r.Share]++
	}
	k.held[r.ID] = keys
}

func (k *Keeper) wait(r *Request, claim int, p *place) {
	r.blocked = claim
	q := p.queues[r.Share]
	if q == nil {
		q = &queue{}
		p.queues[r.Share] = q
	}
	heap.Push(q, r)
	p.waiting++
	k.arm(p)
}

// arm sets a timer for the next token of a rate that somebody waits for.
func (k *Keeper) arm(p *place) {
	if p.claim.Per == 0 || p.timer != nil || p.waiting == 0 {
		return
	}
	need := time.Duration((1 - p.tokens) / p.rate() * float64(time.Second))
	p.timer = k.after(max(need, time.Millisecond), func() {
		k.mu.Lock()
		p.timer = nil
		granted := k.serve(p)
		k.arm(p)
		k.mu.Unlock()
		tell(granted)
	})
}

// serve gives free places to those who wait for them.
func (k *Keeper) serve(p *place) []*Request {
	var granted []*Request
	for p.waiting > 0 && k.free(p) {
		r := p.next()
		k.unqueue(r, p)
		if k.try(r) {
			granted = append(granted, r)
		}
	}
	if p.waiting == 0 && len(p.holders) == 0 && p.claim.Per == 0 {
		delete(k.places, p.key)
	}
	return granted
}

// next is the one to serve: of the share that holds fewest places, then in order.
func (p *place) next() *Request {
	var best *Request
	for share, q := range p.queues {
		if len(*q) == 0 {
			continue
		}
		r := (*q)[0]
		if best == nil || p.byShare[share] < p.byShare[best.Share] || p.byShare[share] == p.byShare[best.Share] && r.order < best.order {
			best = r
		}
	}
	return best
}

func (k *Keeper) unqueue(r *Request, p *place) {
	q := p.queues[r.Share]
	heap.Remove(q, r.index)
	p.waiting--
	if len(*q) == 0 {
		delete(p.queues, r.Share)
	}
	r.blocked = -1
}

func (k *Keeper) withdraw(r *Request) {
	if r.blocked >= 0 {
		if p := k.places[r.Claims[r.blocked].Key]; p != nil {
			k.unqueue(r, p)
			if p.waiting == 0 && len(p.holders) == 0 && p.claim.Per == 0 {
				delete(k.places, p.key)
			}
		}
	}
	delete(k.requests, r.ID)
}

func (k *Keeper) cause(r *Request) Cause {
	if r.blocked < 0 {
		return Cause{Label: "the keeper of the limits"}
	}
	claim := r.Claims[r.blocked]
	p := k.places[claim.Key]
	c := Cause{Key: claim.Key, Label: claim.Label, Taken: len(p.holders), Limit: max(claim.Limit, 1), Position: 1}
	for _, h := range p.holders[:min(len(p.holders), 10)] {
		c.HeldBy = append(c.HeldBy, h.name)
	}
	for _, o := range *p.queues[r.Share] {
		if o.order < r.order {
			c.Position++
		}
	}
	if claim.Per > 0 {
		k.fill(p)
		need := (float64(c.Position) - p.tokens) / p.rate()
		c.Next = k.now().Add(time.Duration(need * float64(time.Second)))
	}
	return c
}

// queue is a heap by order.
type queue []*Request

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].order < q[j].order }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }

// Push is for container/heap.
func (q *queue) Push(x any) { r := x.(*Request); r.index = len(*q); *q = append(*q, r) }

// Pop is for container/heap.
func (q *queue) Pop() any {
	old := *q
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	r.index = -1
	return r
}
