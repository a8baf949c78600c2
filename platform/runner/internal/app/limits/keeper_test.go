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

var t0 = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func opened() *limits.Keeper {
	k := limits.NewKeeper(t0)
	k.Rebuild(nil, t0)
	return k
}

func req(id string, claims ...limits.Claim) limits.Request {
	return limits.Request{ID: id, Run: "run-" + id, Claims: claims, At: t0}
}

func capOf(key string, limit int) limits.Claim { return limits.Claim{Key: key, Limit: limit} }

func TestCap(t *testing.T) {
	k := opened()
	require.True(t, k.Acquire(req("a", capOf("customer-42", 1)), t0).Granted)
	require.True(t, k.Acquire(req("a", capOf("customer-42", 1)), t0).Granted, "the same request is granted once")
	b := k.Acquire(req("b", capOf("customer-42", 1)), t0)
	require.Equal(t, limits.Cause{Kind: "cap", Key: "customer-42", Held: 1, Limit: 1, Holders: []string{"run-a"}, Position: 1}, b.Cause)
	require.Equal(t, "customer-42 is held by run run-a", b.Cause.String())
	c := k.Acquire(req("c", capOf("customer-42", 1)), t0)
	require.Equal(t, "customer-42 is held by run run-a, 1 before it", c.Cause.String())
	require.Equal(t, []string{"b"}, k.Release("a", t0))
	require.Empty(t, k.Release("a", t0), "a second release changes nothing")
	require.Empty(t, k.Release("c", t0), "who waits can leave")
	require.Empty(t, k.Release("b", t0))
	require.True(t, k.Acquire(req("d", capOf("customer-42", 1)), t0).Granted)
}

func TestAllClaimsAtOnce(t *testing.T) {
	k := opened()
	require.True(t, k.Acquire(req("a", capOf("project", 2), capOf("key", 1)), t0).Granted)
	require.Equal(t, "key", k.Acquire(req("b", capOf("project", 2), capOf("key", 1)), t0).Cause.Key)
	require.True(t, k.Acquire(req("c", capOf("project", 2)), t0).Granted, "who waits for a key holds nothing else")
	require.Equal(t, "project: 2 of 2", k.Acquire(req("d", capOf("project", 2)), t0).Cause.String())
	require.Equal(t, []string{"d"}, k.Release("a", t0))
	require.Equal(t, "project", k.Acquire(req("b"), t0).Cause.Key, "it waits for the project now")
	require.Equal(t, []string{"b"}, k.Release("c", t0))
}

func TestPriorityAgesAndSharesAreFair(t *testing.T) {
	k := opened()
	require.True(t, k.Acquire(req("first", capOf("x", 1)), t0).Granted)
	old, urgent := req("old", capOf("x", 1)), req("urgent", capOf("x", 1))
	urgent.Priority, urgent.At = 5, t0.Add(20*time.Second)
	late := req("late", capOf("x", 1))
	late.Priority, late.At = 5, t0.Add(time.Minute)
	for _, r := range []limits.Request{old, urgent, late} {
		require.False(t, k.Acquire(r, r.At).Granted)
	}
	now := t0.Add(2 * time.Minute)
	require.Equal(t, []string{"urgent"}, k.Release("first", now))
	require.Equal(t, []string{"old"}, k.Release("urgent", now), "60 s of waiting weigh more than 5 points")
	require.Equal(t, []string{"late"}, k.Release("old", now))

	k = opened()
	for i := range 40 { // one project floods, another comes later
		r := req(fmt.Sprintf("big%02d", i), capOf("all", 4))
		r.Share = "big"
		k.Acquire(r, t0)
	}
	for i := range 4 {
		r := req(fmt.Sprintf("small%d", i), capOf("all", 4))
		r.Share, r.At = "small", t0.Add(time.Second)
		k.Acquire(r, t0)
	}
	var order []string
	for i := range 4 {
		order = append(order, k.Release(fmt.Sprintf("big%02d", i), t0)...)
	}
	require.Equal(t, []string{"small0", "small1", "big04", "big05"}, order, "it gets half")
}

