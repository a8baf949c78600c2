package app

import (
	"context"
	"time"
)

// Schedule is how far the schedule of a workflow's trigger has come.
type Schedule struct {
	Project    string
	Workflow   string
	Trigger    string
	Spec       string // the schedule and its time zone as they were then
	Deployment string // that fired it
	Due        time.Time
	Run        string // the last run that it started, "" = none yet
}

// scheduleKept is how long a due time that has started a run is remembered.
const scheduleKept = 90 * 24 * time.Hour

// Superseded tells that a later deployment of the workflow has taken its place without a gap.
func (d *Deployment) Superseded() bool { return d.Reason == reasonSuperseded }

// Schedule tells how far a schedule has come; false if it has never fired. See UseCases.
func (s *Service) Schedule(ctx context.Context, project, workflow, trigger string) (Schedule, bool, error) {
	return s.deps.Store.Schedule(ctx, project, workflow, trigger)
}

// PutSchedule moves a schedule on, never back. See UseCases.
func (s *Service) PutSchedule(ctx context.Context, x Schedule) error {
	return s.deps.Store.PutSchedule(ctx, x)
}
