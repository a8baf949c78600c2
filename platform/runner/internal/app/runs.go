package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// writable tells why no run can be started now.
func (s *Service) writable() error {
	if err := s.isReady(); err != nil {
		return err
	}
	if err := s.engine.journal.Stalled(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the database takes no writes just now (%s): try again in a moment", err)
	}
	return nil
}

// Stalled is why the journal cannot be written, nil while it can.
func (s *Service) Stalled() error {
	if s.isReady() != nil {
		return nil
	}
	return s.engine.journal.Stalled()
}

// StartRun makes a run durable and returns. See UseCases.
func (s *Service) StartRun(ctx context.Context, o StartRun) (StartedRun, error) {
	if err := s.writable(); err != nil {
		return StartedRun{}, err
	}
	home, err := s.deploymentFor(ctx, o)
	if err != nil {
		return StartedRun{}, err
	}
	runID := o.id
	if runID == "" {
		runID = s.deps.NewID()
	}
	dep, err := s.choose(ctx, &o, home, runID)
	if err != nil {
		return StartedRun{}, err
	}
	plan, err := s.plan(ctx, dep)
	if err != nil {
		return StartedRun{}, err
	}
	if err := s.checkPaused(o.Project, plan.Workflow); err != nil {
		return StartedRun{}, err
	}
	vars := s.engine.secrets.variables(o.Project)
	inputs, err := s.startInputs(o, plan, vars)
	if err != nil {
		return StartedRun{}, err
	}
	if err := s.keepGiven(ctx, o, inputs); err != nil {
		return StartedRun{}, err
	}
	_, own, err := keysOf(plan, inputs, vars, o.event())
	if err != nil {
		return StartedRun{}, err
	}
	if o.IdempotencyKey == "" && o.keep == nil {
		o.IdempotencyKey = own
	}
	listener := ""
	if o.EventKey != "" || o.Cursor != nil {
		if listener, err = s.listener(ctx, home); err != nil {
			return StartedRun{}, err
		}
	}
	dedup := s.dedup(o, plan, listener, inputs)
	if dedup != nil {
		release, err := s.reserve(ctx, dedup.Scope+"\x00"+dedup.Key)
		if err != nil {
			return StartedRun{}, err
		}
		defer release()
		if known, found, err := s.known(ctx, o, dedup); err != nil || found {
			return known, err
		}
	}
	for name, v := range inputs {
		if plan.SecretInput(name) {
			if inputs[name], err = s.engine.secrets.seal(o.Project, v); err != nil {
				return StartedRun{}, fault.Wrap(err, fault.Internal, "seal the input %s", name)
			}
		}
	}
	sum := RunSummary{ID: runID, Project: o.Project, Workflow: plan.Workflow, Revision: plan.Revision, RevisionID: plan.RevisionID,
		Deployment: dep, State: domain.RunRunning, Trigger: o.Trigger, CreatedAt: s.now().UTC(), RetryOf: o.retryOf, Parent: o.parent, Tags: tagsOf(plan, inputs)}
	release, err := s.holdDay(ctx, o.id)
	if err != nil {
		return StartedRun{}, err
	}
	defer release()
	r := s.newRun(sum, plan)
	r.s.Lean = domain.LargeRun
	r.brief = s.brief(dep) && dedup == nil && o.Cursor == nil && o.id == "" && o.keep == nil
	if r.gone, err = s.admit(o.Project); err != nil {
		return StartedRun{}, err
	}
	// Who asks for its end at once need not be woken for its start.
	soon := o.Await && dedup == nil && o.id == "" && dep == home && !limited(plan)
	st := &beginning{ok: make(chan struct{}), failed: make(chan error, 1)}
	if soon {
		r.awaited = 1
	}
	s.engine.shardOf(sum.ID).post(message{do: func(sh *shard) {
		sh.runs[sum.ID] = r
		sh.step(r, domain.EventStarted{Inputs: inputs, Vars: vars, Event: o.event(), Keep: o.keep, From: o.from, Queued: limited(plan)}, func(q *queued) {
			q.Start, q.Dedup = &r.summary, dedup
			if o.Cursor != nil {
				q.Cursor = &SourceCursor{Deployment: listener, Trigger: o.Trigger.ID, Cursor: o.Cursor}
			}
			q.started = func(err error) { sh.e.begun(r, st, err) }
		})
	}})
	started := StartedRun{ID: sum.ID, State: domain.RunRunning, Created: true, Deployment: dep, CreatedAt: sum.CreatedAt, run: r}
	if soon {
		started.begins = st
		return started, nil
	}
	if err := s.awaitStart(ctx, st); err != nil {
		if errors.Is(err, ErrDuplicate) && dedup != nil {
			known, found, kerr := s.known(ctx, o, dedup)
			if kerr != nil || found {
				return known, kerr
			}
		}
		return StartedRun{}, err
	}
	if limited(plan) {
		started.State = domain.RunQueued
	}
	return started, nil
}

// event is what expressions see as trigger.
func (o *StartRun) event() domain.Value {
	if o.keep != nil {
		return o.retried
	}
	return o.Event
}

