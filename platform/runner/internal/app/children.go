package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// maxDepth is how deep sub-workflows may start each other.
const maxDepth = 32

// kinds of triggers that the engine itself is.
const (
	triggerWorkflow = "workflow" // a step of another run
	triggerFailure  = "failure"  // another run failed
)

// callEvent is the event of a run that a step started.
type callEvent struct {
	Run      string `json:"run"`
	Workflow string `json:"workflow"`
	Step     string `json:"step"`
	Depth    int    `json:"depth"`
}

// depth is how many runs stand above this one.
func (r *liveRun) depth() int {
	if r.summary.Trigger.Kind != triggerWorkflow {
		return 0
	}
	var e callEvent
	_ = json.Unmarshal(r.s.Event, &e)
	return e.Depth
}

// callWorkflow starts the run of a sub-workflow, or finds the one that was started before a crash, and
// tells the step how it ended. The child's id is derived from the attempt, so that it is
// started once.
func (sh *shard) callWorkflow(r *liveRun, d domain.Dispatch, sink *attemptSink) {
	e, project := sh.e, r.s.Project
	if depth := r.depth() + 1; depth > maxDepth {
		sink.fail(&domain.StepError{Kind: "too_deep", Message: fmt.Sprintf("sub-workflows start each other %d deep, which is the limit", maxDepth)})
		return
	}
	ev, _ := json.Marshal(callEvent{Run: r.s.ID, Workflow: r.summary.Workflow, Step: d.Step, Depth: r.depth() + 1})
	o := StartRun{id: d.Child, Project: project, Workflow: d.Workflow, Inputs: d.Inputs, Event: ev, Trigger: Trigger{Kind: triggerWorkflow, ID: d.Step}, parent: r.s.ID}
	if d.Workflow == r.summary.Workflow { // it calls itself, not another version of itself
		o.beside = r.summary.RevisionID
	}
	go func() {
		if !e.svc.isUp(e.stop) {
			return
		}
		sink.Phase("queued", e.now())
		if err := e.svc.startDerived(e.stop, o); err != nil {
			if e.stop.Err() == nil {
				sink.fail(callError(d.Workflow, err))
			}
			return
		}
		sink.Phase("started", e.now())
		if d.Detach {
			id, _ := json.Marshal(d.Child)
			sink.Output(Output{Values: domain.Values{"run": id}})
			sink.Ended(Ended{Outcome: Completed, Instance: d.Child, Outputs: 1})
			return
		}
		res, err := e.awaitChild(r, project, d.Child)
		if err != nil {
			if e.stop.Err() == nil && !errors.Is(err, errGivenUp) {
				sink.fail(err)
			}
			return
		}
		sink.Phase("returned", e.now())
		end, out := ChildEnd(d, res)
		if out != nil {
			sink.Output(*out)
		}
		sink.Ended(end)
	}()
}

// errGivenUp: the run is in other hands by now, which ask for themselves.
var errGivenUp = errors.New("the run was given up here")

// awaitChild waits for the end of a run that a step of r started. An incarnation that ends, or a database
// that is away, says nothing about the child: it is asked for again, for as long as r is ours.
func (e *engine) awaitChild(r *liveRun, project, child string) (RunResult, error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		res, err := e.svc.Await(e.stop, project, child)
		if !fault.Is(err, fault.Unavailable) {
			return res, err
		}
		t := time.NewTimer(wait)
		select {
		case <-r.done:
			t.Stop()
			return RunResult{}, errGivenUp
		case <-e.stop.Done():
			t.Stop()
			return RunResult{}, e.stop.Err()
		case <-t.C:
		}
	}
}

