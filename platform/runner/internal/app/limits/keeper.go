package limits

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rate is a token bucket: Count tokens every Per, of which at most Burst (0 = Count) gather.
type Rate struct {
	Count int           `json:"count"`
	Per   time.Duration `json:"per"`
	Burst int           `json:"burst,omitempty"`
}

// Claim is one limit that a start stays within.
type Claim struct {
	Key   string `json:"key"`            // names the limit, as people know it: "customer-42", "project shop"
	Limit int    `json:"limit"`          // cost that may be held at a time, 0 = any
	Cost  int    `json:"cost,omitempty"` // 0 = 1
	Rate  *Rate  `json:"rate,omitempty"` // tokens that a start takes for good, as many as its cost
}

func (c Claim) cost() int { return max(c.Cost, 1) }

// Request asks for one start. It is granted within all its claims at once, or waits.
type Request struct {
	ID       string    `json:"id"`     // of the start (an execution, a run): the same id is the same request
	Domain   string    `json:"domain"` // claims in one domain share a keeper; a project is one
	Claims   []Claim   `json:"claims"`
	Priority int       `json:"priority,omitempty"` // higher first, within a share
	Share    string    `json:"share,omitempty"`    // who is treated fairly against others: the project
	Run      string    `json:"run,omitempty"`
	Step     string    `json:"step,omitempty"`
	At       time.Time `json:"at"` // since when it waits; set once, kept when its keeper changes
}

// The kinds of causes.
const (
	CauseCap    = "cap"    // as much as allowed is held
	CauseRate   = "rate"   // no tokens are left
	CauseKeeper = "keeper" // who keeps the limit is not known, or still counts what is held
)

// Cause is why a request waits.
type Cause struct {
	Kind     string    `json:"kind"`
	Key      string    `json:"key,omitempty"`
	Held     int       `json:"held,omitempty"`     // cap: cost held
	Limit    int       `json:"limit,omitempty"`    // cap
	Holders  []string  `json:"holders,omitempty"`  // cap: runs, the first 10
	Position int       `json:"position,omitempty"` // from 1; an estimate where several shares wait
	Until    time.Time `json:"until,omitzero"`     // rate: when it can be granted at the earliest
}

// String is the cause in words.
func (c Cause) String() string {
	place := ""
	if c.Position > 1 {
		place = fmt.Sprintf(", %d before it", c.Position-1)
	}
	switch c.Kind {
	case CauseRate:
		return fmt.Sprintf("rate of %s: next at %s%s", c.Key, c.Until.UTC().Format("15:04:05"), place)
	case CauseCap:
		if c.Limit == 1 && len(c.Holders) > 0 {
			return fmt.Sprintf("%s is held by run %s%s", c.Key, strings.Join(c.Holders, ", "), place)
		}
		return fmt.Sprintf("%s: %d of %d%s", c.Key, c.Held, c.Limit, place)
	}
	return "waiting for the replica that keeps the limits of " + c.Key
}

// Decision is where a request stands.
type Decision struct {
	ID      string `json:"id"`
	Granted bool   `json:"granted"`
	Cause   Cause  `json:"cause,omitzero"` // while it waits
}

// ageStep is the wait that counts as much as one point of priority.
const ageStep = 10 * time.Second

// Keeper decides what may start within the limits of one domain. It is plain state without clock or locks: its
// caller serialises calls and passes the time. A new one grants nothing before Rebuild.
//
// A request waits at the first of its claims that has no room. When there is room, the share that
// holds the least there is served, and within it the request of the highest priority, where every
// 10 seconds of waiting count as one point more. A request with a large cost is waited for: those
// behind it do not overtake it at that key. Buckets of a new keeper begin empty, since what was
// taken before is not known.
type Keeper struct {
	open  bool
	began time.Time
	keys  map[string]*key
	held  map[string]Request
	waits map[string]*waiter
}

type key struct {
	held    int
	byShare map[string]int
	holders map[string]int // request -> cost
	queues  map[string]*queue
	tokens  float64
	filled  time.Time
}

type waiter struct {
	Request
	key   *key
	claim Claim
	score int64
	index int
}

// queue is the waiters of one share at one key, the best first.
type queue []*waiter

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].score > q[j].score || (q[i].score == q[j].score && q[i].ID < q[j].ID)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i]; q[i].index, q[j].index = i, j }
func (q *queue) Push(x any)   { w := x.(*waiter); w.index = len(*q); *q = append(*q, w) }
func (q *queue) Pop() any {
	old := *q
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return w
}

// NewKeeper makes a keeper.
func NewKeeper(now time.Time) *Keeper {
	return &Keeper{began: now, keys: map[string]*key{}, held: map[string]Request{}, waits: map[string]*waiter{}}
}

