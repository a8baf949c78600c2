package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// Retention is how long what nobody needs any more is kept. A run is removed with its journal, its
// logs and its inputs and outputs; never one that has not ended, nor one whose parent has not.
type Retention struct {
	// Runs is how long ended runs are kept, counted from their end. Projects and workflows may say
	// less, never more. 0: for ever, unless they say so.
	Runs time.Duration
	// Files is how long a blob that nothing mentions any more is kept, and one that nothing mentions
	// yet. It has to cover whatever a value may take from one durable place to the next. Defaults to 48 h.
	Files time.Duration
	// Every is how often what has expired is looked for. Defaults to 1 h.
	Every time.Duration
}

// History is what retention asks of the store.
type History interface {
	// Retentions are the projects' own; PutRetention sets one, or removes it (0).
	Retentions(ctx context.Context) (map[string]time.Duration, error)
	PutRetention(ctx context.Context, project string, keep time.Duration) error
	// WorkflowRetentions lists the workflows of a project, or of all (""), with what the newest
	// deployment of each says.
	WorkflowRetentions(ctx context.Context, project string) ([]WorkflowRetention, error)
	// ProjectsWithRuns lists all projects that may have runs.
	ProjectsWithRuns(ctx context.Context) ([]string, error)
	// Alone calls do unless another process is in Alone with the same name; it tells whether it has.
	// The other's death ends its claim.
	Alone(ctx context.Context, what string, do func(ctx context.Context) error) (bool, error)
	// DropDays drops every whole day that lies before the given time and whose runs have all ended
	// before it and are needed by nobody, and ends what an interrupted call has begun.
	DropDays(ctx context.Context, before time.Time) (days, runs int, err error)
	// RemoveExpired removes up to limit runs that nobody needs, in one transaction, the oldest first.
	RemoveExpired(ctx context.Context, x Expired, limit int) (removed int, err error)
	// RemoveRun removes one run; a conflict if it has not ended or is needed.
	RemoveRun(ctx context.Context, project, run string) error
	// RemoveLate removes what was written for runs just after they were removed, which was before the
	// given time.
	RemoveLate(ctx context.Context, before time.Time) error
	// HoldDay keeps the history of a past day, that of a run's id, from being dropped until release,
	// and makes it if it is not there. Unavailable while it is being dropped.
	HoldDay(ctx context.Context, run string) (release func(), err error)
}

// Expired selects ended runs of a project.
type Expired struct {
	Project   string
	Before    time.Time // they ended before
	Workflows []string  // only of these, nil = of all
	Except    []string  // without Workflows: not of these
}

// WorkflowRetention is how long the runs of a workflow are kept, 0 = as long as the project says.
type WorkflowRetention struct {
	Project  string
	Workflow string
	Keep     time.Duration
}

// Kept tells how long ended runs of a project are kept.
type Kept struct {
	Server    time.Duration            // 0 = for ever
	Project   time.Duration            // its own, 0 = as long as the server says
	Workflows map[string]time.Duration // those whose workflow says so
}

// Swept is what a sweep has removed.
type Swept struct {
	Runs, Days int
	Files      int
	Bytes      int64
	Took       time.Duration
}

// lateWrites is how long writers may take to write what they had under way when a run was removed.
const lateWrites = time.Minute

// RetentionLock is what a sweep is alone with. A backup holds it, too.
const RetentionLock = "pelton retention"

// sweepBatch is how many runs are removed in one transaction.
const sweepBatch = 200

// shorter is the shorter of two times to keep, of which 0 is for ever.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Retention tells how long runs of a project are kept. See UseCases.
func (s *Service) Retention(ctx context.Context, project string) (Kept, error) {
	k := Kept{Server: s.cfg.Retention.Runs, Workflows: map[string]time.Duration{}}
	own, err := s.deps.Store.Retentions(ctx)
	if err != nil {
		return k, err
	}
	k.Project = own[project]
	flows, err := s.deps.Store.WorkflowRetentions(ctx, project)
	for _, w := range flows {
		if w.Keep > 0 {
			k.Workflows[w.Workflow] = w.Keep
		}
	}
	return k, err
}

// PutRetention sets how long runs of a project are kept. See UseCases.
func (s *Service) PutRetention(ctx context.Context, project string, keep time.Duration) error {
	server := s.cfg.Retention.Runs
	switch {
	case keep < 0 || keep > 0 && keep < time.Second:
		return fault.InvalidField("project_ms", "is "+keep.String(), "give at least 1000 (1 s), or 0 for as long as the server keeps runs")
	case server > 0 && keep > server:
		return fault.InvalidField("project_ms", "is "+Days(keep)+", and the server keeps runs for "+Days(server),
			"give at most "+strconv.FormatInt(server.Milliseconds(), 10)+" ("+Days(server)+"), or have the operator raise runner.retention.runs")
	}
	return s.deps.Store.PutRetention(ctx, project, keep)
}

// DeleteRun removes an ended run for good. See UseCases.
func (s *Service) DeleteRun(ctx context.Context, project, run string) error {
	if err := s.isReady(); err != nil {
		return err
	}
	return s.deps.Store.RemoveRun(ctx, project, run)
}

