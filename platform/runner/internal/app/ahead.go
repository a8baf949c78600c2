package app

import "github.com/pelton-run/pelton/platform/runner/internal/domain"

// Steps that are pure need not wait for the journal: their attempts are sent while the row that says so
// is being written, so that a chain of them takes the longer of the two times and not both (ADR 0028). What is
// told of a run stays behind its rows: neither a start nor an end is acknowledged before it is durable. A
// crash between the two makes the next incarnation send such an attempt again. The wrapper that has it
// goes on with it; where the wrapper is gone, too, it runs once more, which a pure step allows.

// mostAhead is how many rows of a run may wait to be durable while its steps go on.
const mostAhead = 16

// early is what a shard sends once it has handed its rows to the journal.
type early struct {
	run      *liveRun
	commands []domain.Command
}

// hasten takes those starts out of an entry that need not wait for it.
func (sh *shard) hasten(r *liveRun, q *queued) {
	if !sh.e.ahead || r.unsaid > mostAhead || len(r.watchers) > 0 || limited(r.s.Plan) || q.Dedup != nil || q.Cursor != nil || q.Rate != nil || sh.e.journal.Stalled() != nil {
		return
	}
	var now, later []domain.Command
	for _, c := range q.commands {
		if c.Kind == domain.CommandStart && r.s.Harmless(c) {
			now = append(now, c)
		} else {
			later = append(later, c)
		}
	}
	if len(now) > 0 {
		q.commands = later
		sh.early = append(sh.early, early{r, now})
	}
}

func (sh *shard) sendEarly() {
	for _, x := range sh.early {
		if sh.runs[x.run.s.ID] == x.run {
			sh.run(x.run, x.commands)
		}
	}
	clear(sh.early)
	sh.early = sh.early[:0]
}
