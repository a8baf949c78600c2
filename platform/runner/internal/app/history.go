package app

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Runs lists runs, newest first. See UseCases.
func (s *Service) Runs(ctx context.Context, q RunQuery) ([]RunSummary, string, error) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	q.Limit = min(q.Limit, 1000)
	limit := q.Limit
	q.Limit++
	items, err := s.deps.Store.Runs(ctx, q)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(items) > limit {
		items = items[:limit]
		next = items[limit-1].ID
	}
	if err := s.overlay(ctx, items); err != nil {
		return nil, "", err
	}
	return items, next, nil
}

// overlay gives runs that have not ended their state of this moment: the table tells only
// that they are under way.
func (s *Service) overlay(ctx context.Context, items []RunSummary) error {
	if s.isReady() != nil {
		return nil
	}
	live := map[*shard][]int{}
	for i := range items {
		if !items[i].State.Ended() {
			sh := s.engine.shardOf(items[i].ID)
			live[sh] = append(live[sh], i)
		}
	}
	for sh, places := range live {
		err := sh.call(ctx, func(sh *shard) {
			for _, i := range places {
				if r := sh.runs[items[i].ID]; r != nil && !r.s.Status.Ended() {
					items[i].State = r.s.Shown()
				}
			}
		})
		if err != nil && !errors.Is(err, ErrStopped) {
			return err
		}
	}
	return nil
}

// GetRun gives one run with everything that happened to it. See UseCases.
func (s *Service) GetRun(ctx context.Context, project, runID string) (RunDetail, error) {
	d, found, err := s.detailHere(ctx, project, runID)
	if err != nil || found {
		return d, err
	}
	sum, err := s.deps.Store.RunSummary(ctx, project, runID)
	if err != nil {
		return RunDetail{}, err
	}
	if !sum.State.Ended() {
		if d, found = s.detailThere(ctx, project, runID); found {
			return d, nil
		}
	}
	st, err := s.replay(ctx, sum)
	if err != nil {
		return RunDetail{}, err
	}
	if !sum.State.Ended() && !st.Status.Ended() {
		sum.State = st.Shown()
	}
	d = detail(sum, st, nil)
	s.explain(ctx, &d)
	return d, nil
}

// detailHere gives a run that this replica has in memory, unless it is so large that its journal
// is read instead.
func (s *Service) detailHere(ctx context.Context, project, runID string) (RunDetail, bool, error) {
	var d RunDetail
	found, err := s.find(ctx, project, runID, func(_ *shard, r *liveRun) {
		if r.s.Nodes() < domain.LargeRun {
			if d = detail(r.told(), r.s, r.sinks); !d.State.Ended() && r.s.Status.Ended() {
				d.Result, d.Failed = nil, nil
			}
		}
	})
	if err != nil {
		return RunDetail{}, false, err // d may still be written by the shard
	}
	if found = found && d.ID != ""; found {
		s.explain(ctx, &d)
	}
	return d, found, nil
}

// Replay hands every run of a project to each, newest first, made of its journal alone. The
// engine need not run.
func (s *Service) Replay(ctx context.Context, project string, each func(RunDetail) error) error {
	for q := (RunQuery{Project: project, Limit: 500}); ; {
		items, err := s.deps.Store.Runs(ctx, q)
		if err != nil {
			return err
		}
		for _, sum := range items {
			st, err := s.replay(ctx, sum)
			if err != nil {
				return err
			}
			sum.State = st.Shown()
			if err := each(detail(sum, st, nil)); err != nil {
				return err
			}
		}
		if len(items) < q.Limit {
			return nil
		}
		q.Cursor = items[len(items)-1].ID
	}
}

// replay makes the state of a run from its journal.
func (s *Service) replay(ctx context.Context, sum RunSummary) (*domain.State, error) {
	plan, err := s.plan(ctx, sum.Deployment)
	if err != nil {
		return nil, err
	}
	rows, err := s.deps.Store.RunRows(ctx, sum.ID)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 { // a run has its first row as soon as it is there
		return nil, fault.New(fault.NotFound, "run %s was deleted just now", sum.ID)
	}
	st := s.newRun(sum, plan).s
	for i, row := range rows {
		if err := st.Replay(row); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "read row %d of run %s", i+1, sum.ID)
		}
	}
	return st, nil
}

// Render fills in JSON whose strings hold ${…} over an ended run. See UseCases.
func (s *Service) Render(ctx context.Context, project, runID string, template domain.Value) (domain.Value, error) {
	sum, err := s.deps.Store.RunSummary(ctx, project, runID)
	if err != nil {
		return nil, err
	}
	if !sum.State.Ended() {
		return nil, fault.New(fault.Conflict, "the run has not ended: it is %s", sum.State)
	}
	st, err := s.replay(ctx, sum)
	if err != nil {
		return nil, err
	}
	e, err := s.deps.Compiler.Value(template, domain.Env{})
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s", err)
	}
	if e.Tainted() || slices.ContainsFunc(e.Inputs(), st.Plan.SecretInput) {
		return nil, fault.New(fault.Invalid, "secrets and passwords must not be used here: they would be shown")
	}
	v, err := e.Eval(st.FinalScope())
	if err != nil {
		return nil, fault.New(fault.Unprocessable, "%s", err)
	}
	return v, nil
}

