package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// world is everything of one test. Only the sinks of real attempts and post are used from other
// goroutines.
type world struct {
	ctx   context.Context
	deps  Deps
	order Order
	began time.Time // of the run
	plans map[string]*domain.Plan
	stubs map[string][]wftest.Answer
	used  map[string]int // signals and decisions that were taken, by step run

	now    time.Time // see clock
	since  time.Time // real time at which now was true, while an attempt is under way
	todo   []func()
	agenda agenda
	runs   []*run
	flying map[string]*flight
	stands map[string]*standing // attempts that stubs will answer
	places *limits.Keeper
	cache  map[string]cached
	over   bool // nothing goes on any more

	failures []Failure
	logs     []app.LogRecord

	mu    sync.Mutex
	inbox []func()
	wake  chan struct{}
}

// run is the tested run, one of a sub-workflow, or of a failure handler.
type run struct {
	w     *world
	s     *domain.State
	rows  [][]byte
	due   int64 // the next tick, Unix micros, 0 = none
	depth int
	kind  string
	ended func(*run) // tells who started it
}

// flight is a real attempt under way.
type flight struct{ sink *sink }

// standing is an attempt that a stub will answer, or that a sub-workflow's run is.
type standing struct {
	cancel func()
}

type cached struct {
	outputs []domain.Values
	list    bool
	until   time.Time
}

func newWorld(ctx context.Context, d Deps, o Order) *world {
	w := &world{ctx: ctx, deps: d, order: o, began: o.Test.Now, plans: map[string]*domain.Plan{}, stubs: map[string][]wftest.Answer{}, used: map[string]int{},
		flying: map[string]*flight{}, stands: map[string]*standing{}, cache: map[string]cached{}, wake: make(chan struct{}, 1)}
	if w.began.IsZero() {
		w.began = d.Now()
	}
	w.began = w.began.UTC().Truncate(time.Microsecond)
	w.now = w.began
	w.places = limits.New(func() time.Time { return w.now }, func(after time.Duration, f func()) func() bool {
		e := w.agenda.add(w.clock().Add(after), f)
		return func() bool { return w.agenda.remove(e) }
	})
	w.places.Open()
	for _, s := range o.Test.Stubs {
		w.stubs[s.Step] = s.Answers
	}
	return w
}

// give takes a workflow's definition into the test and makes its builds callable.
func (w *world) give(d domain.Definition) error {
	if w.plans[d.Workflow] != nil {
		return nil
	}
	plan, problems := domain.Compile(d, w.deps.Compiler)
	if len(problems) > 0 {
		words := make([]string, len(problems))
		for i, p := range problems {
			words[i] = p.String()
		}
		return fault.New(fault.Unprocessable, "the workflow %s cannot be run: %s", d.Workflow, strings.Join(words, "; "))
	}
	for _, b := range d.Builds {
		if err := w.deps.Deployer.Ensure(w.ctx, w.order.Project, b); err != nil {
			return fault.Wrap(err, fault.Unprocessable, "%s cannot be called: %s", b.Action, words(err))
		}
	}
	w.plans[d.Workflow] = plan
	return nil
}

// words tells an error once, without its causes.
func words(err error) string {
	f := fault.As(err)
	switch {
	case f == nil:
		return err.Error()
	case len(f.Fields) == 0:
		return f.Message
	}
	var all []string
	for _, x := range f.Fields {
		all = append(all, x.Path+": "+x.Message)
	}
	return strings.Join(all, "; ")
}

// plan finds a workflow: given with the test, else live in the project.
func (w *world) plan(name string) (*domain.Plan, error) {
	if p := w.plans[name]; p != nil {
		return p, nil
	}
	if w.deps.Live != nil {
		live, _ := w.deps.Live()
		for _, d := range live {
			if d.Project == w.order.Project && d.Definition.Workflow == name {
				if err := w.give(d.Definition); err != nil {
					return nil, err
				}
				return w.plans[name], nil
			}
		}
	}
	return nil, fault.New(fault.NotFound, "there is no workflow %q beside the tested one, and none of this name is deployed", name)
}

// clock is the time of the test.
func (w *world) clock() time.Time {
	if !w.since.IsZero() {
		return w.now.Add(w.deps.Now().Sub(w.since))
	}
	return w.now
}

// moving lets the clock go on with the real one, or stops it.
func (w *world) moving(on bool) {
	w.now = w.clock()
	if w.since = (time.Time{}); on {
		w.since = w.deps.Now()
	}
}

// fail notes what kept the test from being carried out, and ends it.
func (w *world) fail(what string, line, column int, message string) {
	w.failures = append(w.failures, Failure{What: what, Message: message, Line: line, Column: column})
	w.over = true
}

