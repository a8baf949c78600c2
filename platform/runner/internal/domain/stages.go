package domain

import (
	"encoding/json"
	"errors"
	"time"
)

// begin lets a step run enter its next stage.
func (t *turn) begin(n *node) {
	sc, err := t.s.inputScope(n)
	if err == nil {
		err = t.enter(n, n.step, n.path, sc)
	}
	t.failedOrWaiting(n, n, "", err)
}

// enter takes a step run through the stages before its first attempt: a person's consent, the
// cache, a place under the limits. n is nil for an item that has no node yet. Nothing is
// recorded when it returns an error.
func (t *turn) enter(n *node, step int32, path []int32, sc *Scope) error {
	p := &t.s.Plan.Nodes[step]
	switch p.Spec.Kind {
	case "switch":
		return t.choose(step, path, p, sc)
	case "collect":
		t.endAt(step, path, StepCompleted, "", -1, nil)
		return nil
	case "wait":
		return t.openWait(n, step, path, p, sc)
	}
	approved := n != nil && n.approved || sc.loop != nil && sc.loop.index > 0
	if p.Consent != nil && !approved {
		title, err := t.words(p.Consent, sc)
		if err != nil {
			return err
		}
		a := p.Spec.Approval
		t.await(step, path, WaitConsent, t.after(a.Timeout), t.after(a.Reminder), title)
		return nil
	}
	if p.CacheKey != nil && (n == nil || !n.missed && n.wait != WaitSlot) {
		key, err := t.words(p.CacheKey, sc)
		if err != nil {
			return err
		}
		t.await(step, path, WaitCache, 0, 0, key)
		return nil
	}
	if (p.SlotKey != nil || t.s.Capped && p.Build != nil) && (n == nil || !n.granted) {
		key := ""
		if p.SlotKey != nil {
			k, err := t.words(p.SlotKey, sc)
			if err != nil {
				return err
			}
			key = k
		}
		t.await(step, path, WaitSlot, 0, 0, key)
		return nil
	}
	computed, err := t.inputs(p, sc)
	if err != nil {
		return err
	}
	t.startAttempt(n, step, path, 1, computed)
	return nil
}

// after is the time d from now, 0 if d is.
func (t *turn) after(d time.Duration) int64 {
	us := d.Microseconds()
	if us == 0 {
		return 0
	}
	return t.now + us
}

// words evaluates a key or a question; what is no text is taken as JSON.
func (t *turn) words(e Expression, sc *Scope) (string, error) {
	v, err := t.eval(e, sc)
	if err != nil {
		return "", err
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text, nil
	}
	return string(v), nil
}

// await lets a step run wait.
func (t *turn) await(step int32, path []int32, w WaitKind, due, reminder int64, text string) {
	t.emit(&Fact{Kind: FactWaitStarted, Step: step, Path: path, Wait: w, Due: due, Reminder: reminder, Reason: text})
	n := t.s.find(step, path)
	t.noteDue(due)
	t.noteDue(reminder)
	t.noteDue(t.s.stepDue(n))
	t.ask(n)
}

// ask orders what a waiting step run waits for.
func (t *turn) ask(n *node) {
	kind := CommandKind(0)
	switch {
	case n.wait == WaitSlot:
		kind = CommandAcquire
	case n.wait == WaitCache:
		kind = CommandLookUp
	case n.wait.person():
		kind = CommandAsk
	default:
		return
	}
	n.granted, n.missed = false, false
	n.asks++
	t.cmds = append(t.cmds, Command{Kind: kind, Attempt: n.asks, node: n})
}

// granted starts a step run that has got its place.
func (t *turn) granted(e EventGranted) {
	n := t.s.find(e.Step, e.Path)
	if n == nil || n.wait != WaitSlot || n.granted || e.Ask != n.asks {
		return
	}
	if t.s.Paused || t.s.stopping(n) {
		t.cmds = append(t.cmds, Command{Kind: CommandRelease, node: n})
		return
	}
	n.granted = true
	t.begin(n)
}