// Logs pages through a run's log. See UseCases.
func (s *Service) Logs(ctx context.Context, q LogQuery) (LogPage, error) {
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	q.Limit = min(q.Limit, 10000)
	sum, err := s.deps.Store.RunSummary(ctx, q.Project, q.Run)
	if err != nil {
		return LogPage{}, err
	}
	if sum.State.Ended() {
		// What it printed last may not be written yet; the reader gets it now.
		s.flushRecent(ctx, sum)
	}
	limit := q.Limit
	q.Limit++
	recs, err := s.deps.Store.Logs(ctx, q)
	if err != nil {
		return LogPage{}, err
	}
	p := LogPage{Records: recs, Next: q.After}
	if len(recs) > limit {
		p.Records, p.More = recs[:limit], true
	}
	if n := len(p.Records); n > 0 {
		p.Next = p.Records[n-1].Cursor
	}
	p.Ended = sum.State.Ended() && !p.More
	return p, nil
}

// watchHere streams what happens to a run that this replica acts for; false if it is not one.
func (s *Service) watchHere(ctx context.Context, project, runID string) (<-chan RunEvent, bool, error) {
	w := &watcher{ch: make(chan RunEvent, 256)}
	var run *liveRun
	found, err := s.find(ctx, project, runID, func(_ *shard, r *liveRun) {
		r.watch(w)
		run = r
	})
	if err != nil {
		s.engine.shardOf(runID).post(message{do: func(sh *shard) { // it may have been added all the same
			if r := sh.runs[runID]; r != nil {
				r.unwatch(w)
			}
		}})
		return nil, false, err
	}
	if !found {
		sum, err := s.deps.Store.RunSummary(ctx, project, runID)
		if err != nil {
			return nil, false, err
		}
		if !sum.State.Ended() { // it only waits: its reader wants to see it go on
			err = s.rouse(ctx, project, runID, func(_ *shard, r *liveRun) {
				r.watch(w)
				run = r
			})
			if errors.Is(err, errElsewhere) {
				return nil, false, nil
			}
			if err != nil {
				return nil, false, err
			}
		}
		if run == nil {
			if sum, err = s.deps.Store.RunSummary(ctx, project, runID); err != nil {
				return nil, false, err
			}
			w.close(&sum)
			return w.ch, true, nil
		}
	}
	context.AfterFunc(ctx, func() { s.engine.shardOf(runID).post(message{do: func(*shard) { run.unwatch(w) }}) })
	return w.ch, true, nil
}

func (r *liveRun) watch(w *watcher) {
	if len(r.watchers) == 0 {
		r.shown = r.s.Shown() // what its reader finds when it asks for the run
	}
	r.watchers = append(r.watchers, w)
	r.watched.Store(int32(len(r.watchers)))
}

// unwatch ends one reader's stream; it may have ended already.
func (r *liveRun) unwatch(w *watcher) {
	for i, x := range r.watchers {
		if x == w {
			r.watchers = append(r.watchers[:i:i], r.watchers[i+1:]...)
			r.watched.Store(int32(len(r.watchers)))
			close(w.ch)
			return
		}
	}
}

// detail makes what people see of a run of its state.
func detail(sum RunSummary, st *domain.State, sinks map[string]*attemptSink) RunDetail {
	d := RunDetail{RunSummary: sum, Inputs: st.ShownInputs(), Result: st.Result, Failed: st.Err, Steps: []StepRun{}, Handler: st.Handler, NotUndone: st.NotUndone(), Reason: st.Held}
	if st.Paused {
		d.Reason = st.Reason
	}
	if k := sum.Trigger.Kind; k == triggerWorkflow || k == triggerFailure || k == TriggerWorkflowEnd {
		d.Parent = &Parent{}
		_ = json.Unmarshal(st.Event, d.Parent) // the engine made it
	}
	st.StepRuns(func(v domain.StepRunView) {
		spec := &st.Plan.Nodes[v.Step].Spec
		sr := StepRun{Step: spec.ID, Title: spec.Title, Uses: spec.Uses, ItemPath: v.Path, State: v.State, Reason: v.Reason, Items: v.Items,
			StartedAt: micros(v.Started), FinishedAt: micros(v.Ended), Inputs: v.Inputs, Outputs: v.Outputs, List: v.List, Error: v.Err,
			Kind: spec.Kind, Caught: v.Caught, Child: v.Child}
		sr.Wait = waitView(spec, v.Wait, v.Text, v.Due)
		if i := st.Plan.Nodes[v.Step].Undoes; i >= 0 {
			sr.Undoes = st.Plan.Nodes[i].Spec.ID
		}
		for _, a := range v.Attempts {
			x := Attempt{Number: a.Number, State: a.State, Execution: domain.ExecutionID(st.ID, spec.ID, v.Path, a.Number), Instance: a.Instance,
				StartedAt: micros(a.Started), FinishedAt: micros(a.Ended), Phases: a.Phases, Error: a.Err, Usage: a.Usage}
			if k := sinks[x.Execution]; k != nil && a.State == domain.AttemptStarted {
				k.fill(&x)
				if part := k.partial(); part != nil {
					sr.Outputs, sr.List = part, true
				}
			}
			sr.Attempts = append(sr.Attempts, x)
		}
		d.Steps = append(d.Steps, sr)
	})
	return d
}

func micros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
