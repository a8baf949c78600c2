package limits_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
)

// bench is a keeper whose time stands still until it is moved.
type bench struct {
	*limits.Keeper
	now     time.Time
	timers  []timer
	granted []string
}

type timer struct {
	due time.Time
	do  func()
}

func start() *bench {
	b := &bench{now: time.Unix(1e9, 0)}
	b.Keeper = limits.New(func() time.Time { return b.now }, func(d time.Duration, f func()) func() bool {
		b.timers = append(b.timers, timer{b.now.Add(d), f})
		return func() bool { return false }
	})
	return b
}

func (b *bench) move(d time.Duration) {
	end := b.now.Add(d)
	for {
		i := slices.IndexFunc(b.timers, func(t timer) bool { return !t.due.After(end) })
		if i < 0 {
			break
		}
		t := b.timers[i]
		b.timers = slices.Delete(b.timers, i, i+1)
		if t.due.After(b.now) {
			b.now = t.due
		}
		t.do()
	}
	b.now = end
}

func (b *bench) ask(id string, priority int, share string, claims ...limits.Claim) {
	b.now = b.now.Add(time.Millisecond)
	b.Acquire(limits.Request{ID: id, Claims: claims, Priority: priority, Share: share, Holder: "run-" + id, Granted: func() { b.granted = append(b.granted, id) }})
}

func (b *bench) got() []string { g := b.granted; b.granted = nil; return g }

func slot(key string, n int) limits.Claim {
	return limits.Claim{Key: key, Label: "key " + key, Limit: n}
}

func TestPlacesAreGivenInOrder(t *testing.T) {
	b := start()
	b.Open()
	for _, id := range []string{"a", "b", "c", "d"} {
		b.ask(id, 0, "p", slot("k", 2))
	}
	require.Equal(t, []string{"a", "b"}, b.got())
	why, waits := b.Why("d")
	require.True(t, waits)
	require.Equal(t, "key k: 2 of 2 taken, by runs run-a, run-b", why.String())
	require.Equal(t, 2, why.Position)
	b.Release("c") // withdrawn
	b.Release("b")
	require.Equal(t, []string{"d"}, b.got())
	require.Equal(t, []string{"run-a", "run-d"}, b.Holders("k"))
	b.ask("a", 0, "p", slot("k", 2))
	require.Equal(t, []string{"a"}, b.got(), "who holds is told so again")
	_, waits = b.Why("d")
	require.False(t, waits)
}

func TestPriorityAndAge(t *testing.T) {
	b := start()
	b.Open()
	b.ask("a", 0, "p", slot("k", 1))
	b.ask("low", 0, "p", slot("k", 1))
	b.ask("high", 3, "p", slot("k", 1))
	b.now = b.now.Add(time.Minute)
	b.ask("late", 3, "p", slot("k", 1))
	b.Release("a")
	b.Release("high")
	b.Release("low")
	require.Equal(t, []string{"a", "high", "low", "late"}, b.got(), "low has waited longer than late's priority is worth")
}

func TestSharesAreFair(t *testing.T) {
	b := start()
	b.Open()
	for i := range 10 {
		b.ask(fmt.Sprint("p", i), 0, "p", slot("server", 4))
	}
	b.ask("q0", 0, "q", slot("server", 4))
	b.ask("q1", 0, "q", slot("server", 4))
	b.got()
	b.Release("p0")
	b.Release("p1")
	require.Equal(t, []string{"q0", "q1"}, b.got(), "the project that holds fewest places comes first")
	b.Release("p2")
	require.Equal(t, []string{"p4"}, b.got())
}

func TestAllPlacesTogether(t *testing.T) {
	b := start()
	b.Open()
	b.ask("a", 0, "p", slot("x", 1))
	b.ask("ab", 0, "p", slot("y", 1), slot("x", 1))
	b.ask("y", 0, "p", slot("y", 1))
	require.Equal(t, []string{"a", "y"}, b.got(), "who waits for x does not hold y")
	b.Release("a")
	require.Empty(t, b.got())
	b.Release("y")
	require.Equal(t, []string{"ab"}, b.got())
}

func TestRates(t *testing.T) {
	b := start()
	b.Open()
	rate := limits.Claim{Key: "r", Label: "rate limit 2 per 1s", Limit: 2, Per: time.Second, Burst: 3}
	for i := range 6 {
		b.ask(fmt.Sprint(i), 0, "p", rate)
	}
	require.Equal(t, []string{"0", "1", "2"}, b.got())
	why, _ := b.Why("5")
	require.Contains(t, why.String(), "rate limit 2 per 1s allows the next start at")
	b.move(500 * time.Millisecond)
	require.Equal(t, []string{"3"}, b.got())
	b.move(time.Second)
	require.Equal(t, []string{"4", "5"}, b.got())
	b.move(time.Minute)
	for i := range 5 {
		b.ask(fmt.Sprint("n", i), 0, "p", rate)
	}
	require.Len(t, b.got(), 3, "a quiet time saves up the burst and no more")
}

func TestTryAcquire(t *testing.T) {
	b := start()
	b.Open()
	_, ok := b.TryAcquire(limits.Request{ID: "a", Claims: []limits.Claim{slot("k", 1)}, Holder: "a"})
	require.True(t, ok)
	why, ok := b.TryAcquire(limits.Request{ID: "b", Claims: []limits.Claim{slot("k", 1)}})
	require.False(t, ok)
	require.Equal(t, "key k is held by run a", why.String())
	b.Release("a")
	_, ok = b.TryAcquire(limits.Request{ID: "b", Claims: []limits.Claim{slot("k", 1)}})
	require.True(t, ok, "what was refused has left nothing behind")
}

func TestHeldBefore(t *testing.T) {
	b := start()
	b.ask("b", 0, "p", slot("k", 1))
	b.ask("c", 5, "p", slot("k", 1))
	b.Restore(limits.Request{ID: "a", Claims: []limits.Claim{slot("k", 1)}, Holder: "run-a"})
	require.Empty(t, b.got())
	b.Open()
	require.Empty(t, b.got(), "nothing is granted before it is known who holds")
	b.Release("a")
	b.Release("c")
	require.Equal(t, []string{"c", "b"}, b.got())
}

// TestRandom draws requests and releases: never more than a limit at a time, and in the end all are served.
func TestRandom(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		b := start()
		b.Open()
		caps := map[string]int{"x": 1, "y": 2, "z": 3}
		of := map[string][]string{}
		holds := map[string]int{}
		served, asked := 0, 0
		var live []string
		check := func() {
			for _, id := range b.got() {
				served++
				live = append(live, id)
				for _, k := range of[id] {
					holds[k]++
					require.LessOrEqual(t, holds[k], caps[k])
				}
			}
		}
		for asked < 60 || len(live) > 0 {
			if asked < 60 && rnd.IntN(2) == 0 {
				id := fmt.Sprint(asked)
				asked++
				var claims []limits.Claim
				for _, k := range []string{"x", "y", "z"} {
					if rnd.IntN(2) == 0 {
						of[id] = append(of[id], k)
						claims = append(claims, slot(k, caps[k]))
					}
				}
				b.ask(id, rnd.IntN(5), fmt.Sprint(rnd.IntN(3)), claims...)
			} else if len(live) > 0 {
				i := rnd.IntN(len(live))
				id := live[i]
				live = slices.Delete(live, i, i+1)
				for _, k := range of[id] {
					holds[k]--
				}
				b.Release(id)
			}
			check()
		}
		require.Equal(t, 60, served, "seed %d", seed)
	}
}
