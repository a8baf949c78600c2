package app

import (
	"context"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// The kinds and states of bulk orders.
const (
	BulkCancel = "cancel"
	BulkAgain  = "again"
	BulkRetry  = "retry"
	BulkDelete = "delete"

	BulkRunning = "running"
	BulkDone    = "done"
	BulkStopped = "stopped"
)

// Bulk is one order for many runs. It is carried out run by run in the order of the list, goes
// on after a crash where it was, and does nothing twice: each run is ordered under a key of
// its own.
type Bulk struct {
	ID        string
	Project   string
	Kind      string // cancel | again | retry | delete | backfill
	Query     RunQuery
	Backfill  *Backfill // kind backfill, instead of Query
	State     string
	Done      int
	Failed    int    // runs that refused, such as ended ones that were to be cancelled
	Problem   string // of the last that refused
	Cursor    string // the run that it has come to
	CreatedAt time.Time
	EndedAt   time.Time
}

// BulkOrder orders something for all runs that a query finds. Plan only counts them.
func (s *Service) BulkOrder(ctx context.Context, kind string, q RunQuery, plan bool) (Bulk, int, error) {
	if err := s.isReady(); err != nil {
		return Bulk{}, 0, err
	}
	switch kind {
	case BulkCancel, BulkAgain, BulkRetry, BulkDelete:
	default:
		return Bulk{}, 0, fault.InvalidField("kind", fmt.Sprintf("is %q", kind), "give cancel, again, retry or delete")
	}
	if kind == BulkCancel && len(q.States) == 0 {
		q.States = []domain.RunState{domain.RunQueued, domain.RunRunning, domain.RunWaiting, domain.RunPaused}
	}
	if kind == BulkRetry && len(q.States) == 0 {
		q.States = []domain.RunState{domain.RunFailed, domain.RunCancelled}
	}
	if kind == BulkDelete && len(q.States) == 0 {
		q.States = []domain.RunState{domain.RunCompleted, domain.RunFailed, domain.RunCancelled}
	}
	n, err := s.deps.Store.CountRuns(ctx, q)
	if err != nil || plan {
		return Bulk{}, n, err
	}
	b := Bulk{ID: s.deps.NewID(), Project: q.Project, Kind: kind, Query: q, State: BulkRunning, CreatedAt: s.now().UTC()}
	b.Query.Limit, b.Query.Cursor = 0, ""
	b.Cursor = b.ID // ids are UUIDv7: runs that start from now on are not meant
	if err := s.deps.Store.PutBulk(ctx, b); err != nil {
		return Bulk{}, 0, err
	}
	s.carry(s.engine.stop, b, true)
	return b, n, nil
}

// Bulks lists a project's bulk orders, newest first. See UseCases.
func (s *Service) Bulks(ctx context.Context, project string, limit int) ([]Bulk, error) {
	if limit <= 0 || limit > 200 {
		limit = 50
	}
	return s.deps.Store.Bulks(ctx, project, limit)
}

// StopBulk ends a bulk order; what it has done stays.
func (s *Service) StopBulk(ctx context.Context, project, id string) error {
	return s.deps.Store.StopBulk(ctx, project, id)
}

// resumeBulks goes on with what a crash interrupted.
func (s *Service) resumeBulks(ctx context.Context) {
	list, err := s.deps.Store.Bulks(ctx, "", 1000)
	if err != nil {
		if ctx.Err() == nil {
			s.deps.Log.Error("bulk orders could not be read", "error", err)
		}
		return
	}
	for _, b := range list {
		if b.State == BulkRunning {
			s.carry(ctx, b, false)
		}
	}
}

// carry carries out a bulk order, unless another replica does. One that was just ordered here is
// ours.
func (s *Service) carry(ctx context.Context, b Bulk, ordered bool) {
	mine, err := s.hold(ctx, "bulk "+b.ID, ordered)
	if err != nil && ctx.Err() == nil {
		s.deps.Log.Warn("who carries out a bulk order is not known", "order", b.ID, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !mine || s.carrying[b.ID] {
		return
	}
	s.carrying[b.ID] = true
	s.engine.bulk.Go(func() {
		if b.Backfill != nil {
			s.carryBackfill(ctx, b)
		} else {
			s.carryOut(ctx, b)
		}
		s.mu.Lock()
		delete(s.carrying, b.ID)
		s.mu.Unlock()
	})
}

// carryOut works through the runs of a bulk order, a page at a time.
func (s *Service) carryOut(ctx context.Context, b Bulk) {
	q := b.Query
	q.Project, q.Limit = b.Project, 100
	for ctx.Err() == nil {
		q.Cursor = b.Cursor
		page, err := s.deps.Store.Runs(ctx, q)
		if err != nil {
			s.pauseFor(ctx, time.Second)
			continue
		}
		for _, r := range page {
			err := s.oneOf(ctx, b, r)
			switch {
			case ctx.Err() != nil:
				return
			case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Exhausted):
				s.pauseFor(ctx, time.Second)
				err = s.oneOf(ctx, b, r)
			}
			b.Done++
			if err != nil {
				b.Failed++
				b.Problem = r.ID + ": " + err.Error()
			}
			b.Cursor = r.ID
		}
		if len(page) < q.Limit {
			b.State, b.EndedAt = BulkDone, s.now().UTC()
		}
		going, err := s.deps.Store.BulkProgress(ctx, b)
		if err == nil && (!going || b.State == BulkDone) {
			return
		}
	}
}

func (s *Service) oneOf(ctx context.Context, b Bulk, r RunSummary) error {
	key := "bulk:" + b.ID + ":" + r.ID
	var err error
	switch b.Kind {
	case BulkCancel:
		err = s.Cancel(ctx, b.Project, r.ID, key, "bulk order "+b.ID)
	case BulkAgain:
		_, err = s.Again(ctx, RunAgain{Project: b.Project, Run: r.ID, Key: key})
	case BulkDelete:
		err = s.DeleteRun(ctx, b.Project, r.ID)
	case BulkRetry:
		_, err = s.Retry(ctx, RetryRun{Project: b.Project, Run: r.ID, Newest: true, Key: key})
	}
	return err
}

func (s *Service) pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
