package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reasons that a step was skipped or waits for.
const (
	ReasonEmptyList  = "empty list"
	ReasonNeedFailed = "need failed"
	ReasonNeedSkip   = "need skipped"
	ReasonIfFalse    = "if is false"
	ReasonJoin       = "too few needs completed"
	ReasonCancelled  = "run cancelled"
	ReasonNotChosen  = "not chosen"
	ReasonKept       = "kept" // taken over from the run that this one retries
	ReasonCached     = "cached"
)

// reasonText tells a reason in words.
func (s *State) reasonText(n *node) string {
	other := ""
	if n.other >= 0 && int(n.other) < len(s.Plan.Nodes) {
		other = s.Plan.Nodes[n.other].Spec.ID
	}
	until := time.UnixMicro(n.due).UTC().Format("2006-01-02 15:04:05 MST")
	switch n.wait {
	case WaitRetry:
		return "backing off until " + time.UnixMicro(n.due).UTC().Format("15:04:05")
	case WaitTime:
		return "waiting until " + until
	case WaitPass:
		return "the next pass starts at " + until
	case WaitSignal:
		return "waiting for the signal " + n.text
	case WaitApproval, WaitConsent, WaitLost:
		return "waiting for a decision: " + n.text
	case WaitSlot:
		return "waiting for its turn"
	case WaitCache:
		return "asking the cache"
	}
	switch n.reason {
	case ReasonEmptyList:
		return "the list of " + other + " is empty"
	case ReasonNeedFailed:
		return other + " failed"
	case ReasonNeedSkip:
		return other + " was skipped"
	case ReasonNotChosen:
		return other + " chose otherwise"
	}
	return n.reason
}

// Shown is the run's state as people see it: what is running may be paused, or only wait.
func (s *State) Shown() RunState {
	switch {
	case s.Held != "" && !s.Status.Ended():
		return RunPaused
	case s.Status != RunRunning || s.verdict != nil:
		return s.Status
	case s.Paused:
		return RunPaused
	case s.Idle():
		return RunWaiting
	}
	return RunRunning
}

// Idle tells that nothing is under way: the run goes on at a due time, or when somebody sends
// a signal or a decision. It can then leave memory.
func (s *State) Idle() bool {
	if s.Status != RunRunning || s.verdict != nil || len(s.more) > 0 || len(s.waiting) > 0 || s.waitEnd || len(s.active) == 0 {
		return false
	}
	for _, n := range s.active {
		if n.holds {
			return false
		}
		switch n.wait {
		case WaitRetry, WaitTime, WaitSignal, WaitApproval, WaitConsent, WaitLost, WaitPass:
		default:
			return false
		}
	}
	return true
}

// NextDue is the earliest time at which something happens by itself, in Unix microseconds.
func (s *State) NextDue() int64 {
	due := s.runDue()
	for _, n := range s.active {
		for _, d := range []int64{n.due, n.reminder, s.stepDue(n)} {
			if d > 0 && d < due {
				due = d
			}
		}
	}
	return due
}

// Cost is what the attempts that have ended used: CPU microseconds, and GiB of memory times seconds.
func (s *State) Cost() (cpuMicros int64, gibSeconds float64) {
	return s.cpuMicros, s.byteMicros / (1 << 30) / 1e6
}

// Claim is a place that a step run holds or waits for.
type Claim struct {
	Step     int32
	Path     []int32
	Key      string
	Limit    int
	Priority int
	Held     bool
}

// Claims lists the places that the run's steps hold and wait for, for a keeper that starts
// anew.
func (s *State) Claims() []Claim {
	var out []Claim
	for _, n := range s.active {
		if n.holds || n.wait == WaitSlot {
			out = append(out, s.claim(n))
		}
	}
	return out
}

func (s *State) claim(n *node) Claim {
	p := &s.Plan.Nodes[n.step]
	c := Claim{Step: n.step, Path: n.path, Priority: p.Priority, Held: n.holds, Limit: 1, Key: n.slotKey}
	if l := p.Spec.Concurrency; l != nil && l.Limit > 0 {
		c.Limit = l.Limit
	}
	return c
}

// ClaimOf is the claim that a CommandAcquire or CommandRelease is about.
func (s *State) ClaimOf(c Command) Claim { return s.claim(c.node) }

// Fingerprint renders everything that counts of the state, for tests of replay.
func (s *State) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q %d open=%d paused=%v undone=%d/%d signals=%d handler=%q\n", s.Status, s.Cause, s.Reason, s.ErrStep, s.open,
		s.Paused, s.undone, len(s.undos), len(s.signals), s.Handler)
	for _, k := range sortedKeys(s.Result) {
		fmt.Fprintf(&b, "result %s=%s\n", k, s.Result[k])
	}
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		fmt.Fprintf(&b, "%d%v kind=%d %s wait=%s caught=%v holds=%v try=%d lost=%d open=%d fly=%v due=%d list=%v %q err=%v", n.step, n.path, n.kind, n.state, n.wait, n.caught, n.holds,
			n.attempt, n.lost, n.open, n.inFlight, n.due, n.list, n.reason, n.err)
		for _, o := range n.outputs {
			for _, k := range sortedKeys(o) {
				fmt.Fprintf(&b, " %s=%s", k, o[k])
			}
		}
		c := slices.Clone(n.computed)
		slices.SortFunc(c, func(a, b Computed) int { return int(a.Index - b.Index) })
		for _, x := range c {
			fmt.Fprintf(&b, " c%d=%s", x.Index, x.Value)
		}
		for _, h := range n.history {
			fmt.Fprintf(&b, " [%d %s %d-%d %v]", h.Number, h.State, h.Started, h.Ended, h.Phases)
		}
		b.WriteByte('\n')
		walk(n.undo)
		n.places(func(_ int32, c *node) bool { walk(c); return true }, func(i int32, x itemEnd) bool {
			fmt.Fprintf(&b, "%d%v.%d %s caught=%v err=%v", n.step, n.path, i, x.State, x.Caught, x.Err)
			for _, k := range sortedKeys(x.Outputs) {
				fmt.Fprintf(&b, " %s=%s", k, x.Outputs[k])
			}
			b.WriteByte('\n')
			return true
		})
	}
	for _, r := range s.roots {
		walk(r)
	}
	return b.String()
}
