package shared_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits/shared"
)

func req(id, domain, run string, claims ...limits.Claim) shared.Request {
	return shared.Request{Request: limits.Request{ID: id, Holder: run, Claims: claims}, Domain: domain}
}

func capOf(key string, limit int) limits.Claim {
	return limits.Claim{Key: key, Label: "key " + key, Limit: limit}
}

// world is several nodes, who of them lives, and what is under way: the judge of the limits.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	nodes map[int64]*member
	ghost map[int64]*member // dead, and do not know it yet
	last  int64
	owed  int // deaths whose grants no heir has restored yet
	use   map[string]int
	most  map[string]int
	over  []string
}

type member struct {
	*shared.Node
	w      *world
	id     int64
	cancel context.CancelFunc
	done   chan struct{}
	mine   map[string]shared.Request // asked
	runs   map[string]shared.Request // granted, under way
	told   chan shared.Decision
}

func newWorld(t *testing.T, most map[string]int) *world {
	return &world{t: t, nodes: map[int64]*member{}, ghost: map[int64]*member{}, use: map[string]int{}, most: most}
}

func (w *world) join() *member {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{w: w, id: w.last, cancel: cancel, done: make(chan struct{}), mine: map[string]shared.Request{}, runs: map[string]shared.Request{}, told: make(chan shared.Decision, 100000)}
	m.Node = shared.New(shared.Config{Me: m.id, Network: m, Beat: 20 * time.Millisecond, Now: time.Now})
	w.nodes[m.id] = m
	go func() { defer close(m.done); m.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-m.done })
	return m
}

// tell begins what is granted.
func (m *member) tell(d shared.Decision) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.nodes[m.id] != m {
		return // dead: it starts nothing any more
	}
	if r, ok := m.mine[d.ID]; ok && d.Granted {
		delete(m.mine, d.ID)
		m.runs[d.ID] = r
		m.w.begin(r)
	}
	m.told <- d
}

func (w *world) begin(r shared.Request) {
	for _, c := range r.Claims {
		w.use[c.Key]++
		if w.use[c.Key] > w.most[c.Key] {
			w.over = append(w.over, fmt.Sprintf("%s: %d of %d", c.Key, w.use[c.Key], w.most[c.Key]))
		}
	}
}

func (m *member) ask(r shared.Request) {
	m.w.mu.Lock()
	r.Tell = m.tell
	m.mine[r.ID] = r
	m.w.mu.Unlock()
	m.Acquire(r)
}

// end ends one that is under way, false if there is none.
func (m *member) end() bool {
	m.w.mu.Lock()
	id := ""
	for x, r := range m.runs {
		id = x
		for _, c := range r.Claims {
			m.w.use[c.Key]--
		}
		delete(m.runs, x)
		break
	}
	m.w.mu.Unlock()
	if id != "" {
		m.Release(id)
	}
	return id != ""
}

// kill ends a node, or leaves it to find out; heir takes over what it had, after a while.
func (w *world) kill(m, heir *member, ghost bool) {
	w.mu.Lock()
	for id, g := range w.ghost {
		delete(w.ghost, id)
		g.cancel()
	}
	delete(w.nodes, m.id)
	if ghost {
		w.ghost[m.id] = m
	}
	w.owed++
	held, asks := []shared.Request{}, []shared.Request{}
	for _, r := range m.runs {
		held = append(held, r)
	}
	for _, r := range m.mine {
		asks = append(asks, r)
	}
	w.mu.Unlock()
	if !ghost {
		m.cancel()
		<-m.done
	}
	for _, r := range held {
		heir.Adopt(r)
	}
	w.mu.Lock()
	for _, r := range held {
		heir.runs[r.ID] = r
	}
	w.mu.Unlock()
	require.NoError(w.t, heir.Flush(w.t.Context()))
	w.mu.Lock()
	w.owed--
	w.mu.Unlock()
	for _, r := range asks {
		heir.ask(r)
	}
}

func (m *member) Held() bool { return true }

func (m *member) Live(context.Context) ([]int64, bool, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	var live []int64
	for id := range m.w.nodes {
		live = append(live, id)
	}
	return live, m.w.owed == 0, nil
}