// post is for other goroutines.
func (w *world) post(f func()) {
	w.mu.Lock()
	w.inbox = append(w.inbox, f)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// loop lets everything happen until all runs have ended or the test is over.
func (w *world) loop() {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for w.work(); !w.over && w.ctx.Err() == nil; w.work() {
		next, fire := w.next()
		if len(w.flying) == 0 && (fire == nil || w.ended()) {
			return
		}
		if len(w.flying) == 0 {
			if next.After(w.now) {
				w.now = next
			}
			fire()
			continue
		}
		wait := time.Hour
		if fire != nil {
			wait = max(next.Sub(w.clock()), 0)
		}
		clock.Reset(wait)
		select {
		case <-w.wake:
		case <-w.ctx.Done():
		case <-clock.C:
			if fire != nil {
				w.todo = append(w.todo, fire)
			}
		}
	}
}

// work does what is to be done at once.
func (w *world) work() {
	for !w.over {
		w.mu.Lock()
		w.todo = append(w.todo, w.inbox...)
		w.inbox = nil
		w.mu.Unlock()
		if len(w.todo) == 0 {
			return
		}
		f := w.todo[0]
		w.todo = w.todo[1:]
		f()
	}
}

// ended tells that every run has ended.
func (w *world) ended() bool {
	return !slices.ContainsFunc(w.runs, func(r *run) bool { return !r.s.Status.Ended() })
}

// next is what happens next by itself; fire is nil if nothing does.
func (w *world) next() (at time.Time, fire func()) {
	if e := w.agenda.first(); e != nil {
		at, fire = e.at, func() {
			if w.agenda.remove(e) {
				e.do()
			}
		}
	}
	for _, r := range w.runs {
		if r.due == 0 || r.s.Status.Ended() {
			continue
		}
		if due := time.UnixMicro(r.due).UTC(); fire == nil || due.Before(at) {
			at, fire = due, func() {
				if r.due > 0 && r.due <= w.clock().UnixMicro() {
					r.due = 0
					r.handle(domain.EventTick{})
				}
			}
		}
	}
	return at, fire
}

// settle stops what is under way when a test is given up, and forgets it.
func (w *world) settle() {
	for id := range w.flying {
		w.deps.Executor.Cancel(id, "the test has ended", w.deps.Grace)
	}
	patience := time.NewTimer(w.deps.Grace + 5*time.Second)
	defer patience.Stop()
	for waiting := true; waiting && len(w.flying) > 0; {
		over := true
		for id, f := range w.flying {
			if f.sink.isOver() {
				delete(w.flying, id)
				w.deps.Executor.Forget(id)
			} else {
				over = false
			}
		}
		if over {
			break
		}
		select {
		case <-w.wake:
		case <-patience.C:
			waiting = false
		}
	}
	for id := range w.flying {
		w.deps.Executor.Forget(id)
	}
	w.moving(false)
}

// maxDepth is how deep sub-workflows may start each other.
const maxDepth = 32

// start begins a run in this test. id is empty for a new one. The error is for people.
func (w *world) start(workflow, id string, inputs domain.Values, event domain.Value, trigger app.Trigger, depth int) (*run, error) {
	plan, err := w.plan(workflow)
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fault.New(fault.Exhausted, "sub-workflows start each other %d deep, which is the limit", maxDepth)
	}
	if bad := domain.CheckInputs(plan.Inputs, inputs); len(bad) > 0 {
		fields := make([]fault.Field, len(bad))
		for i, b := range bad {
			fields[i] = fault.Field{Path: "inputs." + b.Where, Message: b.Message}
			w.placeInput(depth, b.Where, &fields[i])
		}
		return nil, fault.InvalidFields(fields...)
	}
	for name, v := range inputs {
		if plan.SecretInput(name) {
			inputs[name] = seal(v)
		}
	}
	if id == "" {
		id = w.deps.NewID()
	}
	r := &run{w: w, depth: depth, kind: trigger.Kind, s: domain.NewState(domain.Run{ID: id, Project: w.order.Project, Deployment: "test",
		CreatedAt: w.clock().UnixMicro(), Trigger: domain.TriggerRef(trigger)}, plan)}
	w.runs = append(w.runs, r)
	vars := domain.Values{}
	for _, v := range w.order.Test.Variables {
		vars[v.Name] = v.JSON
	}
	w.todo = append(w.todo, func() { r.handle(domain.EventStarted{Inputs: inputs, Vars: vars, Event: event}) })
	return r, nil
}

// handle lets the state machine react and carries out what it orders.
func (r *run) handle(ev domain.Event) {
	w := r.w
	tr, err := r.s.Handle(ev, w.clock(), 0.5)
	if err != nil {
		w.fail("run", 0, 0, fmt.Sprintf("the state machine refused an event: %s", err))
		return
	}
	if tr.Row != nil {
		r.rows = append(r.rows, tr.Row)
	}
	if tr.Due > 0 && (r.due == 0 || tr.Due < r.due) {
		r.due = tr.Due
	}
	for _, c := range tr.Commands {
		r.carryOut(c)
	}
	for _, x := range tr.Waits {
		if !x.Over {
			r.waits(x)
		}
	}
}

// replayed checks that the run's journal gives the state that it ended in.
func (r *run) replayed() error {
	st := domain.NewState(r.s.Run, r.s.Plan)
	for i, row := range r.rows {
		if err := st.Replay(row); err != nil {
			return fmt.Errorf("row %d of its journal cannot be read: %w", i+1, err)
		}
	}
	if st.Fingerprint() != r.s.Fingerprint() {
		return errors.New("its journal gives another state than the one that it ended in")
	}
	return nil
}

func (r *run) summary() app.RunSummary {
	s := app.RunSummary{ID: r.s.ID, Project: r.s.Project, Workflow: r.s.Plan.Workflow, Revision: r.s.Plan.Revision, RevisionID: r.s.Plan.RevisionID,
		State: r.s.Shown(), Trigger: app.Trigger(r.s.Trigger), CreatedAt: time.UnixMicro(r.s.CreatedAt).UTC()}
	if r.s.Finished > 0 {
		s.FinishedAt = time.UnixMicro(r.s.Finished).UTC()
	}
	if r.s.Err != nil {
		s.ErrorKind, s.Error = r.s.Err.Kind, r.s.Err.Message
	}
	if i := r.s.ErrStep; i >= 0 {
		s.ErrorStep = r.s.Plan.Nodes[i].Spec.ID
	}
	return s
}
