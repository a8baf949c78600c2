package app

import (
	"context"
	"errors"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// startPatience is how long a caller waits for a run to be durable.
const startPatience = 10 * time.Second

// beginning is how far the start of a run is.
type beginning struct {
	ok     chan struct{} // closed once it is durable
	failed chan error    // why it is not, and never will be
}

// Begun tells whether the start is durable as far as is known now.
func (r StartedRun) Begun() bool { return r.begins == nil || r.begins.isOK() }

func (st *beginning) isOK() bool {
	select {
	case <-st.ok:
		return true
	default:
		return false
	}
}

// begun notes that a run is durable, or why it is not.
func (e *engine) begun(r *liveRun, st *beginning, err error) {
	if err != nil {
		st.failed <- err
		return
	}
	close(st.ok)
	if m := e.metrics.RunStarted; m != nil {
		m(r.summary.Project, r.summary.Workflow)
	}
}

// awaitStart waits until a run is durable.
func (s *Service) awaitStart(ctx context.Context, st *beginning) error {
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	select {
	case <-st.ok:
		return nil
	case err := <-st.failed:
		return startFault(err)
	case <-patience.C:
		return errNoWrites()
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Cancelled, "the caller left before the run was durable; it may have been started")
	case <-s.engine.stop.Done():
		return startFault(ErrStopped)
	}
}

func errNoWrites() error {
	return fault.New(fault.Unavailable, "the database has taken no writes for %s: whether the run will start is not known; try again, with the same idempotency key to start it once", startPatience)
}

// startFault is why a run could not be started, in words.
func startFault(err error) error {
	if errors.Is(err, ErrStopped) || errors.Is(err, ErrFenced) {
		return fault.Wrap(err, fault.Unavailable, "the runner is stopping; try again in a moment")
	}
	return fault.Wrap(err, fault.Internal, "the run could not be made durable")
}

// Outcome is Await for who has just started the run. See UseCases.
func (s *Service) Outcome(ctx context.Context, project string, started StartedRun) (RunResult, error) {
	r := started.run
	if r != nil && started.begins == nil {
		s.engine.shardOf(started.ID).post(message{do: func(*shard) { r.awaited++ }})
	}
	if started.begins != nil {
		if err := s.outlast(ctx, r, started.begins); err != nil {
			return RunResult{}, err
		}
	}
	if r != nil {
		res, err := s.awaitHere(ctx, r)
		if err == nil && res != nil {
			return *res, nil
		}
		if ctx.Err() != nil {
			return RunResult{}, ctx.Err()
		}
	}
	return s.Await(ctx, project, started.ID)
}

// outlast waits until a run whose start may not be durable yet has left memory, or until ctx is done and it is durable:
// an error tells that it is not. The end is durable after the start, so that most callers wait once.
func (s *Service) outlast(ctx context.Context, r *liveRun, st *beginning) error {
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	select {
	case <-r.done:
		select {
		case err := <-st.failed:
			return startFault(err)
		default:
			return nil
		}
	case <-patience.C:
		if !st.isOK() {
			return errNoWrites()
		}
		return nil
	case <-ctx.Done():
	case <-s.engine.stop.Done():
	}
	if st.isOK() {
		return nil
	}
	return s.awaitStart(context.WithoutCancel(ctx), st)
}

// Await blocks until the run has ended, whoever acts for it. See UseCases.
func (s *Service) Await(ctx context.Context, project, runID string) (RunResult, error) {
	for {
		res, err := s.await(ctx, project, runID)
		// One that has lost its lease begins anew: its callers wait for that.
		if s.alone() || !fault.Is(err, fault.Unavailable) || s.stopping.Load() {
			return res, err
		}
		if err := s.pause(ctx); err != nil {
			return RunResult{}, err
		}
	}
}

func (s *Service) await(ctx context.Context, project, runID string) (RunResult, error) {
	var awake <-chan struct{}
	for {
		var run *liveRun
		if _, err := s.find(ctx, project, runID, func(_ *shard, r *liveRun) { run = r; r.awaited++ }); err != nil {
			return RunResult{}, err
		}
		if run != nil {
			if res, err := s.awaitHere(ctx, run); res != nil || err != nil {
				return *res, err
			}
		}
		res, err := s.Result(ctx, project, runID)
		if err != nil || res.State.Ended() {
			return res, err
		}
		if owner, there := s.elsewhere(ctx, runID); there {
			if far, err := s.awaitThere(ctx, owner, project, runID); far != nil || err != nil {
				return value(far), err
			}
			continue
		}
		if awake == nil { // it only waits: look once more, in case it came back just now
			awake = s.awake(runID)
			continue
		}
		select {
		case <-awake:
			awake = nil
		case <-ctx.Done():
			return RunResult{}, ctx.Err()
		case <-s.engine.stop.Done():
			return RunResult{}, errStopping()
		}
	}
}

func value(r *RunResult) RunResult {
	if r == nil {
		return RunResult{}
	}
	return *r
}

// awaitHere waits for a run in memory. Both answers are nil if it left memory without an end.
func (s *Service) awaitHere(ctx context.Context, run *liveRun) (*RunResult, error) {
	err := errStopping
	select {
	case <-run.done: // it has left memory: nobody counts who waits any more
		return run.result, nil
	case <-ctx.Done():
		err = ctx.Err
	case <-s.engine.stop.Done():
	}
	s.engine.shardOf(run.summary.ID).post(message{do: func(*shard) { run.awaited-- }})
	return &RunResult{}, err()
}

func errStopping() error {
	return fault.New(fault.Unavailable, "the runner is stopping; the run goes on after its restart")
}

// Result answers at once. See UseCases.
func (s *Service) Result(ctx context.Context, project, runID string) (RunResult, error) {
	var res RunResult
	found, err := s.find(ctx, project, runID, func(_ *shard, r *liveRun) {
		res = RunResult{ID: runID, Workflow: r.summary.Workflow, State: domain.RunRunning}
		switch {
		case r.brief && r.result != nil:
			res = *r.result
		case !r.s.Status.Ended(): // an end counts once it is durable
			res.State = r.s.Shown()
		}
	})
	if err != nil {
		return RunResult{}, err
	}
	if found {
		return res, nil
	}
	sum, err := s.deps.Store.RunSummary(ctx, project, runID)
	if err != nil {
		return RunResult{}, err
	}
	res = RunResult{ID: runID, Workflow: sum.Workflow, State: sum.State, Step: sum.ErrorStep}
	if !sum.State.Ended() {
		return res, nil
	}
	row, err := s.deps.Store.LastRow(ctx, runID)
	if err != nil {
		return RunResult{}, err
	}
	facts, err := domain.DecodeRow(row)
	if err != nil {
		return RunResult{}, fault.Wrap(err, fault.Internal, "read the end of run %s", runID)
	}
	for i := range facts {
		if facts[i].Kind == domain.FactRunEnded {
			res.Result, res.Error = facts[i].Result, facts[i].Err
		}
	}
	return res, nil
}
