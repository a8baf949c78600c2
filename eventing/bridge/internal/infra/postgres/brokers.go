package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

var _ app.BrokerStore = (*Store)(nil)

// LinkBroker implements app.BrokerStore.
func (s *Store) LinkBroker(ctx context.Context, l domain.BrokerLink) error {
	_, err := s.pool.Exec(ctx, s.q["link_broker"], l.Project, l.Sealed, l.CreatedAt)
	return pg.Translate(err, "Broker")
}

// UnlinkBroker implements app.BrokerStore.
func (s *Store) UnlinkBroker(ctx context.Context, project string) error {
	tag, err := s.pool.Exec(ctx, s.q["unlink_broker"], project)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "project %s has no Broker", project)
	}
	return pg.Translate(err, "Broker")
}

// ForgetBroker implements app.BrokerStore.
func (s *Store) ForgetBroker(ctx context.Context, project string) error {
	_, err := s.pool.Exec(ctx, s.q["forget_broker"], project)
	return pg.Translate(err, "Broker")
}

// BrokerLinks implements app.BrokerStore.
func (s *Store) BrokerLinks(ctx context.Context, project string) ([]domain.BrokerLink, error) {
	rows, err := s.pool.Query(ctx, s.q["broker_links"], project)
	if err != nil {
		return nil, pg.Translate(err, "Broker")
	}
	type row struct {
		Project   string
		Sealed    []byte
		CreatedAt time.Time
		Going     bool
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	out := make([]domain.BrokerLink, len(list))
	for i, r := range list {
		out[i] = domain.BrokerLink{Project: r.Project, Sealed: r.Sealed, CreatedAt: r.CreatedAt.UTC(), Going: r.Going}
	}
	return out, pg.Translate(err, "Broker")
}

// EventTriggers implements app.BrokerStore.
func (s *Store) EventTriggers(ctx context.Context, project string) ([]domain.EventTrigger, error) {
	rows, err := s.pool.Query(ctx, s.q["event_triggers"], project)
	if err != nil {
		return nil, pg.Translate(err, "trigger")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[struct{ Workflow, Outside string }])
	if err != nil {
		return nil, pg.Translate(err, "trigger")
	}
	var out []domain.EventTrigger
	for _, r := range list {
		var triggers []domain.EventTrigger
		if err := json.Unmarshal([]byte(r.Outside), &triggers); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "read the triggers of workflow %s", r.Workflow)
		}
		for _, t := range triggers {
			t.Workflow = r.Workflow
			out = append(out, t)
		}
	}
	return out, nil
}
