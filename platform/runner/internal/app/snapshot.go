package app

import (
	"context"
	"fmt"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// snapshotRows is the number of rows after which a run's state is written whole.
const snapshotRows = 1000

// unsnapped is what a run has journalled since its newest snapshot.
type unsnapped struct {
	rows, bytes int
	size        int // bytes of that snapshot
}

// snapshot adds the run's state to a row when there are many since the last time: at the earliest every
// snapshotRows, and not before the rows are twice as large as the last snapshot, so that what is written
// stays in proportion to the journal however large the state is.
func (sh *shard) snapshot(q *queued) {
	r := q.run
	if r.brief || q.Row == nil || q.End != nil {
		return
	}
	r.since.rows++
	r.since.bytes += len(q.Row)
	if r.since.rows < snapshotRows || r.since.bytes < 2*r.since.size {
		return
	}
	q.Snapshot, r.waited = r.s.Snapshot(), true
	r.since = unsnapped{size: len(q.Snapshot)}
}

// restore makes a run's state of its snapshot and what follows, or of its whole journal if this version
// cannot read the snapshot.
func (s *Service) restore(ctx context.Context, l LiveRun, plan *domain.Plan) (*liveRun, error) {
	fresh := func() *liveRun {
		r := s.newRun(l.RunSummary, plan)
		r.s.Lean = domain.LargeRun
		return r
	}
	r := fresh()
	if l.Snapshot != nil {
		if err := r.s.Restore(l.Snapshot); err != nil {
			s.deps.Log.Info("the journal of a run is read from its beginning", "run", l.ID, "reason", err)
			l.Snapshot, l.SnapshotSeq = nil, 0
			if l.Rows, err = s.deps.Store.RunRows(ctx, l.ID); err != nil {
				return nil, err
			}
			r = fresh()
		}
	}
	r.seq = l.SnapshotSeq + int64(len(l.Rows))
	r.since = unsnapped{rows: len(l.Rows), size: len(l.Snapshot)}
	for i, row := range l.Rows {
		if err := r.s.Replay(row); err != nil {
			return nil, fmt.Errorf("row %d: %w", l.SnapshotSeq+int64(i)+1, err)
		}
		r.since.bytes += len(row)
	}
	return r, nil
}
