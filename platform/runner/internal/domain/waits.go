package domain

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// openWait carries out a step of kind wait.
func (t *turn) openWait(n *node, step int32, path []int32, p *PlanStep, sc *Scope) error {
	w := p.Spec.Wait
	switch {
	case p.Wait.For != nil:
		text, err := t.words(p.Wait.For, sc)
		if err != nil {
			return err
		}
		d, ok := parseDuration(text)
		if !ok {
			return errf("invalid_input", "wait.for: %q is no duration; write 90s, 10m, 2h or 1d", text)
		}
		t.await(step, path, WaitTime, t.now+d.Microseconds(), 0, "")
	case p.Wait.Until != nil:
		text, err := t.words(p.Wait.Until, sc)
		if err != nil {
			return err
		}
		at, ok := parseInstant(text, p.Wait.Zone)
		if !ok {
			return errf("invalid_input", "wait.until: %q is no instant; write 2026-12-01T09:00:00Z, or a local time together with timezone", text)
		}
		t.await(step, path, WaitTime, max(at.UnixMicro(), t.now), 0, "")
	case w.Signal != "":
		t.await(step, path, WaitSignal, t.after(w.Timeout), 0, w.Signal)
		t.takeSignal(t.s.find(step, path))
	default:
		title, err := t.words(p.Wait.Title, sc)
		if err != nil {
			return err
		}
		t.await(step, path, WaitApproval, t.after(w.Timeout), t.after(w.Approval.Reminder), title)
	}
	return nil
}

// parseDuration reads 90s, 10m, 1h30m, 2d, or a number of seconds.
func parseDuration(text string) (time.Duration, bool) {
	if sec, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(sec * float64(time.Second)), sec >= 0 && sec < 1e9
	}
	days := time.Duration(0)
	if d, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(d))
		if err != nil || n < 0 || n > 36500 {
			return 0, false
		}
		days, text = time.Duration(n)*24*time.Hour, strings.TrimSpace(rest)
		if text == "" {
			return days, true
		}
	}
	d, err := time.ParseDuration(text)
	return days + d, err == nil && d >= 0
}

// parseInstant reads RFC 3339, or a local time in zone.
func parseInstant(text string, zone *time.Location) (time.Time, bool) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, true
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// signal keeps a signal for the step that waits for it, or will.
func (t *turn) signal(e EventSignal) {
	if t.s.Status.Ended() {
		return
	}
	t.emit(&Fact{Kind: FactSignal, Reason: e.Name, Event: e.Payload})
	if t.s.Status != RunRunning {
		return
	}
	for _, n := range t.s.active {
		if n.wait == WaitSignal && n.text == e.Name {
			t.takeSignal(n)
			return
		}
	}
}

// takeSignal gives a waiting step the oldest signal of its name, if there is one.
func (t *turn) takeSignal(n *node) {
	for _, sig := range t.s.signals {
		if sig.name != n.text {
			continue
		}
		payload := sig.payload
		if payload == nil {
			payload = Value("null")
		}
		t.emit(&Fact{Kind: FactStepEnded, Step: n.step, Path: n.path, State: StepCompleted, Other: -1, Outputs: []Values{{"payload": payload}}})
		t.wake(n)
		return
	}
}

// decision carries out what a person decided.
func (t *turn) decision(e EventDecision) {
	n := t.s.find(e.Step, e.Path)
	if n == nil || !n.wait.person() || t.s.Status != RunRunning {
		return
	}
	by := e.By
	if e.Comment != "" {
		by += ": " + e.Comment
	}
	wait := n.wait
	switch {
	case !e.Approved && wait == WaitLost:
		t.failStep(n, errf("lost", "the instance that ran it is gone; %s decided not to try it again", by))
	case !e.Approved:
		t.failStep(n, errf("rejected", "rejected by %s", by))
	case wait == WaitApproval:
		values := e.Values
		if values == nil {
			values = Values{}
		}
		out := Values{"approved": Value("true"), "by": appendJSONString(nil, e.By), "comment": appendJSONString(nil, e.Comment), "values": objectOf(values)}
		t.emit(&Fact{Kind: FactStepEnded, Step: n.step, Path: n.path, State: StepCompleted, Reason: "approved by " + by, Other: -1, Outputs: []Values{out}})
		t.wake(n)
	default:
		t.emit(&Fact{Kind: FactApproved, Step: n.step, Path: n.path, Reason: "approved by " + by})
		if wait == WaitLost {
			t.again(n)
			return
		}
		t.queue = append(t.queue, n)
	}
}