// lookedUp goes on with what the cache answered.
func (t *turn) lookedUp(e EventLookedUp) {
	n := t.s.find(e.Step, e.Path)
	if n == nil || n.wait != WaitCache || t.s.stopping(n) {
		return
	}
	if e.Hit {
		t.emit(&Fact{Kind: FactStepEnded, Step: e.Step, Path: n.path, State: StepCompleted, Reason: ReasonCached, Other: -1, Outputs: e.Outputs, IsList: e.IsList})
		t.wake(n)
		return
	}
	n.missed = true
	if !t.s.Paused {
		t.begin(n)
	}
}

// CacheKey tells which outputs a CommandLookUp or CommandKeep is about.
func (s *State) CacheKey(c Command) (build, key string) {
	if b := s.Plan.Nodes[c.node.step].Build; b != nil {
		build = b.Digest
	}
	return build, c.node.cacheKey
}

// ForCache gives the outputs that a CommandKeep is about, nil if they are not to be kept:
// passwords never are.
func (s *State) ForCache(c Command) (outputs []Values, list bool, ttl time.Duration) {
	p := &s.Plan.Nodes[c.node.step]
	if c.node.state != StepCompleted || p.Spec.Cache == nil {
		return nil, false, 0
	}
	for _, o := range c.node.outputs {
		for _, v := range o {
			if Sealed(v) {
				return nil, false, 0
			}
		}
	}
	return c.node.outputs, c.node.list, p.Spec.Cache.TTL
}

// choose carries out a switch.
func (t *turn) choose(step int32, path []int32, p *PlanStep, sc *Scope) error {
	v, err := t.eval(p.Switch, sc)
	if err != nil {
		return err
	}
	text := string(v)
	_ = json.Unmarshal(v, &text) // what is no string is compared as JSON
	chosen := Value("null")
	if _, ok := p.Spec.Cases[text]; ok {
		chosen = appendJSONString(nil, text)
	}
	t.emit(&Fact{Kind: FactStepEnded, Step: step, Path: path, State: StepCompleted, Other: -1, Outputs: []Values{{"case": chosen}}})
	t.wakeAt(step, path)
	return nil
}

// notChosen tells that the switch of a gate has decided for other steps.
func (t *turn) notChosen(n *node, g *Gate) bool {
	v, item := t.s.view(g.Switch, n.path)
	if v.state != StepCompleted || item >= 0 || len(v.outputs) == 0 {
		return false
	}
	chosen := string(v.outputs[0]["case"])
	if g.Default {
		return chosen != "null"
	}
	return chosen != string(appendJSONString(nil, g.Case))
}

// failStep ends a step run with an error, unless it is caught.
func (t *turn) failStep(n *node, err *StepError) {
	sc, serr := t.s.inputScope(n)
	if serr != nil {
		sc = t.s.scope(n, nil)
	}
	t.failAt(n.step, n.path, err, sc)
}

func (t *turn) failAt(step int32, path []int32, err *StepError, sc *Scope) {
	p := &t.s.Plan.Nodes[step]
	for i := range p.Catch {
		c := &p.Catch[i]
		if !c.covers(err.Kind) || t.s.Status != RunRunning {
			continue
		}
		f := Fact{Kind: FactStepEnded, Step: step, Path: path, State: StepFailed, Other: -1, Err: err, Caught: true}
		if c.Outputs != nil {
			outputs, bad := t.caughtOutputs(c, sc, err)
			if bad != nil {
				f.Err, f.Caught = bad, false
			} else {
				f.State, f.Outputs = StepCompleted, []Values{outputs}
			}
		}
		t.emit(&f)
		t.wakeAt(step, path)
		return
	}
	t.endAt(step, path, StepFailed, "", -1, err)
}

// caughtOutputs are the outputs that catch gives instead.
func (t *turn) caughtOutputs(c *PlanCatch, sc *Scope, cause *StepError) (Values, *StepError) {
	at := *sc
	at.err = cause
	v, err := t.eval(c.Outputs, &at)
	if err != nil {
		var need *NeedRefsError
		if errors.As(err, &need) {
			return nil, errf("value_too_large", "catch: outputs read a value that lies in the filestore; the failure was: %s", cause.Message)
		}
		e := asStepError("catch", err)
		e.Message += "; the failure was: " + cause.Message
		return nil, e
	}
	var outputs Values
	if json.Unmarshal(v, &outputs) != nil || outputs == nil {
		return nil, errf("expression_error", "catch: outputs must be an object, this is %s; the failure was: %s", describe(v), cause.Message)
	}
	return outputs, nil
}