// Rebuild tells what is held, also above a limit, and opens the keeper. It answers what waited and
// is granted now.
func (k *Keeper) Rebuild(held []Request, now time.Time) (granted []string) {
	for _, r := range held {
		k.Hold(r)
	}
	k.open = true
	waiting := make([]*waiter, 0, len(k.waits))
	for _, w := range k.waits {
		waiting = append(waiting, w)
	}
	slices.SortFunc(waiting, func(a, b *waiter) int { return int(min(max(b.score-a.score, -1), 1)) })
	for _, w := range waiting {
		k.unqueue(w)
		if k.place(w.Request, nil, now) {
			granted = append(granted, w.ID)
		}
	}
	return granted
}

// Hold notes a request as granted, whatever the limits say: it was granted by another keeper.
func (k *Keeper) Hold(r Request) {
	if _, ok := k.held[r.ID]; ok {
		return
	}
	if w := k.waits[r.ID]; w != nil {
		k.unqueue(w)
	}
	k.take(r, false)
}

// Held are the requests that hold their claims.
func (k *Keeper) Held() []Request {
	out := make([]Request, 0, len(k.held))
	for _, r := range k.held {
		out = append(out, r)
	}
	return out
}

// Acquire decides a request, or tells again where a known one stands.
func (k *Keeper) Acquire(r Request, now time.Time) Decision {
	if _, ok := k.held[r.ID]; ok {
		return Decision{ID: r.ID, Granted: true}
	}
	if w := k.waits[r.ID]; w != nil {
		return Decision{ID: r.ID, Cause: k.cause(w, now)}
	}
	if k.place(r, nil, now) {
		return Decision{ID: r.ID, Granted: true}
	}
	return Decision{ID: r.ID, Cause: k.cause(k.waits[r.ID], now)}
}

// Release gives claims back, or takes a waiting request away. It answers what is granted by that.
// An unknown id changes nothing.
func (k *Keeper) Release(id string, now time.Time) (granted []string) {
	if w := k.waits[id]; w != nil {
		at := w.key
		k.unqueue(w)
		return k.serve(at, now) // one with a large cost may have stood before others
	}
	r, ok := k.held[id]
	if !ok {
		return nil
	}
	delete(k.held, id)
	for _, c := range r.Claims {
		x := k.keys[c.Key]
		cost := x.holders[id]
		delete(x.holders, id)
		x.held -= cost
		if x.byShare[r.Share] -= cost; x.byShare[r.Share] <= 0 {
			delete(x.byShare, r.Share)
		}
	}
	for _, c := range r.Claims {
		if x := k.keys[c.Key]; x != nil {
			granted = append(granted, k.serve(x, now)...)
			k.tidy(c.Key, now)
		}
	}
	return granted
}

// Tick grants what tokens have gathered for.
func (k *Keeper) Tick(now time.Time) (granted []string) {
	for name, x := range k.keys {
		granted = append(granted, k.serve(x, now)...)
		k.tidy(name, now)
	}
	return granted
}

