package simulation

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// carryOut does what the state machine orders. Whatever it sets going comes back as an event
// later, never from within.
func (r *run) carryOut(c domain.Command) {
	w := r.w
	switch c.Kind {
	case domain.CommandStart:
		w.todo = append(w.todo, func() { r.dispatch(c) })
	case domain.CommandCancel:
		r.cancel(c)
	case domain.CommandLookUp:
		r.lookUp(c)
	case domain.CommandKeep:
		if outputs, list, ttl := r.s.ForCache(c); outputs != nil {
			w.cache[r.cacheKey(c)] = cached{outputs, list, w.clock().Add(ttl)}
		}
	case domain.CommandHandle:
		r.handler()
	case domain.CommandLoad:
		for _, ref := range c.Refs {
			v, err := app.ReadBlob(w.ctx, w.deps.Files, w.order.Project, ref)
			r.later(domain.EventLoaded{Digest: ref.Digest, Value: v, Err: err})
		}
	case domain.CommandContinue:
		r.later(domain.EventContinue{})
	case domain.CommandAcquire:
		r.acquire(c)
	case domain.CommandRelease:
		_, step, path := r.s.Target(c)
		w.places.Release(domain.IdempotencyKey(r.s.ID, r.s.Plan.Nodes[step].Spec.ID, path))
	case domain.CommandEnded:
		if err := r.replayed(); err != nil {
			w.fail("run", 0, 0, fmt.Sprintf("run of %s: %s", r.s.Plan.Workflow, err))
		}
		if r.ended != nil {
			r.ended(r)
		}
	}
}

func (r *run) later(ev domain.Event) { r.w.todo = append(r.w.todo, func() { r.handle(ev) }) }

func (r *run) cacheKey(c domain.Command) string {
	build, key := r.s.CacheKey(c)
	return build + "\x00" + key
}

// lookUp asks the cache of this test.
func (r *run) lookUp(c domain.Command) {
	_, step, path := r.s.Target(c)
	hit, ok := r.w.cache[r.cacheKey(c)]
	if ok = ok && r.w.clock().Before(hit.until); !ok {
		hit = cached{}
	}
	r.later(domain.EventLookedUp{Step: step, Path: path, Hit: ok, Outputs: hit.outputs, IsList: hit.list})
}

// acquire asks for the place that a step's concurrency key names.
func (r *run) acquire(c domain.Command) {
	_, step, path := r.s.Target(c)
	p, claim := &r.s.Plan.Nodes[step], r.s.ClaimOf(c)
	key := "key/" + claim.Key
	if l := p.Spec.Concurrency; l == nil || l.Key == nil {
		key = "step/" + r.s.Plan.Workflow + "/" + p.Spec.ID
	}
	r.w.places.Acquire(limits.Request{ID: domain.IdempotencyKey(r.s.ID, p.Spec.ID, path), Priority: claim.Priority, Holder: r.s.ID,
		Claims: []limits.Claim{{Key: key, Limit: claim.Limit}}, Granted: func() { r.later(domain.EventGranted{Step: step, Path: path, Ask: c.Attempt}) }})
}

// dispatch lets a stub, a sub-workflow or the real action answer an attempt.
func (r *run) dispatch(c domain.Command) {
	w := r.w
	secrets := &testSecrets{given: w.order.Test.Secrets}
	d, err := r.s.Dispatch(c, secrets)
	var need *domain.NeedRefsError
	if errors.As(err, &need) {
		for _, ref := range need.Refs {
			v, serr := app.ReadBlob(w.ctx, w.deps.Files, w.order.Project, ref)
			r.handle(domain.EventLoaded{Digest: ref.Digest, Value: v, Err: serr})
		}
		w.todo = append(w.todo, func() { r.dispatch(c) })
		return
	}
	a := attempt{run: r, d: d}
	key := r.key(d.Step)
	if secrets.missing != "" {
		w.fail("secrets."+secrets.missing, 0, 0, fmt.Sprintf("step %s reads the secret %s, which the test does not give: add secrets: {%s: made-up}", key, secrets.missing, secrets.missing))
		return
	}
	if err != nil {
		var se *domain.StepError
		if !errors.As(err, &se) {
			se = &domain.StepError{Kind: "internal", Message: err.Error()}
		}
		a.end(app.Ended{Outcome: app.Failed, Error: se}, nil, false, nil)
		return
	}
	if answer, ok := r.answer(key, d.Path, d.Attempt); ok {
		a.stub(answer)
		return
	}
	if d.Workflow != "" {
		a.call()
		return
	}
	if d.Effect == "write" || d.Effect == "irreversible" {
		w.fail("stubs."+key, 0, 0, fmt.Sprintf("step %s (%s) has the effect %s, which a test must not have: let a stub answer, as in stubs: {%s: [{outputs: {%s}}]}",
			key, d.Build.Action, d.Effect, quoteKey(key), someOutputs(d.Build)))
		return
	}
	a.fly()
}

