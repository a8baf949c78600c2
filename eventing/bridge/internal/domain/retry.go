package domain

import "time"

// Retry says how often a delivery is tried, and how long it rests in between.
type Retry struct {
	Attempts int           // with the first one
	First    time.Duration // after the first one
	Cap      time.Duration
}

// factor is how much longer each rest is than the one before.
const factor = 4

// Rest is how long a delivery rests after so many tries; false means that it is given up. asked is how long its
// receiver asked to be left alone, 0 = it did not. jitter, in [0,1), makes it up to a tenth longer, so that what failed
// together does not come back together.
func (r Retry) Rest(tries int, asked time.Duration, jitter float64) (time.Duration, bool) {
	if tries >= r.Attempts {
		return 0, false
	}
	d := r.First
	for range tries - 1 {
		if d *= factor; d >= r.Cap {
			break
		}
	}
	d = max(min(d, r.Cap), min(asked, r.Cap))
	return d + time.Duration(float64(d)*jitter/10), true
}
