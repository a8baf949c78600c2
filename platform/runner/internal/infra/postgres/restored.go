package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/pg"
)

// Restored makes a database that was filled from a backup one whose runner starts nothing: a fence above
// all that the instance of the backup may still hold owns the runs, each of which is held; what was live
// is stopped, and what was told of it is not told again.
func Restored(ctx context.Context, tx pgx.Tx) error {
	q := Statements()
	var fence int64
	if err := tx.QueryRow(ctx, q.Get("restored_fence")).Scan(&fence); err != nil {
		return pg.Translate(err, "incarnation")
	}
	if err := tx.QueryRow(ctx, q.Get("restored_incarnation")).Scan(&fence); err != nil {
		return pg.Translate(err, "incarnation")
	}
	for _, name := range []string{"restored_ended", "restored_runs", "restored_sources"} {
		if _, err := tx.Exec(ctx, q.Get(name), fence); err != nil {
			return pg.Translate(err, "run")
		}
	}
	for _, name := range []string{"restored_leases", "restored_bulk", "restored_inbox", "restored_states", "restored_sleeping", "restored_deployments", "restored_outbox", "restored_key"} {
		if _, err := tx.Exec(ctx, q.Get(name)); err != nil {
			return pg.Translate(err, "run")
		}
	}
	return nil
}