func (s *Service) deploymentFor(ctx context.Context, o StartRun) (string, error) {
	if o.DeploymentID != "" {
		return s.pinned(ctx, o)
	}
	if id := s.liveID(o); id != "" {
		return id, nil
	}
	if err := s.Refresh(ctx); err != nil { // another replica may have made it live just now
		return "", err
	}
	if id := s.liveID(o); id != "" {
		return id, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := []string{}
	for _, d := range s.live {
		if d.Project == o.Project {
			names = append(names, d.Definition.Workflow)
		}
	}
	remedy := "deploy it first"
	if near := fault.Nearest(o.Workflow, names); near != "" {
		remedy = "did you mean " + near + "?"
	}
	e := fault.New(fault.NotFound, "workflow %q is not deployed in project %s: %s", o.Workflow, o.Project, remedy)
	e.Fields = []fault.Field{{Path: "workflow", Message: "is not deployed", Remedy: remedy}}
	return "", e
}

// liveID is the live deployment of a workflow, "" = none.
func (s *Service) liveID(o StartRun) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[o.Project+"/"+o.Workflow]
}

// pinned checks a deployment named by id: live, or superseded and not stopped by hand.
func (s *Service) pinned(ctx context.Context, o StartRun) (string, error) {
	for try := range 2 {
		if d, ok := s.liveHome(o.DeploymentID); ok && d.Project == o.Project {
			return o.DeploymentID, nil
		}
		if try == 0 { // another replica may have made it live just now
			if err := s.Refresh(ctx); err != nil {
				return "", err
			}
		}
	}
	d, err := s.Deployment(ctx, o.Project, o.DeploymentID)
	if err != nil {
		return "", err
	}
	if d.State != DeploymentLive && d.Reason != reasonSuperseded {
		return "", fault.New(fault.Conflict, "deployment %s of %s is %s: %s", d.ID, d.Definition.Workflow, d.State, d.Reason)
	}
	return d.ID, nil
}

// admit counts a run in, up to the project's limit; release counts it out.
func (s *Service) admit(project string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under[project] >= s.cfg.MaxLiveRuns {
		return nil, fault.New(fault.Exhausted, "project %s has %d runs under way, which is its limit: try again when some have ended", project, s.cfg.MaxLiveRuns)
	}
	return s.countIn(project), nil
}

// countIn needs s.mu.
func (s *Service) countIn(project string) func() {
	s.under[project]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.under[project]--
		s.mu.Unlock()
	})
}

// startInputs maps the event, fills in defaults and checks; every problem is told at once.
func (s *Service) startInputs(o StartRun, plan *domain.Plan, vars domain.Values) (domain.Values, error) {
	in := domain.Values{}
	if o.Event != nil {
		sc := domain.EventScope(o.Event, vars, s.engine.secrets.of(o.Project))
		for _, m := range plan.Mappings[o.Trigger.ID] {
			v, err := evalMapping(m.Expr, sc)
			if err != nil {
				return nil, fault.InvalidField("triggers."+o.Trigger.ID+".inputs."+m.Name, err.Error(), "check the mapping against the event")
			}
			if v != nil {
				in[m.Name] = v
			}
		}
	}
	for i := range plan.Inputs {
		if v, ok := o.offers[plan.Inputs[i].Name]; ok && in[plan.Inputs[i].Name] == nil {
			in[plan.Inputs[i].Name] = v
		}
	}
	for k, v := range o.Inputs {
		in[k] = v
	}
	fields := domain.CheckInputs(plan.Inputs, in)
	if len(fields) == 0 {
		return in, nil
	}
	names := make([]string, len(plan.Inputs))
	for i, it := range plan.Inputs {
		names[i] = it.Name
	}
	out := make([]fault.Field, len(fields))
	for i, f := range fields {
		out[i] = fault.Field{Path: "inputs." + f.Where, Message: f.Message}
		switch {
		case slices.Contains(names, f.Where):
		case len(names) == 0:
			out[i].Remedy = "it takes no inputs"
		default:
			out[i].Remedy = "its inputs are " + strings.Join(names, ", ")
		}
	}
	return nil, fault.InvalidFields(out...)
}

func evalMapping(e domain.Expression, sc *domain.Scope) (domain.Value, error) {
	if v, ok := e.Literal(); ok {
		return v, nil
	}
	if r, ok := e.Ref(); ok && r.Name == "" {
		v, _ := sc.Resolve(r)
		return v, nil
	}
	return e.Eval(sc)
}

// lasting are the kinds of triggers whose events are the same ones after a redeployment.
var lasting = map[string]bool{TriggerWorkflowEnd: true, TriggerPlatformEvent: true, TriggerCloudEvent: true, TriggerRabbitMQ: true}

