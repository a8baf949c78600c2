package app

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThrottle(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var limit throttle
	for range failures {
		_, ok := limit.attempt(now, "n:ada", "a:1")
		require.True(t, ok)
	}
	for _, c := range []struct {
		after         time.Duration
		name, address string
		ok            bool
	}{
		{0, "n:ada", "a:1", false},
		{0, "n:ada", "a:2", false}, // the name is guarded from everywhere
		{0, "n:bob", "a:1", false}, // the address tries other names
		{0, "n:bob", "a:2", true},
		{window - time.Second, "n:ada", "a:3", false},
		{window, "n:ada", "a:1", true},
	} {
		_, ok := limit.attempt(now.Add(c.after), c.name, c.address)
		require.Equal(t, c.ok, ok, "%+v", c)
	}
}

// TestThrottleSuccess: logins that succeed do not count, however many.
func TestThrottleSuccess(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var limit throttle
	for range 10 * failures {
		succeeded, ok := limit.attempt(now, "n:ada", "a:1")
		require.True(t, ok)
		succeeded()
	}
}

// TestThrottleAtOnce: guesses made at the same time are counted before any of them has failed.
func TestThrottleAtOnce(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var limit throttle
	var let atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, ok := limit.attempt(now, "n:ada", "a:1"); ok {
				let.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, failures, let.Load())
}

// TestThrottleMemory: many names and long names neither fill the memory nor free an address.
func TestThrottleMemory(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var limit throttle
	for range failures {
		limit.attempt(now, "n:ada", "a:guesser")
	}
	for i := range 3 * maxTracked {
		limit.attempt(now, fmt.Sprintf("n:%d%s", i, strings.Repeat("x", 1000)), fmt.Sprintf("a:%d", i%1000))
	}
	require.LessOrEqual(t, len(limit.tries), maxTracked+2)
	for k := range limit.tries {
		require.LessOrEqual(t, len(k), maxKey)
	}
	_, ok := limit.attempt(now, "n:somebody", "a:guesser")
	require.False(t, ok)
	limit.attempt(now.Add(window), "n:ada", "a:guesser")
	for i := range maxTracked {
		limit.attempt(now.Add(window), "n:late"+fmt.Sprint(i), "a:late"+fmt.Sprint(i))
	}
	require.LessOrEqual(t, len(limit.tries), maxTracked+2)
}
