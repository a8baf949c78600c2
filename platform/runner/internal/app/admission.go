package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// runKeys are the keys that a run's workflow names, evaluated over its inputs.
type runKeys struct{ slot, rate string }

// keysOf evaluates the workflow's keys for a run. They depend on inputs, trigger and variables
// alone, so that a restart finds the same.
func keysOf(p *domain.Plan, inputs, vars domain.Values, event domain.Value) (k runKeys, dedup string, err error) {
	if p.RunKey == nil && p.RateKey == nil && p.DedupKey == nil {
		return k, "", nil
	}
	st := domain.NewState(domain.Run{}, p)
	st.Inputs, st.Vars, st.Event = inputs, vars, event
	for _, x := range []struct {
		at string
		e  domain.Expression
		to *string
	}{{"concurrency.key", p.RunKey, &k.slot}, {"rateLimit.key", p.RateKey, &k.rate}, {"idempotencyKey", p.DedupKey, &dedup}} {
		if x.e == nil {
			continue
		}
		v, err := evalKey(x.e, st.FinalScope())
		if err != nil {
			return k, "", fault.InvalidField(x.at, "the workflow's "+x.at+": "+err.Error(), "give the inputs that it reads")
		}
		*x.to = v
	}
	return k, dedup, nil
}

func evalKey(e domain.Expression, sc *domain.Scope) (string, error) {
	v, ok := e.Literal()
	if !ok {
		if r, isRef := e.Ref(); isRef {
			v, _ = sc.Resolve(r)
		} else {
			var err error
			if v, err = e.Eval(sc); err != nil {
				var need *domain.NeedRefsError
				if errors.As(err, &need) {
					return "", errors.New("it reads a value above 64 KiB")
				}
				return "", err
			}
		}
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text, nil
	}
	return string(v), nil
}

// limited tells whether a run needs a place before it starts.
func limited(p *domain.Plan) bool { return p.RunKey != nil || p.RateKey != nil }

// runRequest is what a run asks for before it starts.
func (r *liveRun) runRequest() (limits.Request, error) {
	p := r.s.Plan
	k, _, err := keysOf(p, r.s.Inputs, r.s.Vars, r.s.Event)
	if err != nil {
		return limits.Request{}, err
	}
	q := limits.Request{ID: r.s.ID, Priority: p.Priority, Share: r.s.Project, Holder: r.s.ID}
	scope := r.s.Project + "/" + p.Workflow
	if c := p.Concurrency; c != nil {
		q.Claims = append(q.Claims, limits.Claim{Key: "run/" + scope + "/" + k.slot, Label: keyLabel("key", k.slot, "workflow "+p.Workflow), Limit: max(c.Limit, 1)})
	}
	if c := p.RateLimit; c != nil {
		q.Claims = append(q.Claims, limits.Claim{Key: "rate/" + scope + "/" + k.rate, Limit: c.Count, Per: c.Per, Burst: c.Burst,
			Label: keyLabel(fmt.Sprintf("rate limit of %d per %s for", c.Count, c.Per), k.rate, p.Workflow)})
	}
	return q, nil
}

func keyLabel(what, key, without string) string {
	if key == "" {
		return strings.TrimPrefix(what+" ", "key ") + without
	}
	return what + " " + key
}

// admitRun asks for the run's place, by the workflow's policy.
func (sh *shard) admitRun(r *liveRun) {
	q, err := r.runRequest()
	if err != nil {
		sh.event(r, domain.EventRefused{Reason: err.Error()})
		return
	}
	keeper, policy := sh.e.keeper, ""
	if c := r.s.Plan.Concurrency; c != nil {
		policy = c.Policy
	}
	if policy == "skip" && sh.e.svc.isOpen() {
		if why, ok := keeper.TryAcquire(q); !ok {
			sh.event(r, domain.EventRefused{Reason: why.String()})
			return
		}
		sh.event(r, domain.EventAdmitted{})
		return
	}
	q.Granted = func() { sh.toRun(r, q.ID, domain.EventAdmitted{}) }
	keeper.Acquire(q)
	if policy == "cancel-oldest" {
		sh.cancelHolders(r, q)
	}
}

// cancelHolders makes room for a run by cancelling the oldest that hold its key, as many as it
// takes.
func (sh *shard) cancelHolders(r *liveRun, q limits.Request) {
	why, waits := sh.e.keeper.Why(q.ID)
	if !waits {
		return
	}
	e, holders := sh.e, sh.e.keeper.Holders(q.Claims[0].Key)
	n := min(len(holders), why.Position)
	go func() {
		if !e.svc.isUp(e.stop) {
			return
		}
		for _, run := range holders[:n] {
			err := e.svc.Cancel(e.stop, r.s.Project, run, "superseded:"+run, "superseded by run "+r.s.ID+" ("+q.Claims[0].Label+")")
			if err != nil && e.stop.Err() == nil && !fault.Is(err, fault.Conflict) {
				e.log.Warn("the oldest run of a key could not be cancelled", "run", run, "error", err)
			}
		}
	}()
}

// toRun sends an event to a run, unless it has left memory: its place is then free again.
func (sh *shard) toRun(r *liveRun, request string, ev domain.Event) {
	sh.post(message{do: func(sh *shard) {
		if sh.runs[r.s.ID] != r {
			sh.e.keeper.Release(request)
			return
		}
		sh.event(r, ev)
	}})
}

