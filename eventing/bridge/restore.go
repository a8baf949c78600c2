package bridge

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/events"
	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/postgres"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// Migrations are the database's, in the folder "migrations".
func Migrations() embed.FS { return postgres.Migrations }

// Restored is called in the transaction that fills the migrated database from a backup, last: afterwards
// no subscription is sent anything until somebody resumes it, and no project has a Broker until somebody connects
// it: in the cluster it may be that of the platform which the backup is of. The runner is told again which events are
// wanted: a message on its way at the moment of the backup is in neither database.
func Restored(ctx context.Context, tx pgx.Tx) error {
	q := postgres.Statements()
	if _, err := tx.Exec(ctx, q.Get("restored_subscriptions")); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, q.Get("restored_brokers")); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, q.Get("wishes"))
	if err != nil {
		return err
	}
	type wish struct {
		Project                string
		Version                int64
		Started, Ended, Failed bool
	}
	wishes, err := pgx.CollectRows(rows, pgx.RowToStructByName[wish])
	if err != nil {
		return err
	}
	for _, w := range wishes {
		m, err := events.Announcer{}.EventsWanted(id.New(), w.Project, w.Version, domain.Wants{Started: w.Started, Ended: w.Ended, Failed: w.Failed})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, q.Get("insert_outbox"), m.ID, m.Key, m.Payload, bus.Headers(ctx)); err != nil {
			return err
		}
	}
	return nil
}