// attempt is one that is under way.
type attempt struct {
	run *run
	d   domain.Dispatch
}

// end tells the state machine that the attempt has ended.
func (a attempt) end(e app.Ended, outputs []domain.Values, list bool, phases []domain.Phase) {
	a.run.later(domain.EventAttempt{Step: a.d.StepIndex, Path: a.d.Path, Attempt: a.d.Attempt, Outcome: app.DomainOutcome(e.Outcome), Err: e.Error,
		Outputs: outputs, IsList: list || e.List, Instance: e.Instance, Usage: e.Usage, Phases: phases})
}

// stand notes an attempt that something of this test ends; cancel is what a cancel does.
func (a attempt) stand(cancel func()) (over func()) {
	w, id := a.run.w, a.d.Execution
	w.stands[id] = &standing{cancel}
	return func() { delete(w.stands, id) }
}

// call starts the run of a sub-workflow.
func (a attempt) call() {
	w, d := a.run.w, a.d
	event, _ := json.Marshal(map[string]any{"run": a.run.s.ID, "workflow": a.run.s.Plan.Workflow, "step": d.Step, "depth": a.run.depth + 1})
	child, err := w.start(d.Workflow, d.Child, maps.Clone(d.Inputs), event, app.Trigger{Kind: "workflow", ID: d.Step}, a.run.depth+1)
	if err != nil {
		kind := "invalid_input"
		if f := fault.As(err); f != nil && f.Kind == fault.NotFound {
			w.fail("workflow "+d.Workflow, 0, 0, fmt.Sprintf("step %s: %s; or let a stub answer for the step", a.run.key(d.Step), f.Message))
			return
		} else if f != nil && f.Kind == fault.Exhausted {
			kind = "too_deep"
		}
		a.end(app.Ended{Outcome: app.Failed, Error: &domain.StepError{Kind: kind, Message: "start " + d.Workflow + ": " + words(err)}}, nil, false, nil)
		return
	}
	if d.Detach {
		id, _ := json.Marshal(d.Child)
		a.end(app.Ended{Outcome: app.Completed, Instance: d.Child}, []domain.Values{{"run": id}}, false, nil)
		return
	}
	over := a.stand(func() { child.later(domain.EventCancel{Reason: "the step that started it was cancelled"}) })
	child.ended = func(c *run) {
		over()
		end, out := app.ChildEnd(d, app.RunResult{ID: d.Child, Workflow: d.Workflow, State: c.s.Status, Result: c.s.Result, Error: c.s.Err})
		var outputs []domain.Values
		if out != nil {
			outputs = []domain.Values{out.Values}
		}
		a.end(end, outputs, false, nil)
	}
}

// handler starts the workflow that handles the run's failure.
func (r *run) handler() {
	name := r.s.Plan.OnFailure
	if r.kind == "failure" {
		r.later(domain.EventHandled{Problem: "a failure handler's own failure is not handled"})
		return
	}
	event := app.FailureEvent(r.s)
	raw, _ := json.Marshal(event)
	plan, err := r.w.plan(name)
	if err != nil {
		r.later(domain.EventHandled{Problem: words(err)})
		return
	}
	inputs := domain.Values{}
	for _, it := range plan.Inputs {
		if v, ok := event[it.Name]; ok {
			inputs[it.Name] = v
		}
	}
	id := domain.ChildID(r.s.ID+":onFailure", r.s.Started)
	if _, err := r.w.start(name, id, inputs, raw, app.Trigger{Kind: "failure", ID: r.s.ID}, r.depth); err != nil {
		r.later(domain.EventHandled{Problem: words(err)})
		return
	}
	r.later(domain.EventHandled{Run: id})
}

func (r *run) cancel(c domain.Command) {
	w := r.w
	id, _, _ := r.s.Target(c)
	if s := w.stands[id]; s != nil {
		s.cancel()
		return
	}
	if w.flying[id] != nil {
		w.deps.Executor.Cancel(id, c.Reason, w.deps.Grace)
	}
}