func (m *member) Call(ctx context.Context, to int64, ask []byte) ([]byte, error) {
	m.w.mu.Lock()
	n := m.w.nodes[to]
	if n == nil {
		n = m.w.ghost[to]
	}
	m.w.mu.Unlock()
	if rand.IntN(4) == 0 {
		<-time.After(time.Duration(rand.IntN(8)) * time.Millisecond)
	}
	if n == nil {
		return nil, errors.New("it is gone")
	}
	if rand.IntN(50) == 0 {
		return nil, errors.New("the message is lost")
	}
	answer, err := n.Answer(ctx, ask)
	if rand.IntN(50) == 0 {
		return nil, errors.New("the answer is lost")
	}
	return answer, err
}

func (w *world) members() []*member {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*member
	for _, m := range w.nodes {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return int(a.id - b.id) })
	return out
}

func granted(t *testing.T, m *member, id string) {
	t.Helper()
	for {
		select {
		case d := <-m.told:
			if d.ID == id && d.Granted {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not granted", id)
		}
	}
}

func TestNodesShareALimit(t *testing.T) {
	w := newWorld(t, map[string]int{"k": 1})
	a, b := w.join(), w.join()
	a.ask(req("1", "p", "r1", capOf("k", 1)))
	granted(t, a, "1")
	b.ask(req("2", "p", "r2", capOf("k", 1)))
	for d := range b.told {
		if d.ID == "2" && len(d.Cause.HeldBy) > 0 {
			require.Equal(t, "key k is held by run r1", d.Cause.String())
			break
		}
	}
	require.True(t, a.end())
	granted(t, b, "2")
	w.kill(b, a, false)
	a.ask(req("3", "p", "r3", capOf("k", 1)))
	require.True(t, a.end(), "the heir ends what it has restored")
	granted(t, a, "3")
	require.Empty(t, w.over)
}

// TestNodesComeAndGo: nodes join and die at random while starts are asked and end, and messages get
// lost. No limit is ever passed, and everything is granted in the end.
func TestNodesComeAndGo(t *testing.T) {
	most := map[string]int{"a": 5, "b": 1, "c": 3}
	w := newWorld(t, most)
	for range 3 {
		w.join()
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() { // things end
		for {
			for _, m := range w.members() {
				m.end()
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	n := 0
	for round := range 20 {
		for range 25 {
			n++
			key := []string{"a", "b", "c"}[n%3]
			r := req(fmt.Sprint("x", n), fmt.Sprint("p", n%3), fmt.Sprint("r", n), capOf(key, most[key]))
			all := w.members()
			all[rand.IntN(len(all))].ask(r)
		}
		<-time.After(time.Duration(rand.IntN(60)) * time.Millisecond)
		switch all := w.members(); {
		case round%2 == 1:
			w.join()
		case len(all) > 1:
			i := rand.IntN(len(all))
			w.kill(all[i], all[(i+1)%len(all)], rand.IntN(2) == 0)
		}
	}
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		left := 0
		for _, m := range w.nodes {
			left += len(m.mine) + len(m.runs)
		}
		return left == 0
	}, time.Minute, 5*time.Millisecond)
	close(stop)
	working.Wait()
	require.Empty(t, w.over)
}

func TestNodeDecidesAtOnceOrNotAtAll(t *testing.T) {
	w := newWorld(t, map[string]int{"k": 2})
	a, b := w.join(), w.join()
	for i, m := range []*member{a, b} {
		r := req(fmt.Sprint(i), "p", fmt.Sprint("r", i), capOf("k", 2))
		r.Try = true
		m.ask(r)
		granted(t, m, r.ID)
	}
	r := req("2", "p", "r2", capOf("k", 2))
	r.Try = true
	a.ask(r)
	d := <-a.told
	for d.ID != "2" || d.Granted == d.Refused {
		d = <-a.told
	}
	require.True(t, d.Refused)
	require.Equal(t, 2, d.Cause.Taken)
	r = req("3", "p", "r3", capOf("k", 2))
	r.Oldest = true
	b.ask(r)
	for d := range b.told {
		if d.ID == "3" && len(d.Oldest) > 0 {
			require.Len(t, d.Oldest, 1)
			break
		}
	}
	require.Eventually(t, func() bool { return b.Why(t.Context(), []string{"3", "0"})["3"].Taken == 2 }, 20*time.Second, time.Millisecond)
	require.True(t, a.end())
	granted(t, b, "3")
	require.Empty(t, w.over)
}
