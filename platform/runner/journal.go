package runner

import (
	"context"
	"log/slog"
	"time"

	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cel"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// JournalRun is what a run's journal rows say, and nothing else does.
type JournalRun struct {
	ID    string
	State string
	Steps []JournalStep
}

// JournalStep is one step run of it.
type JournalStep struct {
	Step     string
	ItemPath []int32
	State    string
	Attempts []JournalAttempt
}

// JournalAttempt is one attempt; FinishedAt is zero while it is under way.
type JournalAttempt struct {
	Number     int
	State      string
	StartedAt  time.Time
	FinishedAt time.Time
}

// ReadJournal replays the journal of every run of a project from the database alone: no engine
// runs, nothing is written or taken over. For tools and for tests that judge a crash.
func ReadJournal(ctx context.Context, url, project string) ([]JournalRun, error) {
	pool, err := pg.Open(ctx, url, pg.Options{MaxConns: 2})
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	log := slog.New(slog.DiscardHandler)
	store := postgres.New(pool, log, func() {})
	service := app.New(app.Config{}, app.Deps{Store: store, Compiler: cel.New(), Now: time.Now, Log: log})
	var out []JournalRun
	err = service.Replay(ctx, project, func(d app.RunDetail) error {
		out = append(out, journalRun(d))
		return nil
	})
	return out, err
}

func journalRun(d app.RunDetail) JournalRun {
	r := JournalRun{ID: d.ID, State: string(d.State)}
	for _, s := range d.Steps {
		step := JournalStep{Step: s.Step, ItemPath: s.ItemPath, State: string(s.State)}
		for _, a := range s.Attempts {
			step.Attempts = append(step.Attempts, JournalAttempt{int(a.Number), string(a.State), a.StartedAt, a.FinishedAt})
		}
		r.Steps = append(r.Steps, step)
	}
	return r
}
