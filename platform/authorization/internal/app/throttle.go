package app

import (
	"slices"
	"sync"
	"time"
)

// Limits of logins that fail: so many within a window, for a name and for an address.
const (
	failures   = 5
	window     = time.Minute
	maxTracked = 10000 // names and addresses
	maxKey     = 100   // bytes of a name that count
)

// throttle bounds how fast passwords can be guessed. The zero value is ready. Safe for concurrent use.
type throttle struct {
	mu    sync.Mutex
	tries map[string][]time.Time
}

// attempt counts a try for every key before its outcome is known, so that many at once are no way
// around the limit; succeeded takes it back. ok is false when a key has had too many.
func (t *throttle) attempt(now time.Time, keys ...string) (succeeded func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tries == nil {
		t.tries = map[string][]time.Time{}
	}
	if len(t.tries) > maxTracked {
		t.forget(now)
	}
	for i, k := range keys {
		keys[i] = k[:min(len(k), maxKey)]
		if len(recent(t.tries[keys[i]], now)) >= failures {
			return nil, false
		}
	}
	for _, k := range keys {
		t.tries[k] = append(recent(t.tries[k], now), now)
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, k := range keys {
			if i := slices.Index(t.tries[k], now); i >= 0 {
				t.tries[k] = slices.Delete(t.tries[k], i, i+1)
			}
		}
	}, true
}

func recent(tries []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(tries), func(at time.Time) bool { return now.Sub(at) >= window })
}

// forget drops what no longer counts, and where that is not enough, names before addresses: whoever
// tries many names does so from few addresses.
func (t *throttle) forget(now time.Time) {
	for k, tries := range t.tries {
		if len(recent(tries, now)) == 0 {
			delete(t.tries, k)
		}
	}
	for k := range t.tries {
		if len(t.tries) <= maxTracked/2 {
			return
		}
		if k[0] == 'n' {
			delete(t.tries, k)
		}
	}
}