// stepRequest is what a step run asks for before its first attempt.
func (r *liveRun) stepRequest(c domain.Claim, caps Caps) limits.Request {
	p := &r.s.Plan.Nodes[c.Step]
	q := limits.Request{ID: domain.IdempotencyKey(r.s.ID, p.Spec.ID, c.Path), Priority: c.Priority, Share: r.s.Project, Holder: r.s.ID}
	project := r.s.Project
	if l := p.Spec.Concurrency; l != nil {
		key := "key/" + project + "/" + c.Key
		if l.Key == nil {
			key = "step/" + project + "/" + r.s.Plan.Workflow + "/" + p.Spec.ID
		}
		q.Claims = append(q.Claims, limits.Claim{Key: key, Label: keyLabel("key", c.Key, "step "+p.Spec.ID), Limit: c.Limit})
	}
	if p.Build != nil {
		action, _, _ := strings.Cut(p.Build.Action, "@")
		for _, x := range []struct {
			cap   int
			key   string
			label string
		}{
			{caps.Actions[action], "action/" + project + "/" + action, "cap of action " + action},
			{caps.Workflows[r.s.Plan.Workflow], "workflow/" + project + "/" + r.s.Plan.Workflow, "cap of workflow " + r.s.Plan.Workflow},
			{caps.Project, "project/" + project, "cap of project " + project},
			{caps.Server, "server", "cap of the server"},
		} {
			if x.cap > 0 {
				q.Claims = append(q.Claims, limits.Claim{Key: x.key, Label: x.label, Limit: x.cap})
			}
		}
	}
	return q
}

// acquire asks for a step run's place.
func (sh *shard) acquire(r *liveRun, c domain.Command) {
	_, step, path := r.s.Target(c)
	q := r.stepRequest(r.s.ClaimOf(c), sh.e.caps.of(r.s.Project))
	q.Granted = func() { sh.toRun(r, q.ID, domain.EventGranted{Step: step, Path: path}) }
	sh.e.keeper.Acquire(q)
}

func (sh *shard) release(r *liveRun, c domain.Command) {
	_, step, path := r.s.Target(c)
	sh.e.keeper.Release(domain.IdempotencyKey(r.s.ID, r.s.Plan.Nodes[step].Spec.ID, path))
}

// restorePlaces tells the keeper what a run holds that is taken up after a crash.
func (s *Service) restorePlaces(r *liveRun) {
	if limited(r.s.Plan) && r.s.Status != domain.RunQueued && !r.s.Status.Ended() {
		if q, err := r.runRequest(); err == nil {
			s.engine.keeper.Restore(q)
		}
	}
	caps := s.engine.caps.of(r.s.Project)
	for _, c := range r.s.Claims() {
		if c.Held {
			s.engine.keeper.Restore(r.stepRequest(c, caps))
		}
	}
}

// isOpen tells that every run that holds places is known.
func (s *Service) isOpen() bool { return s.up.Load() }

// explain adds to a run's steps why they wait for their place.
func (s *Service) explain(st *domain.State, d *RunDetail) {
	for i := range d.Steps {
		s.explainStep(st.ID, &d.Steps[i])
	}
	if d.State == domain.RunQueued {
		if why, ok := s.engine.keeper.Why(st.ID); ok {
			d.Wait = &WaitView{Kind: domain.WaitSlot.String(), Text: why.String(), HeldBy: why.HeldBy, Position: why.Position, Until: why.Next}
		}
	}
}

func (s *Service) explainStep(run string, x *StepRun) {
	if x.Wait == nil || x.Wait.Kind != domain.WaitSlot.String() {
		return
	}
	if why, ok := s.engine.keeper.Why(domain.IdempotencyKey(run, x.Step, x.ItemPath)); ok {
		x.Reason, x.Wait.HeldBy, x.Wait.Position, x.Wait.Until = why.String(), why.HeldBy, why.Position, why.Next
	}
}

// Caps bounds how many action steps are under way at a time; 0 = no bound.
type Caps struct {
	Server    int
	Project   int
	Workflows map[string]int
	Actions   map[string]int
}

// empty tells that nothing is bounded.
func (c Caps) empty() bool { return c.Server+c.Project+len(c.Workflows)+len(c.Actions) == 0 }

// Caps gives a project's caps. See UseCases.
func (s *Service) Caps(_ context.Context, project string) (Caps, error) {
	return s.engine.caps.of(project), nil
}

// PutCaps replaces a project's caps; those of the server are a setting. See UseCases.
func (s *Service) PutCaps(ctx context.Context, project string, c Caps) error {
	var bad []fault.Field
	check := func(path string, n int) {
		if n < 0 || n > 1_000_000 {
			bad = append(bad, fault.Field{Path: path, Message: fmt.Sprintf("is %d", n), Remedy: "give 1 to 1000000, or 0 for no cap"})
		}
	}
	check("project", c.Project)
	for _, name := range sortedNames(c.Workflows) {
		check("workflows."+name, c.Workflows[name])
	}
	for _, name := range sortedNames(c.Actions) {
		check("actions."+name, c.Actions[name])
	}
	if bad != nil {
		return fault.InvalidFields(bad...)
	}
	c.Server = 0
	if err := s.deps.Store.PutCaps(ctx, project, c); err != nil {
		return err
	}
	s.applyCaps(project, c)
	s.signal(0, signalSettings)
	return nil
}

// applyCaps lets the runs of a project ask for places under its caps from now on.
func (s *Service) applyCaps(project string, c Caps) {
	s.engine.caps.put(project, c)
	capped := !s.engine.caps.of(project).empty()
	for _, sh := range s.engine.shards {
		sh.post(message{do: func(sh *shard) {
			for _, r := range sh.runs {
				if r.s.Project == project {
					r.s.Capped = capped
				}
			}
		}})
	}
}

// after is time.AfterFunc for the keeper's rates.
func after(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
