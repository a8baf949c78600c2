package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits/shared"
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

// runRequest is what a run asks for before it starts; what it has taken of a rate is not held.
func (r *liveRun) runRequest(held bool) (shared.Request, error) {
	p := r.s.Plan
	k, _, err := keysOf(p, r.s.Inputs, r.s.Vars, r.s.Event)
	if err != nil {
		return shared.Request{}, err
	}
	q := shared.Request{Domain: projectDomain(r.s.Project), Request: limits.Request{ID: r.s.ID, Priority: p.Priority, Share: r.s.Project, Holder: r.s.ID,
		Since: r.summary.CreatedAt}}
	scope := r.s.Project + "/" + p.Workflow + "/"
	if c := p.Concurrency; c != nil {
		q.Claims = append(q.Claims, limits.Claim{Key: "run/" + scope + limitKey(k.slot), Label: keyLabel("key", k.slot, "workflow "+p.Workflow), Limit: max(c.Limit, 1)})
		q.Try, q.Oldest = c.Policy == "skip", c.Policy == "cancel-oldest"
	}
	if c := p.RateLimit; c != nil && !held {
		q.Claims = append(q.Claims, limits.Claim{Key: "rate/" + scope + limitKey(k.rate), Limit: c.Count, Per: c.Per, Burst: c.Burst,
			Label: keyLabel(fmt.Sprintf("rate limit of %d per %s for", c.Count, c.Per), k.rate, p.Workflow)})
	}
	return q, nil
}

func keyLabel(what, key, without string) string {
	if key == "" {
		return strings.TrimPrefix(what+" ", "key ") + without
	}
	if short := []rune(key); len(short) > maxLabel {
		key = string(short[:maxLabel]) + "…"
	}
	return what + " " + strings.ToValidUTF8(key, "\uFFFD")
}

const (
	maxLabel = 100 // characters of a key that causes show
	maxKey   = 200 // bytes of a key that are kept as they are
)

// limitKey makes a key of what an expression gave: one that is long, or no text for the database, is
// known by its hash.
func limitKey(key string) string {
	if len(key) <= maxKey && utf8.ValidString(key) && !strings.Contains(key, "\x00") {
		return key
	}
	h := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(h[:])
}

// admitRun asks for the run's place, by the workflow's policy.
func (sh *shard) admitRun(r *liveRun) {
	q, err := r.runRequest(false)
	if err != nil {
		sh.event(r, domain.EventRefused{Reason: err.Error()})
		return
	}
	superseding := false
	q.Tell = func(d shared.Decision) {
		switch {
		case d.Granted:
			sh.toRun(r, []shared.Request{q}, func(sh *shard) { sh.admitted(r, q) })
		case d.Refused:
			sh.toRun(r, nil, func(sh *shard) { sh.event(r, domain.EventRefused{Reason: d.Cause.String()}) })
		case len(d.Oldest) > 0:
			sh.toRun(r, nil, func(sh *shard) {
				if !superseding {
					superseding = true
					sh.cancelHolders(r, d.Oldest, q.Claims[0].Label)
				}
			})
		}
	}
	sh.e.limits().Acquire(q)
}

// admitted starts a run that has got its place. What it takes of its rate is durable with its start.
func (sh *shard) admitted(r *liveRun, q shared.Request) {
	if r.s.Status != domain.RunQueued {
		sh.e.limits().Release(q.ID)
		return
	}
	i := slices.IndexFunc(q.Claims, func(c limits.Claim) bool { return c.Per > 0 })
	if i < 0 {
		sh.event(r, domain.EventAdmitted{})
		return
	}
	c, e := q.Claims[i], sh.e
	sh.step(r, domain.EventAdmitted{}, func(x *queued) {
		x.Rate = &RateUse{Project: r.s.Project, Key: c.Key, Every: c.Per / time.Duration(max(c.Limit, 1))}
		x.started = func(err error) {
			if err == nil {
				e.limits().Started(q.ID)
			}
		}
	})
}

// cancelHolders makes room for a run by cancelling the oldest that hold its key.
func (sh *shard) cancelHolders(r *liveRun, holders []string, label string) {
	e := sh.e
	go func() {
		if !e.svc.isUp(e.stop) {
			return
		}
		for _, run := range holders {
			err := e.svc.Cancel(e.stop, r.s.Project, run, "superseded:"+run, "superseded by run "+r.s.ID+" ("+label+")")
			if err != nil && e.stop.Err() == nil && !fault.Is(err, fault.Conflict) {
				e.log.Warn("the oldest run of a key could not be cancelled", "run", run, "error", err)
			}
		}
	}()
}

// toRun does something with a run on its shard, unless it has left memory: its places are then free
// again.
func (sh *shard) toRun(r *liveRun, places []shared.Request, do func(*shard)) {
	sh.post(message{do: func(sh *shard) {
		if sh.runs[r.s.ID] == r {
			do(sh)
			return
		}
		for _, q := range places {
			sh.e.limits().Release(q.ID)
		}
	}})
}

