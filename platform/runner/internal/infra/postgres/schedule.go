package postgres

import (
	"context"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Schedule tells how far a schedule has come. See app.Store.
func (s *Store) Schedule(ctx context.Context, project, workflow, trigger string) (app.Schedule, bool, error) {
	x, err := one[app.Schedule](ctx, s, "schedule", "schedule", project, workflow, trigger)
	if fault.Is(err, fault.NotFound) {
		return app.Schedule{}, false, nil
	}
	x.Due = x.Due.UTC()
	return x, err == nil, err
}

// PutSchedule moves a schedule on. See app.Store.
func (s *Store) PutSchedule(ctx context.Context, x app.Schedule) error {
	_, err := s.pool.Exec(ctx, s.q["put_schedule"], x.Project, x.Workflow, x.Trigger, text(x.Spec), x.Deployment, x.Due, x.Run)
	return pg.Translate(err, "schedule")
}
