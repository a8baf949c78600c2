package domain

import (
	"math"
	"slices"
	"time"
)

// maxUnknown bounds how often one attempt is sent again because it never started.
const maxUnknown = 20

// attempt handles the end of an attempt.
func (t *turn) attempt(e *EventAttempt) {
	n := t.s.find(e.Step, e.Path)
	if n == nil || !n.inFlight || n.attempt != e.Attempt {
		return // told twice: the first one counted
	}
	if e.Outcome == OutcomeUnknown {
		n.unknown++
		switch {
		case t.s.stopping(n) || n.timedOut:
			e.Outcome, e.Err = OutcomeCancelled, errf("cancelled", "it had not started when it was told to stop")
		case n.unknown > maxUnknown:
			e.Outcome, e.Err = OutcomeFailed, errf("unavailable", "it could not be started, %d times in a row", maxUnknown)
		default:
			t.cmds = append(t.cmds, Command{Kind: CommandStart, Attempt: n.attempt, node: n})
			return
		}
	}
	p := &t.s.Plan.Nodes[n.step]
	if n.timedOut && e.Outcome != OutcomeCompleted && (e.Err == nil || e.Err.Kind != "timeout") {
		e.Outcome, e.Err = OutcomeFailed, t.timeout(n)
	}
	if e.Outcome == OutcomeCompleted && !e.IsList && len(e.Outputs) == 0 {
		e.Outputs = []Values{{}}
	}
	if e.Outcome != OutcomeCompleted && e.Err == nil {
		e.Err = defaultError(e.Outcome)
	}
	t.emit(&Fact{Kind: FactAttemptEnded, Step: e.Step, Path: n.path, Attempt: e.Attempt, Outcome: e.Outcome, Err: e.Err,
		Outputs: e.Outputs, IsList: e.IsList, Instance: e.Instance, Usage: e.Usage, Phases: e.Phases})
	t.cmds = append(t.cmds, Command{Kind: CommandForget, Attempt: e.Attempt, node: n})
	switch {
	case e.Outcome == OutcomeCompleted:
		if n.cacheKey != "" {
			t.cmds = append(t.cmds, Command{Kind: CommandKeep, node: n})
		}
		t.wake(n)
	case t.s.stopping(n):
		st := StepCancelled
		if e.Outcome == OutcomeFailed {
			st = StepFailed
		}
		t.endStep(n, st, ReasonCancelled, -1, e.Err)
	case e.Outcome == OutcomeLost:
		t.afterLost(n, p)
	default:
		t.retryOrFail(n, p, e.Err)
	}
}

// stopping tells that the run is being ended, and n with it.
func (s *State) stopping(n *node) bool { return s.Status != RunRunning && !n.undoes }

// timeout is the error of an attempt that took too long.
func (t *turn) timeout(n *node) *StepError {
	p := &t.s.Plan.Nodes[n.step]
	if due := t.s.stepDue(n); due > 0 && due <= t.now {
		return errf("timeout", "the step with all its attempts took longer than its stepTimeout of %s", p.Spec.StepTimeout)
	}
	return errf("timeout", "it took longer than its timeout of %s", p.Timeout)
}

func defaultError(o Outcome) *StepError {
	switch o {
	case OutcomeLost:
		return errf("lost", "the instance that ran it is gone")
	case OutcomeCancelled:
		return errf("cancelled", "it was cancelled")
	default:
		return errf("internal", "it failed without saying why")
	}
}

func (t *turn) afterLost(n *node, p *PlanStep) {
	if p.Effect == "irreversible" {
		t.await(n.step, n.path, WaitLost, 0, 0, "An attempt was lost with its instance and may have had its effect, which is irreversible. Shall it be tried again?")
		return
	}
	if n.lost > LostLimit {
		t.failStep(n, errf("lost", "%d attempts were lost with their instance; that is the limit", n.lost))
		return
	}
	t.again(n)
}

func (t *turn) retryOrFail(n *node, p *PlanStep, err *StepError) {
	r := p.Retry
	tries := int(n.attempt - n.lost)
	limit := t.s.stepDue(n)
	if r == nil || tries >= r.Attempts || !r.covers(err.Kind) || p.Effect == "irreversible" && ambiguous(err.Kind) || limit > 0 && limit <= t.now {
		t.failStep(n, err)
		return
	}
	delay := r.delay(tries, t.jitter)
	if delay <= 0 {
		t.again(n)
		return
	}
	due := t.now + delay.Microseconds()
	if limit > 0 && due >= limit {
		t.failStep(n, err)
		return
	}
	t.emit(&Fact{Kind: FactRetry, Step: n.step, Path: n.path, Attempt: n.attempt + 1, Due: due})
	t.noteDue(due)
}

// ambiguous tells kinds of errors after which nobody knows whether the effect took place.
func ambiguous(kind string) bool {
	return slices.Contains([]string{"timeout", "crashed", "lost", "internal"}, kind)
}

func (r *RetrySpec) covers(kind string) bool {
	if len(r.On) == 0 {
		return kind != "cancelled"
	}
	return slices.Contains(r.On, kind)
}

// delay is how long to wait after the given number of tries. jitter in [0,1) takes up to
// half of it away, so that what failed together does not come back together.
func (r *RetrySpec) delay(tries int, jitter float64) time.Duration {
	factor := r.Factor
	if factor == 0 {
		factor = 2
	}
	d := float64(r.Backoff) * math.Pow(factor, float64(tries-1))
	limit := float64(r.Cap)
	if limit == 0 {
		limit = float64(time.Hour)
	}
	d = math.Min(d, limit)
	if r.Jitter {
		d *= 1 - jitter/2
	}
	return time.Duration(d)
}
