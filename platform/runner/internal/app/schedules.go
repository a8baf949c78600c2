package app

import (
	"context"
	"time"
)

// ScheduleSettings are those of a cron trigger, with what is left out filled in.
type ScheduleSettings struct {
	Schedule string // five fields, or @daily and the like
	Timezone string // "" = that of the server
	CatchUp  string // none | last | all: which missed due times are caught up
	Overlap  string // allow | skip | cancel-previous: what becomes of a due time while the run before it is under way
	Jitter   time.Duration
}

// ScheduleView is the schedule of a deployed workflow's trigger.
type ScheduleView struct {
	Workflow   string
	Revision   int
	Deployment string
	Trigger    string
	ScheduleSettings
	Paused *PausedWorkflow // nil = it is not
	Next   []time.Time     // its next due times; none while the workflow is paused
	Last   time.Time       // the last due time that it has come to, zero = none yet
	Run    string          // the last run that it started, "" = none yet
}

const (
	shownDueTimes = 5
	// farthestDue is how far ahead due times are looked for: February 29 is due at most 8 years ahead.
	farthestDue = 9 * 366 * 24 * time.Hour
)

// Schedules lists the schedules of a project's live deployments. See UseCases.
func (s *Service) Schedules(ctx context.Context, project string) ([]ScheduleView, error) {
	live, err := s.Deployments(ctx, project, false)
	if err != nil {
		return nil, err
	}
	var out []ScheduleView
	for i := range live {
		d := &live[i]
		if d.State != DeploymentLive {
			continue
		}
		for _, t := range d.Definition.Triggers {
			if t.Uses != "cron" {
				continue
			}
			v := ScheduleView{Workflow: d.Definition.Workflow, Revision: d.Definition.Revision, Deployment: d.ID, Trigger: t.ID}
			if v.ScheduleSettings, err = s.deps.Calendar.Settings(t.With); err != nil {
				return nil, err
			}
			if p, paused := s.Paused(project, v.Workflow); paused {
				v.Paused = &p
			} else {
				now := s.now().UTC()
				if v.Next, err = s.deps.Calendar.Due(t.With, now, now.Add(farthestDue), shownDueTimes-1); err != nil {
					return nil, err
				}
			}
			last, found, err := s.Schedule(ctx, project, v.Workflow, t.ID)
			if err != nil {
				return nil, err
			}
			if found {
				v.Last, v.Run = last.Due, last.Run
			}
			out = append(out, v)
		}
	}
	return out, nil
}