// fly starts a real attempt.
func (a attempt) fly() {
	w, r, d := a.run.w, a.run, a.d
	k := &sink{attempt: a}
	if len(w.flying) == 0 {
		w.moving(true)
	}
	w.flying[d.Execution] = &flight{k}
	w.deps.Executor.Start(app.Execution{
		ID: d.Execution, Project: w.order.Project, Workflow: r.s.Plan.Workflow, Run: r.s.ID, Step: d.Step, ItemPath: d.Path,
		Attempt: d.Attempt, IdempotencyKey: d.IdempotencyKey, Deadline: w.deps.Now().Add(time.UnixMicro(d.Deadline).Sub(w.clock())), Limit: d.Limit, Inputs: d.Inputs,
		Secrets: d.Secrets, Build: *d.Build,
	}, k)
}

// landed notes the end of a real attempt.
func (a attempt) landed(e app.Ended, k *sink) {
	w := a.run.w
	if w.flying[a.d.Execution] == nil {
		return
	}
	a.end(e, k.outputs, k.list, k.phases)
	delete(w.flying, a.d.Execution)
	if e.Outcome != app.Unknown {
		w.deps.Executor.Forget(a.d.Execution)
	}
	if len(w.flying) == 0 {
		w.moving(false)
	}
}

// maxOutputs is how many bytes the outputs of one attempt may be together, as in real runs.
const maxOutputs = 64 << 20

// sink gathers what a real attempt tells.
type sink struct {
	attempt attempt

	mu      sync.Mutex
	phases  []domain.Phase
	outputs []domain.Values
	size    int
	list    bool
	over    bool
}

// Phase implements app.Sink.
func (k *sink) Phase(kind string, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.phases = append(k.phases, domain.Phase{Kind: kind, AtMicros: at.UnixMicro()})
}

// Log implements app.Sink.
func (k *sink) Log(l domain.LogLine) {
	d := k.attempt.d
	k.attempt.run.w.post(func() {
		w := k.attempt.run.w
		if len(w.logs) < maxLogs {
			w.logs = append(w.logs, app.LogRecord{Cursor: int64(len(w.logs) + 1), Step: k.attempt.run.key(d.Step), ItemPath: d.Path, Attempt: d.Attempt, LogLine: l})
		}
	})
}

// Progress implements app.Sink.
func (k *sink) Progress(float64, string) {}

// Output implements app.Sink.
func (k *sink) Output(o app.Output) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, v := range o.Values {
		k.size += len(name) + len(v)
	}
	if k.size > maxOutputs {
		k.outputs = nil
		return
	}
	k.outputs = append(k.outputs, sealOutputs(k.attempt.d.Build, o.Values))
	k.list = k.list || o.List
}

// Ended implements app.Sink.
func (k *sink) Ended(e app.Ended) {
	k.mu.Lock()
	twice := k.over
	k.over = true
	if k.size > maxOutputs && e.Outcome == app.Completed {
		e.Outcome, e.Error = app.Failed, &domain.StepError{Kind: "value_too_large", Message: fmt.Sprintf("its outputs are more than %d MiB together: write large results to files", maxOutputs>>20)}
	}
	k.mu.Unlock()
	if !twice {
		k.attempt.run.w.post(func() { k.attempt.landed(e, k) })
	}
}

func (k *sink) isOver() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.over
}

// testSecrets are the test's own; the project's are never read.
type testSecrets struct {
	given   map[string]string
	missing string
}

// Secret implements domain.SecretSource.
func (s *testSecrets) Secret(name string) (string, bool) {
	v, ok := s.given[name]
	if !ok {
		s.missing = name
	}
	return v, ok
}

// Unseal implements domain.SecretSource.
func (s *testSecrets) Unseal(v domain.Value) (domain.Value, error) {
	if !domain.Sealed(v) {
		return v, nil
	}
	var x map[string][]byte
	if err := json.Unmarshal(v, &x); err != nil {
		return nil, err
	}
	return x[domain.SealedKey], nil
}

// seal gives a password the shape in which runs keep it, so that it is masked where a real one is.
// Tests hold made-up passwords: nothing is encrypted.
func seal(v domain.Value) domain.Value {
	return domain.Value(`{"` + domain.SealedKey + `":"` + base64.StdEncoding.EncodeToString(v) + `"}`)
}

func sealOutputs(b *domain.Build, o domain.Values) domain.Values {
	for _, it := range b.Outputs {
		if it.Type == "password" && o[it.Name] != nil {
			o = maps.Clone(o)
			o[it.Name] = seal(o[it.Name])
		}
	}
	return o
}