// stepRequests are what a step run asks for before its first attempt, one after the other: its
// keys and the caps of its project, then that of the server.
func (r *liveRun) stepRequests(c domain.Claim, caps Caps) []shared.Request {
	p := &r.s.Plan.Nodes[c.Step]
	project := r.s.Project
	q := shared.Request{Domain: projectDomain(project), Request: limits.Request{ID: domain.IdempotencyKey(r.s.ID, p.Spec.ID, c.Path), Priority: c.Priority,
		Share: project, Holder: r.s.ID}}
	if l := p.Spec.Concurrency; l != nil {
		key := "key/" + project + "/" + limitKey(c.Key)
		if l.Key == nil {
			key = "step/" + project + "/" + r.s.Plan.Workflow + "/" + p.Spec.ID
		}
		q.Claims = append(q.Claims, limits.Claim{Key: key, Label: keyLabel("key", c.Key, "step "+p.Spec.ID), Limit: c.Limit})
	}
	if p.Build == nil {
		return []shared.Request{q}
	}
	action, _, _ := strings.Cut(p.Build.Action, "@")
	for _, x := range []struct {
		cap   int
		key   string
		label string
	}{
		{caps.Actions[action], "action/" + project + "/" + action, "cap of action " + action},
		{caps.Workflows[r.s.Plan.Workflow], "workflow/" + project + "/" + r.s.Plan.Workflow, "cap of workflow " + r.s.Plan.Workflow},
		{caps.Project, "project/" + project, "cap of project " + project},
	} {
		if x.cap > 0 {
			q.Claims = append(q.Claims, limits.Claim{Key: x.key, Label: x.label, Limit: x.cap})
		}
	}
	list := []shared.Request{q}
	if caps.Server > 0 {
		q.ID, q.Domain = atServer(q.ID), serverDomain
		q.Claims = []limits.Claim{{Key: "server", Label: "cap of the server", Limit: caps.Server}}
		list = append(list, q)
	}
	return list
}

// acquire asks for a step run's place.
func (sh *shard) acquire(r *liveRun, c domain.Command) {
	_, step, path := r.s.Target(c)
	list := r.stepRequests(r.s.ClaimOf(c), sh.e.caps.of(r.s.Project))
	sh.askPlaces(r, list, 0, func(sh *shard) { sh.event(r, domain.EventGranted{Step: step, Path: path, Ask: c.Attempt}) })
}

// askPlaces asks for one place after the other.
func (sh *shard) askPlaces(r *liveRun, list []shared.Request, i int, then func(*shard)) {
	q := list[i]
	q.Tell = func(d shared.Decision) {
		if !d.Granted {
			return
		}
		sh.toRun(r, list, func(sh *shard) {
			if i+1 < len(list) {
				sh.askPlaces(r, list, i+1, then)
				return
			}
			then(sh)
		})
	}
	sh.e.limits().Acquire(q)
}

func (sh *shard) release(r *liveRun, c domain.Command) {
	_, step, path := r.s.Target(c)
	id := domain.IdempotencyKey(r.s.ID, r.s.Plan.Nodes[step].Spec.ID, path)
	sh.e.limits().Release(id)
	if sh.e.caps.server > 0 {
		sh.e.limits().Release(atServer(id))
	}
}

// adoptPlaces tells what a run holds that is taken up after a crash.
func (s *Service) adoptPlaces(r *liveRun) {
	node := s.engine.limits()
	if limited(r.s.Plan) && r.s.Status != domain.RunQueued && !r.s.Status.Ended() {
		if q, err := r.runRequest(true); err == nil && len(q.Claims) > 0 {
			node.Adopt(q)
		}
	}
	caps := s.engine.caps.of(r.s.Project)
	for _, c := range r.s.Claims() {
		if c.Held {
			for _, q := range r.stepRequests(c, caps) {
				node.Adopt(q)
			}
		}
	}
}

// explain adds to a run's steps why they wait for their place. It may ask another replica.
func (s *Service) explain(ctx context.Context, d *RunDetail) {
	var ids []string
	if d.State == domain.RunQueued {
		ids = append(ids, d.ID)
	}
	for i := range d.Steps {
		if x := &d.Steps[i]; x.Wait != nil && x.Wait.Kind == domain.WaitSlot.String() {
			id := domain.IdempotencyKey(d.ID, x.Step, x.ItemPath)
			ids = append(ids, id, atServer(id))
		}
	}
	if node := s.engine.limits(); len(ids) > 0 && node != nil {
		whys := node.Why(ctx, ids)
		d.explain(func(id string) (limits.Cause, bool) { why, ok := whys[id]; return why, ok })
	}
}

func (d *RunDetail) explain(why func(id string) (limits.Cause, bool)) {
	if c, ok := why(d.ID); ok && d.State == domain.RunQueued {
		d.Wait = &WaitView{Kind: domain.WaitSlot.String(), Text: c.String(), HeldBy: c.HeldBy, Position: c.Position, Until: c.Next}
	}
	for i := range d.Steps {
		explainStep(d.ID, &d.Steps[i], why)
	}
}

func explainStep(run string, x *StepRun, why func(id string) (limits.Cause, bool)) {
	if x.Wait == nil || x.Wait.Kind != domain.WaitSlot.String() {
		return
	}
	id := domain.IdempotencyKey(run, x.Step, x.ItemPath)
	c, ok := why(id)
	if !ok {
		c, ok = why(atServer(id))
	}
	if ok {
		x.Reason, x.Wait.HeldBy, x.Wait.Position, x.Wait.Until = c.String(), c.HeldBy, c.Position, c.Next
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
