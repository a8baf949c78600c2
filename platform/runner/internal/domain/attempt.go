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
		case t.s.Status != RunRunning || n.timedOut:
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
		e.Outcome, e.Err = OutcomeFailed, errf("timeout", "it took longer than its timeout of %s", p.Timeout)
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
		t.wake(n)
	case t.s.Status == RunCancelling:
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
	if p.Build.Effect == "irreversible" {
		t.endStep(n, StepFailed, "", -1, errf("lost", "the instance that ran it is gone; its effect is irreversible, so it is not tried again by itself"))
		return
	}
	if n.lost > LostLimit {
		t.endStep(n, StepFailed, "", -1, errf("lost", "%d attempts were lost with their instance; that is the limit", n.lost))
		return
	}
	t.startAttempt(n.step, n.path, n.attempt+1, nil)
}

func (t *turn) retryOrFail(n *node, p *PlanStep, err *StepError) {
	r := p.Spec.Retry
	tries := int(n.attempt - n.lost)
	if r == nil || tries >= r.Attempts || !r.covers(err.Kind) {
		t.endStep(n, StepFailed, "", -1, err)
		return
	}
	delay := r.delay(tries, t.jitter)
	if delay <= 0 {
		t.startAttempt(n.step, n.path, n.attempt+1, nil)
		return
	}
	due := t.now + delay.Microseconds()
	t.emit(&Fact{Kind: FactRetry, Step: n.step, Path: n.path, Attempt: n.attempt + 1, Due: due})
	t.noteDue(due)
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