func TestRate(t *testing.T) {
	k := opened()
	c := limits.Claim{Key: "api", Rate: &limits.Rate{Count: 2, Per: time.Second, Burst: 3}}
	now := t0.Add(10 * time.Second) // the bucket is full
	for i := range 3 {
		require.True(t, k.Acquire(req(fmt.Sprint(i), c), now).Granted)
	}
	d := k.Acquire(req("w1", c), now)
	require.Equal(t, limits.CauseRate, d.Cause.Kind)
	require.WithinDuration(t, now.Add(500*time.Millisecond), d.Cause.Until, time.Millisecond)
	k.Acquire(req("w2", c), now)
	require.Empty(t, k.Release("0", now), "tokens are taken for good")
	at, ok := k.Next(now)
	require.True(t, ok)
	require.Empty(t, k.Tick(at.Add(-10*time.Millisecond)))
	require.Equal(t, []string{"w1"}, k.Tick(at))
	at, ok = k.Next(at)
	require.True(t, ok)
	require.Equal(t, []string{"w2"}, k.Tick(at))
	_, ok = k.Next(at)
	require.False(t, ok)

	k = opened()
	require.False(t, k.Acquire(req("a", c), t0).Granted, "a new keeper's bucket is empty")
	big := limits.Claim{Key: "big", Cost: 9, Rate: &limits.Rate{Count: 1, Per: time.Second}}
	k.Acquire(req("b", big), t0)
	require.Contains(t, k.Tick(t0.Add(2*time.Second)), "b", "more than ever gathers is granted when the bucket is full")
}

func TestLargeCostsAreWaitedFor(t *testing.T) {
	k := opened()
	two := limits.Claim{Key: "x", Limit: 2, Cost: 2}
	k.Acquire(req("a", capOf("x", 2)), t0)
	k.Acquire(req("b", capOf("x", 2)), t0)
	k.Acquire(req("big", two), t0)
	small := req("small", capOf("x", 2))
	small.At = t0.Add(time.Second)
	k.Acquire(small, t0)
	require.Empty(t, k.Release("a", t0), "small does not overtake big")
	require.Equal(t, []string{"big"}, k.Release("b", t0))
	require.Equal(t, []string{"small"}, k.Release("big", t0))
	require.True(t, opened().Acquire(req("huge", limits.Claim{Key: "x", Limit: 2, Cost: 5}), t0).Granted, "above the limit, alone")
}

func TestRebuild(t *testing.T) {
	k := limits.NewKeeper(t0)
	d := k.Acquire(req("a", capOf("x", 2)), t0)
	require.Equal(t, limits.CauseKeeper, d.Cause.Kind)
	b := req("b", capOf("x", 2))
	b.At = t0.Add(-time.Second)
	k.Acquire(b, t0)
	require.Equal(t, []string{"b"}, k.Rebuild([]limits.Request{req("h", capOf("x", 2))}, t0))
	require.Len(t, k.Held(), 2)
	require.Equal(t, []string{"a"}, k.Release("h", t0))
	k.Hold(req("c", capOf("x", 2)))
	require.Len(t, k.Held(), 3, "what another keeper granted counts, also above the limit")
	require.Empty(t, k.Release("c", t0))
}

// TestRandom: whatever is asked and released, no limit is passed, and nobody waits while there is
// room for all.
func TestRandom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		k := opened()
		limit := map[string]int{"a": 1, "b": 2, "c": 5}
		held, asked := map[string]limits.Request{}, map[string]limits.Request{}
		grant := func(ids ...string) {
			for _, id := range ids {
				require.Contains(t, asked, id)
				held[id] = asked[id]
				delete(asked, id)
			}
			use := map[string]int{}
			for _, x := range held {
				for _, c := range x.Claims {
					use[c.Key] += max(1, c.Cost)
				}
			}
			for key, n := range use {
				require.LessOrEqual(t, n, limit[key], "seed %d, key %s", seed, key)
			}
		}
		now := t0
		for i := range 300 {
			now = now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
			if r.IntN(2) == 0 {
				x := limits.Request{ID: fmt.Sprint(i), At: now, Priority: r.IntN(5), Share: fmt.Sprint(r.IntN(3))}
				for _, key := range []string{"a", "b", "c"} {
					if r.IntN(2) == 0 {
						x.Claims = append(x.Claims, limits.Claim{Key: key, Limit: limit[key], Cost: 1 + r.IntN(limit[key])})
					}
				}
				asked[x.ID] = x
				if k.Acquire(x, now).Granted {
					grant(x.ID)
				}
				continue
			}
			from := held
			if r.IntN(5) == 0 {
				from = asked
			}
			ids := make([]string, 0, len(from))
			for id := range from {
				ids = append(ids, id)
			}
			if slices.Sort(ids); len(ids) > 0 {
				id := ids[r.IntN(len(ids))]
				delete(from, id)
				grant(k.Release(id, now)...)
			}
		}
		for len(held)+len(asked) > 0 {
			require.NotEmpty(t, held, "seed %d: %d wait for nobody", seed, len(asked))
			for id := range held {
				delete(held, id)
				grant(k.Release(id, now)...)
				break
			}
		}
	}
}