func (s *Service) dedup(o StartRun, plan *domain.Plan, listener string, inputs domain.Values) *Dedup {
	expires := s.now().UTC().Add(s.cfg.DedupTTL)
	switch {
	case o.EventKey != "" && o.Trigger.Kind == "cron": // a due time is the same one after a redeployment
		return &Dedup{Scope: "cron/" + o.Project + "/" + plan.Workflow + "/" + o.Trigger.ID, Key: o.EventKey, Expires: s.now().UTC().Add(max(s.cfg.DedupTTL, scheduleKept))}
	case o.EventKey != "" && lasting[o.Trigger.Kind]: // and so is an event
		return &Dedup{Scope: o.Trigger.Kind + "/" + o.Project + "/" + plan.Workflow + "/" + o.Trigger.ID, Key: o.EventKey, Expires: expires}
	case o.EventKey != "":
		return &Dedup{Scope: "event/" + listener + "/" + o.Trigger.ID, Key: o.EventKey, Expires: expires}
	case o.IdempotencyKey != "":
		return &Dedup{Scope: "run/" + o.Project + "/" + plan.Workflow, Key: o.IdempotencyKey, Body: digestOf(inputs), Expires: expires}
	}
	return nil
}

// reserve lets one start at a time use a key.
func (s *Service) reserve(ctx context.Context, key string) (release func(), err error) {
	for {
		s.mu.Lock()
		busy := s.starts[key]
		if busy == nil {
			mine := make(chan struct{})
			s.starts[key] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.starts, key)
				s.mu.Unlock()
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// known answers with the run that a key has already started.
func (s *Service) known(ctx context.Context, o StartRun, d *Dedup) (StartedRun, bool, error) {
	id, body, found, err := s.deps.Store.FindDedup(ctx, d.Scope, d.Key)
	if err != nil || !found {
		return StartedRun{}, false, err
	}
	sum, err := s.deps.Store.RunSummary(ctx, o.Project, id)
	if string(body) != string(d.Body) && (err != nil || !s.sameOrder(ctx, o, sum, body)) {
		return StartedRun{}, true, fault.New(fault.Conflict, "the idempotency key %q was used with other inputs by run %s: take a new key for another request", d.Key, id).WithCode("idempotency_key_reused")
	}
	if fault.Is(err, fault.NotFound) && o.EventKey != "" {
		return StartedRun{ID: id}, true, nil // the event has had its run, which is not kept any more
	}
	if fault.Is(err, fault.NotFound) {
		return StartedRun{}, true, fault.New(fault.Conflict, "the idempotency key %q has started run %s, which is not kept any more: take a new key for another run", d.Key, id).WithCode("run_expired")
	}
	if err != nil {
		return StartedRun{}, true, err
	}
	return StartedRun{ID: id, State: sum.State, Deployment: sum.Deployment, CreatedAt: sum.CreatedAt}, true, nil
}

// find looks for a live run and calls do on its shard. After an error do may still run: what
// it writes must not be read then.
func (s *Service) find(ctx context.Context, project, id string, do func(*shard, *liveRun)) (bool, error) {
	if err := s.isReady(); err != nil {
		return false, err
	}
	found := false
	err := s.engine.shardOf(id).call(ctx, func(sh *shard) {
		if r := sh.runs[id]; r != nil && r.s.Project == project {
			found = true
			do(sh, r)
		}
	})
	if errors.Is(err, ErrStopped) {
		err = fault.Wrap(err, fault.Unavailable, "the runner is stopping; try again in a moment")
	}
	if err != nil {
		return false, err
	}
	return found, nil
}

// Retry starts a new run that keeps what an ended one has finished. See UseCases.
func (s *Service) Retry(ctx context.Context, o RetryRun) (StartedRun, error) {
	if err := s.isReady(); err != nil {
		return StartedRun{}, err
	}
	sum, err := s.deps.Store.RunSummary(ctx, o.Project, o.Run)
	if err != nil {
		return StartedRun{}, err
	}
	if !sum.State.Ended() {
		return StartedRun{}, fault.New(fault.Conflict, "the run has not ended: it is %s; cancel it first, or wait", sum.State).WithCode("run_not_ended")
	}
	st, err := s.replay(ctx, sum)
	if err != nil {
		return StartedRun{}, err
	}
	if sum.State == domain.RunCompleted && o.From == "" {
		return StartedRun{}, fault.New(fault.Conflict, "the run has completed: name the step from which on it shall run again, or start it anew").WithCode("run_completed")
	}
	plan, dep := st.Plan, sum.Deployment
	if o.Newest {
		if dep, err = s.deploymentFor(ctx, StartRun{Project: o.Project, Workflow: sum.Workflow}); err != nil {
			return StartedRun{}, err
		}
		dep = s.newest(dep)
		if plan, err = s.plan(ctx, dep); err != nil {
			return StartedRun{}, err
		}
	}
	if _, ok := plan.StepIndex(o.From); o.From != "" && !ok {
		return StartedRun{}, fault.InvalidField("from", fmt.Sprintf("the workflow %s has no step %q", plan.Workflow, o.From), "name one of its steps")
	}
	in, err := s.openInputs(o.Project, st)
	if err != nil {
		return StartedRun{}, err
	}
	return s.StartRun(ctx, StartRun{Project: o.Project, DeploymentID: dep, Inputs: in, Trigger: sum.Trigger, retried: st.Event,
		IdempotencyKey: o.Key, keep: st, from: o.From, retryOf: sum.ID, exact: true})
}