// isUp waits until this incarnation takes calls, false if it stops before.
func (s *Service) isUp(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !s.up.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// ChildEnd is what the end of a sub-workflow's run means for the step that started it; the output
// is nil unless the run completed.
func ChildEnd(d domain.Dispatch, res RunResult) (Ended, *Output) {
	x := Ended{Outcome: Completed, Instance: d.Child, Outputs: 1}
	switch res.State {
	case domain.RunCompleted:
		out := res.Result
		if out == nil {
			out = domain.Values{}
		}
		return x, &Output{Values: out}
	case domain.RunCancelled:
		x.Outcome, x.Error = Cancelled, &domain.StepError{Kind: "cancelled", Message: fmt.Sprintf("run %s of %s was cancelled", d.Child, d.Workflow)}
		if res.Error != nil && res.Error.Kind == "skipped" {
			x.Outcome, x.Error.Kind, x.Error.Message = Failed, "skipped", res.Error.Message
		}
	default:
		x.Outcome, x.Error = Failed, &domain.StepError{Kind: "failed", Message: fmt.Sprintf("run %s of %s failed", d.Child, d.Workflow)}
		if res.Error != nil {
			c := *res.Error
			c.Message = fmt.Sprintf("run %s of %s: %s", d.Child, d.Workflow, c.Message)
			c.Stack = ""
			x.Error = &c
		}
	}
	return x, nil
}

func callError(workflow string, err error) error {
	kind := "internal"
	if f := fault.As(err); f != nil {
		switch f.Kind {
		case fault.NotFound:
			kind = "not_found"
		case fault.Invalid:
			kind = "invalid_input"
		default:
			kind = string(f.Kind)
		}
	}
	return &domain.StepError{Kind: kind, Message: "start " + workflow + ": " + err.Error()}
}

// startDerived starts a run whose id is derived, unless it is there already. It waits out
// short troubles: the caller is a run that would fail for them.
func (s *Service) startDerived(ctx context.Context, o StartRun) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		_, err := s.deps.Store.RunSummary(ctx, o.Project, o.id)
		if fault.Is(err, fault.NotFound) {
			_, err = s.StartRun(ctx, o)
		}
		if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Exhausted) {
			return err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// handleFailure starts the workflow that handles a run's failure, once.
func (sh *shard) handleFailure(r *liveRun) {
	e, s := sh.e, r.s
	name := s.Plan.OnFailure
	told := func(run, problem string) {
		sh.post(message{do: func(sh *shard) {
			if sh.runs[s.ID] == r {
				sh.event(r, domain.EventHandled{Run: run, Problem: problem})
			}
		}})
	}
	if r.summary.Trigger.Kind == triggerFailure {
		told("", "a failure handler's own failure is not handled")
		return
	}
	id := domain.ChildID(s.ID+":onFailure", s.Started)
	event := FailureEvent(s)
	ev, _ := json.Marshal(event)
	go func() {
		if !e.svc.isUp(e.stop) {
			return
		}
		o := StartRun{id: id, Project: s.Project, Workflow: name, Event: ev, Trigger: Trigger{Kind: triggerFailure, ID: s.ID}, offers: event, parent: s.ID}
		err := e.svc.startDerived(e.stop, o)
		switch {
		case err == nil:
			told(id, "")
		case e.stop.Err() == nil && !errors.Is(err, context.Canceled):
			told("", err.Error())
		}
	}()
}

// FailureEvent is what a failure handler is told about a run whose end is decided.
func FailureEvent(s *domain.State) domain.Values {
	v := s.Verdict()
	step := ""
	if v.Step >= 0 {
		step = s.Plan.Nodes[v.Step].Spec.ID
	}
	event := domain.Values{"run": quoted(s.ID), "workflow": quoted(s.Plan.Workflow), "revision": domain.Value(fmt.Sprint(s.Plan.Revision)), "step": quoted(step)}
	if v.Err != nil {
		event["message"], event["kind"], event["code"] = quoted(v.Err.Message), quoted(v.Err.Kind), quoted(v.Err.Code)
		b, _ := json.Marshal(map[string]any{"kind": v.Err.Kind, "message": v.Err.Message, "code": v.Err.Code})
		event["error"] = b
	}
	return event
}

func quoted(text string) domain.Value {
	b, _ := json.Marshal(text)
	return b
}

// lookUp asks the cache for a step run's outputs.
func (sh *shard) lookUp(r *liveRun, c domain.Command) {
	_, step, path := r.s.Target(c)
	build, key := r.s.CacheKey(c)
	e, project := sh.e, r.s.Project
	go func() {
		ev := domain.EventLookedUp{Step: step, Path: path}
		b, found, err := e.svc.deps.Store.Cached(e.stop, project, build, key, e.now())
		if err != nil && e.stop.Err() == nil {
			e.log.Warn("the cache of steps could not be read: the step runs", "error", err)
		}
		var kept cachedOutputs
		if found && json.Unmarshal(b, &kept) == nil {
			ev.Hit, ev.Outputs, ev.IsList = true, kept.Outputs, kept.List
		}
		sh.post(message{do: func(sh *shard) {
			if sh.runs[r.s.ID] == r {
				sh.event(r, ev)
			}
		}})
	}()
}

type cachedOutputs struct {
	Outputs []domain.Values `json:"outputs"`
	List    bool            `json:"list,omitempty"`
}

// keep puts the outputs of a step run into the cache. What is lost with the process is
// computed again.
func (sh *shard) keep(r *liveRun, c domain.Command) {
	build, key := r.s.CacheKey(c)
	outputs, list, ttl := r.s.ForCache(c)
	if outputs == nil {
		return
	}
	b, err := json.Marshal(cachedOutputs{outputs, list})
	if err != nil {
		return
	}
	e, project := sh.e, r.s.Project
	go func() {
		if err := e.svc.deps.Store.PutCached(e.stop, project, build, key, b, e.now().Add(ttl)); err != nil && e.stop.Err() == nil {
			e.log.Warn("outputs could not be put into the cache of steps", "error", err)
		}
	}()
}
