package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// BulkBackfill starts the runs of a schedule's due times in a range.
const BulkBackfill = "backfill"

// maxBackfill bounds the due times of one order.
const maxBackfill = 10_000

// Calendar tells when schedules are due.
type Calendar interface {
	// Due lists the due times of a cron trigger's settings in [from, to), at most limit + 1 of them.
	Due(with json.RawMessage, from, to time.Time, limit int) ([]time.Time, error)
	// Settings reads a cron trigger's settings.
	Settings(with json.RawMessage) (ScheduleSettings, error)
}

// Backfill is a range of a schedule. Each due time has the event key that the schedule itself
// gives it, so that one which has a run already starts no other.
type Backfill struct {
	Workflow    string
	Trigger     string
	From, To    time.Time
	Concurrency int // runs of the order under way at a time, 0 = no bound
}

// BackfillOrder orders the runs of a schedule's due times. Plan only counts them.
func (s *Service) BackfillOrder(ctx context.Context, project string, f Backfill, plan bool) (Bulk, int, error) {
	if err := s.isReady(); err != nil {
		return Bulk{}, 0, err
	}
	if f.To.IsZero() {
		f.To = s.now().UTC()
	}
	switch {
	case f.From.IsZero():
		return Bulk{}, 0, fault.InvalidField("from", "is missing", "give the time of the first due time")
	case !f.From.Before(f.To):
		return Bulk{}, 0, fault.InvalidField("to", "is not after from", "give a later time")
	case f.Concurrency < 0:
		return Bulk{}, 0, fault.InvalidField("concurrency", fmt.Sprintf("is %d", f.Concurrency), "give how many runs may be under way at a time, or leave it out")
	}
	times, _, err := s.dueTimes(ctx, project, f)
	if err != nil || plan {
		return Bulk{}, len(times), err
	}
	b := Bulk{ID: s.deps.NewID(), Project: project, Kind: BulkBackfill, Backfill: &f, State: BulkRunning, CreatedAt: s.now().UTC()}
	b.Cursor = b.ID
	if err := s.deps.Store.PutBulk(ctx, b); err != nil {
		return Bulk{}, 0, err
	}
	s.carry(s.engine.stop, b, true)
	return b, len(times), nil
}

// dueTimes are the due times of a range, by the live deployment's schedule.
func (s *Service) dueTimes(ctx context.Context, project string, f Backfill) ([]time.Time, string, error) {
	dep, err := s.deploymentFor(ctx, StartRun{Project: project, Workflow: f.Workflow})
	if err != nil {
		return nil, "", err
	}
	plan, err := s.plan(ctx, dep)
	if err != nil {
		return nil, "", err
	}
	var names []string
	for _, t := range plan.Triggers {
		if t.Uses != "cron" {
			continue
		}
		names = append(names, t.ID)
		if t.ID != f.Trigger {
			continue
		}
		times, err := s.deps.Calendar.Due(t.With, f.From, f.To, maxBackfill)
		if err == nil && len(times) > maxBackfill {
			err = fault.InvalidField("from", fmt.Sprintf("leaves more than %d due times", maxBackfill), "order a shorter range")
		}
		return times, dep, err
	}
	remedy := "the workflow has no schedule"
	if len(names) > 0 {
		remedy = fmt.Sprintf("its schedules are %v", names)
	}
	return nil, "", fault.InvalidField("trigger", fmt.Sprintf("the workflow %s has no schedule %q", f.Workflow, f.Trigger), remedy)
}

// carryBackfill starts the runs of a backfill in the order of their due times. Done is how many
// due times it has come through, which is where it goes on after a crash.
func (s *Service) carryBackfill(ctx context.Context, b Bulk) {
	times, dep, err := s.dueTimes(ctx, b.Project, *b.Backfill)
	if err != nil {
		b.State, b.Problem, b.EndedAt = BulkStopped, err.Error(), s.now().UTC()
		_, _ = s.deps.Store.BulkProgress(ctx, b)
		return
	}
	var under []string
	for b.Done < len(times) && ctx.Err() == nil {
		if n := b.Backfill.Concurrency; n > 0 && len(under) >= n {
			if _, err := s.Await(ctx, b.Project, under[0]); err != nil {
				s.pauseFor(ctx, time.Second)
				continue
			}
			under = under[1:]
		}
		run, err := s.startDue(ctx, b, dep, times[b.Done])
		switch {
		case ctx.Err() != nil:
			return
		case fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Exhausted):
			s.pauseFor(ctx, time.Second)
			continue
		case err != nil:
			b.Failed++
			b.Problem = times[b.Done].UTC().Format(time.RFC3339) + ": " + err.Error()
		default:
			under = append(under, run)
		}
		b.Done++
		if going, err := s.deps.Store.BulkProgress(ctx, b); err == nil && !going {
			return
		}
	}
	for ctx.Err() == nil {
		b.State, b.EndedAt = BulkDone, s.now().UTC()
		if _, err := s.deps.Store.BulkProgress(ctx, b); err == nil {
			return
		}
		s.pauseFor(ctx, time.Second)
	}
}

func (s *Service) startDue(ctx context.Context, b Bulk, dep string, due time.Time) (string, error) {
	at := due.UTC().Format(time.RFC3339)
	event, err := json.Marshal(map[string]string{"scheduled_at": at})
	if err != nil {
		return "", err
	}
	run, err := s.StartRun(ctx, StartRun{Project: b.Project, DeploymentID: dep, Trigger: Trigger{Kind: "cron", ID: b.Backfill.Trigger},
		Event: domain.Value(event), EventKey: at})
	return run.ID, err
}