// Next is when Tick may grant something, false if not before a release.
func (k *Keeper) Next(now time.Time) (at time.Time, ok bool) {
	if !k.open {
		return at, false
	}
	for _, w := range k.waits {
		if w.claim.Rate == nil {
			continue
		}
		if t := w.key.when(w.claim, now); !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// place grants a request or queues it; a closed keeper queues. at is the key whose turn it has, if any.
func (k *Keeper) place(r Request, at *key, now time.Time) bool {
	for _, c := range r.Claims {
		x := k.key(c.Key)
		if k.open && x.room(c, now) && (x == at || k.turn(x, r)) {
			continue
		}
		w := &waiter{Request: r, key: x, claim: c, score: int64(r.Priority)*int64(ageStep) - r.At.UnixNano()}
		if x.queues[r.Share] == nil {
			x.queues[r.Share] = &queue{}
		}
		heap.Push(x.queues[r.Share], w)
		k.waits[r.ID] = w
		return false
	}
	k.take(r, true)
	return true
}

// turn tells whether a request that comes new goes before all that wait at a key: else the room
// is theirs.
func (k *Keeper) turn(x *key, r Request) bool {
	for share, q := range x.queues {
		head := (*q)[0]
		score := int64(r.Priority)*int64(ageStep) - r.At.UnixNano()
		if share == r.Share && head.score >= score {
			return false
		}
		if share != r.Share && x.byShare[share] <= x.byShare[r.Share] {
			return false
		}
	}
	return true
}

// serve grants at a key while there is room.
func (k *Keeper) serve(x *key, now time.Time) (granted []string) {
	for k.open {
		w := x.next()
		if w == nil || !x.room(w.claim, now) {
			return granted
		}
		k.unqueue(w)
		if k.place(w.Request, x, now) {
			granted = append(granted, w.ID)
		} else if k.waits[w.ID].key == x {
			return granted // its turn is not yet
		}
	}
	return granted
}

// next is the waiter whose turn it is: the best one of the share that holds the least.
func (x *key) next() *waiter {
	var best *waiter
	least := 0
	for share, q := range x.queues {
		h, u := (*q)[0], x.byShare[share]
		if best == nil || u < least || (u == least && (h.score > best.score || (h.score == best.score && h.ID < best.ID))) {
			best, least = h, u
		}
	}
	return best
}

func (k *Keeper) unqueue(w *waiter) {
	q := w.key.queues[w.Share]
	heap.Remove(q, w.index)
	if q.Len() == 0 {
		delete(w.key.queues, w.Share)
	}
	delete(k.waits, w.ID)
}

func (k *Keeper) take(r Request, tokens bool) {
	k.held[r.ID] = r
	for _, c := range r.Claims {
		x := k.key(c.Key)
		x.held += c.cost()
		x.holders[r.ID] += c.cost()
		x.byShare[r.Share] += c.cost()
		if tokens && c.Rate != nil {
			x.tokens -= float64(c.cost())
		}
	}
}

func (k *Keeper) key(name string) *key {
	x := k.keys[name]
	if x == nil {
		x = &key{byShare: map[string]int{}, holders: map[string]int{}, queues: map[string]*queue{}, filled: k.began}
		k.keys[name] = x
	}
	return x
}

// tidy forgets a key that nothing is known of.
func (k *Keeper) tidy(name string, now time.Time) {
	x := k.keys[name]
	if x != nil && len(x.holders) == 0 && len(x.queues) == 0 && now.Sub(x.filled) > time.Hour {
		delete(k.keys, name)
	}
}

func (x *key) fill(r *Rate, now time.Time) {
	burst := float64(max(r.Burst, r.Count))
	if r.Burst > 0 {
		burst = float64(r.Burst)
	}
	if d := now.Sub(x.filled); d > 0 {
		x.tokens = min(burst, x.tokens+float64(r.Count)*d.Seconds()/r.Per.Seconds())
		x.filled = now
	}
}

// room tells whether a claim fits. One above the whole limit fits when nothing else is held.
func (x *key) room(c Claim, now time.Time) bool {
	if c.Limit > 0 && x.held > 0 && x.held+c.cost() > c.Limit {
		return false
	}
	if c.Rate == nil {
		return true
	}
	x.fill(c.Rate, now)
	return x.tokens >= x.need(c)-1e-9
}

// need is how many tokens a claim waits for: never more than gather.
func (x *key) need(c Claim) float64 {
	most := c.Rate.Burst
	if most == 0 {
		most = c.Rate.Count
	}
	return float64(min(c.cost(), most))
}

// when is the time at which a claim has its tokens; zero if it waits for something else.
func (x *key) when(c Claim, now time.Time) time.Time {
	if c.Rate == nil || (c.Limit > 0 && x.held > 0 && x.held+c.cost() > c.Limit) {
		return time.Time{}
	}
	x.fill(c.Rate, now)
	missing := x.need(c) - x.tokens
	return now.Add(time.Duration(max(0, missing)/float64(c.Rate.Count)*float64(c.Rate.Per)) + time.Microsecond)
}

const (
	shownHolders = 10
	exactQueue   = 1000 // beyond this a place in the queue is not counted but taken to be the last
)

func (k *Keeper) cause(w *waiter, now time.Time) Cause {
	if !k.open {
		return Cause{Kind: CauseKeeper, Key: w.claim.Key}
	}
	x := w.key
	c := Cause{Kind: CauseCap, Key: w.claim.Key, Held: x.held, Limit: w.claim.Limit, Position: x.position(w)}
	if t := x.when(w.claim, now); !t.IsZero() {
		return Cause{Kind: CauseRate, Key: c.Key, Position: c.Position, Until: t}
	}
	seen := map[string]bool{}
	for id := range x.holders {
		if run := k.held[id].Run; !seen[run] {
			seen[run] = true
			c.Holders = append(c.Holders, run)
		}
		if len(c.Holders) > shownHolders*2 {
			break
		}
	}
	slices.Sort(c.Holders)
	c.Holders = c.Holders[:min(len(c.Holders), shownHolders)]
	return c
}

func (x *key) position(w *waiter) int {
	rank := 1
	if own := *x.queues[w.Share]; len(own) > exactQueue {
		rank = len(own)
	} else {
		for i := range own {
			if own.Less(i, w.index) {
				rank++
			}
		}
	}
	place := rank
	for share, q := range x.queues {
		if share != w.Share {
			place += min(q.Len(), rank-1)
		}
	}
	return place
}