// tick lets everything happen whose time has come.
func (t *turn) tick() {
	s := t.s
	if s.Status.Ended() || s.Status == RunQueued {
		return
	}
	if due := s.runDue(); s.Status == RunRunning && s.verdict == nil {
		if due <= t.now {
			t.cancel(CauseTimeout, "")
		} else {
			t.noteDue(due)
		}
	}
	for _, n := range append([]*node(nil), s.active...) {
		if n.active == 0 {
			continue // something before it ended it
		}
		if n.inFlight {
			t.attemptDue(n)
		} else {
			t.waitDue(n)
		}
	}
}

func (t *turn) attemptDue(n *node) {
	switch {
	case n.due > t.now:
		t.noteDue(n.due)
	case !n.timedOut:
		n.timedOut = true
		t.cmds = append(t.cmds, Command{Kind: CommandCancel, Attempt: n.attempt, Reason: "timeout", node: n})
	}
}

func (t *turn) waitDue(n *node) {
	if limit := t.s.stepDue(n); limit > 0 {
		if limit <= t.now {
			t.failStep(n, t.timeout(n))
			return
		}
		t.noteDue(limit)
	}
	if n.reminder > 0 && n.reminder <= t.now {
		t.remind(n)
	}
	t.noteDue(n.reminder)
	if n.due == 0 {
		return
	}
	if n.due > t.now {
		t.noteDue(n.due)
		return
	}
	switch n.wait {
	case WaitRetry:
		if !t.s.Paused {
			t.startAttempt(n, n.step, n.path, n.attempt+1, nil)
		}
	case WaitTime:
		t.emit(&Fact{Kind: FactStepEnded, Step: n.step, Path: n.path, State: StepCompleted, Other: -1, Outputs: []Values{{}}})
		t.wake(n)
	case WaitPass:
		t.queue = append(t.queue, n)
	case WaitSignal:
		t.failStep(n, errf("timeout", "the signal %q did not arrive in time", n.text))
	case WaitApproval, WaitConsent:
		t.failStep(n, errf("timeout", "nobody has decided in time: %s", n.text))
	}
}

func (t *turn) remind(n *node) {
	every := time.Duration(0)
	if asks := t.s.Plan.Nodes[n.step].Spec.Asks(n.wait); asks != nil {
		every = asks.Reminder
	}
	t.emit(&Fact{Kind: FactReminded, Step: n.step, Path: n.path, Due: t.after(every)})
	t.cmds = append(t.cmds, Command{Kind: CommandAsk, Reason: "reminder", node: n})
}

// pause lets what is under way end and starts nothing new.
func (t *turn) pause(reason string) {
	s := t.s
	if s.Status != RunRunning || s.Paused {
		return
	}
	t.emit(&Fact{Kind: FactPaused, Reason: reason})
	for _, n := range s.active {
		if n.wait == WaitSlot {
			t.cmds = append(t.cmds, Command{Kind: CommandRelease, node: n})
		}
	}
}

func (t *turn) unpause() {
	s := t.s
	if !s.Paused || s.Status != RunRunning {
		return
	}
	t.emit(&Fact{Kind: FactResumed})
	for _, n := range append([]*node(nil), s.active...) {
		if n.wait == WaitSlot || n.wait == WaitCache {
			t.ask(n)
		}
	}
	t.takeUp()
	t.tick()
}

// admitted starts a run that has waited for its place.
func (t *turn) admitted() {
	if t.s.Status != RunQueued {
		return
	}
	t.emit(&Fact{Kind: FactRunAdmitted})
	t.noteDue(t.s.runDue())
	t.takeUp()
}

// Payload tells whether v is a payload that can be kept: JSON of at most 64 KiB.
func Payload(v Value) bool { return json.Valid(v) && len(v) <= 64<<10 }

// Asks is what a step asks a person while it waits as kind tells, nil if the step itself asks
// nothing.
func (s *StepSpec) Asks(kind WaitKind) *ApprovalSpec {
	switch {
	case kind == WaitApproval && s.Wait != nil:
		return s.Wait.Approval
	case kind == WaitConsent:
		return s.Approval
	}
	return nil
}
