package app

import "github.com/pelton-run/pelton/platform/runner/internal/domain"

// Runs of workflows with `durability: none` are written once, after their end: nothing is awaited
// on the way from the order to the answer. What such a run did is lost when the runner dies before
// that, and a run under way then is not taken up again: the choice for pure, short workflows whose
// callers ask again. A run that is ordered with an idempotency key, an event key or a cursor promises
// more, and is durable from its start whatever its workflow says; so is every run of a workflow that waits,
// asks, limits itself, keeps results or calls other workflows.

// maxUnwritten is how many ended runs may wait for the journal; beyond it their callers wait too.
const maxUnwritten = 10_000

// briefly tells whether the runs of a definition may be brief.
func briefly(d *domain.Definition) bool {
	if d.Durability != "none" || d.Concurrency != nil || d.RateLimit != nil || d.OnFailure != "" {
		return false
	}
	for i := range d.Steps {
		s := &d.Steps[i]
		if (s.Kind != "" && s.Kind != "action") || s.Wait != nil || s.Approval != nil || s.Undo != nil || s.Cache != nil || s.Concurrency != nil {
			return false
		}
	}
	return true
}

// keepBrief acts upon a transition of a brief run at once.
func (sh *shard) keepBrief(r *liveRun, q *queued) {
	r.seq, r.tail = 1, nil
	switch {
	case len(r.kept) == 0:
		r.kept = q.Row
	case len(q.Row) > 0: // a version, then facts: rows put together are a row
		r.kept = append(r.kept, q.Row[1:]...)
	}
	if q.Command != "" { // its inbox command is carried out, and gone
		sh.pending = append(sh.pending, &Entry{Run: r.s.ID, Command: q.Command, Committed: func(*Entry, error) {}})
	}
	sh.committed(q, nil)
}

// record hands an ended run to the journal. The run stays findable until it can be read there.
func (sh *shard) record(r *liveRun, sum *RunSummary) {
	late := sh.e.unwritten.Add(1) > maxUnwritten
	x := &Entry{Run: r.s.ID, Seq: 1, Row: r.kept, Start: sum, End: sum, Committed: func(_ *Entry, err error) {
		sh.e.unwritten.Add(-1)
		sh.post(message{do: func(sh *shard) {
			if err != nil {
				sh.e.log.Error("the history of a run is lost: its workflow says durability: none", "run", r.s.ID, "error", err)
			}
			delete(sh.runs, r.s.ID)
			if late {
				sh.letGo(r, sum)
			}
		}})
	}}
	sh.tell(r, x, r.kept)
	sh.pending = append(sh.pending, x)
	if !late {
		sh.letGo(r, sum)
	}
}