// keepSweeping removes what has expired, now and then, until ctx is done.
func (s *Service) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Retention.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.deps.Log.Warn("what has expired stays until the next sweep", "error", err)
		}
	}
}

// Sweep removes what has expired, unless another replica does so just now. An interruption at any
// point leaves nothing half there for readers, and the next sweep goes on.
func (s *Service) Sweep(ctx context.Context) (w Swept, err error) {
	began := s.now()
	mine, err := s.deps.Store.Alone(ctx, RetentionLock, func(ctx context.Context) error {
		if err := s.deps.Store.RemoveLate(ctx, began.Add(-lateWrites)); err != nil {
			return err
		}
		if err := s.removeRuns(ctx, began, &w); err != nil {
			return err
		}
		return s.collectFiles(ctx, began, &w)
	})
	w.Took = s.now().Sub(began)
	if !mine {
		return w, err
	}
	log := s.deps.Log.Debug
	if w.Runs+w.Files > 0 {
		log = s.deps.Log.Info
	}
	log("runs past their retention and unused files removed", "runs", w.Runs, "whole_days", w.Days, "files", w.Files, "bytes", w.Bytes, "took", w.Took, "complete", err == nil)
	if m := s.deps.Metrics.Swept; m != nil {
		m(w)
	}
	return w, err
}

// removeRuns removes runs that have expired at a time.
func (s *Service) removeRuns(ctx context.Context, now time.Time, w *Swept) (err error) {
	server := s.cfg.Retention.Runs
	if server > 0 {
		// Days end at midnight; those of now and yesterday still take new runs.
		before := slices.MinFunc([]time.Time{now.Add(-server), now.Add(-24 * time.Hour)}, time.Time.Compare)
		if w.Days, w.Runs, err = s.deps.Store.DropDays(ctx, before); err != nil {
			return err
		}
	}
	own, err := s.deps.Store.Retentions(ctx)
	if err != nil {
		return err
	}
	flows, err := s.deps.Store.WorkflowRetentions(ctx, "")
	if err != nil {
		return err
	}
	projects, err := s.deps.Store.ProjectsWithRuns(ctx)
	if err != nil {
		return err
	}
	for _, p := range projects {
		for keep, x := range expiries(p, shorter(server, own[p]), flows) {
			x.Before = now.Add(-keep)
			if err := s.removeAll(ctx, x, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// expiries are the runs of a project by how long they are kept.
func expiries(project string, keep time.Duration, flows []WorkflowRetention) map[time.Duration]Expired {
	out := map[time.Duration]Expired{}
	var except []string
	for _, f := range flows {
		own := shorter(keep, f.Keep)
		if f.Project != project || f.Keep == 0 || own == keep {
			continue
		}
		except = append(except, f.Workflow)
		x := out[own]
		x.Project, x.Workflows = project, append(x.Workflows, f.Workflow)
		out[own] = x
	}
	if keep > 0 {
		out[keep] = Expired{Project: project, Except: except}
	}
	return out
}

// removeAll removes in small batches, so that nobody waits for it.
func (s *Service) removeAll(ctx context.Context, x Expired, w *Swept) error {
	for {
		n, err := s.deps.Store.RemoveExpired(ctx, x, sweepBatch)
		w.Runs += n
		if err != nil || n < sweepBatch {
			return err
		}
	}
}

// pastDay is the age from which on the day of an id may have been dropped.
const pastDay = 24 * time.Hour

// holdDay keeps the day of a derived id, which may be long past, until the run is durable.
func (s *Service) holdDay(ctx context.Context, run string) (release func(), err error) {
	if run == "" || s.now().Sub(id.Time(run)) < pastDay {
		return func() {}, nil
	}
	return s.deps.Store.HoldDay(ctx, run)
}

// keptStore is a store that tells of a run that it does not have how long runs are kept.
type keptStore struct {
	Store
	svc *Service
}

// RunSummary gives one run.
func (k keptStore) RunSummary(ctx context.Context, project, run string) (RunSummary, error) {
	sum, err := k.Store.RunSummary(ctx, project, run)
	age := k.svc.now().Sub(id.Time(run))
	if !fault.Is(err, fault.NotFound) || id.Time(run).IsZero() || age < shorter(k.svc.cfg.Retention.Runs, time.Second) {
		return sum, err
	}
	kept, kerr := k.svc.Retention(ctx, project)
	if kerr != nil {
		return sum, err
	}
	keep := shorter(kept.Server, kept.Project)
	least, where := keep, ""
	for _, name := range sortedNames(kept.Workflows) {
		if d := shorter(least, kept.Workflows[name]); d != least {
			least, where = d, fmt.Sprintf(", those of %s for %s", name, Days(d))
		}
	}
	if least == 0 || age < least {
		return sum, err
	}
	words := "ended runs are kept for " + Days(keep)
	if keep == 0 {
		words = "most ended runs are kept for ever"
	}
	return sum, fault.New(fault.NotFound, "there is no run %s in project %s; %s here%s, and a run of this id was started on %s", run, project, words, where,
		id.Time(run).Format(time.DateOnly)).WithCode("run_expired")
}

// Days is a time in words: 90 days, 36h, 10s.
func Days(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d == day:
		return "1 day"
	case d > 0 && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + " days"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}
