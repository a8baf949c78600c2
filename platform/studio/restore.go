package studio

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/studio/internal/infra/postgres"
)

// Migrations are the database's, in the folder "migrations".
func Migrations() embed.FS { return postgres.Migrations }

// Restored is called in the transaction that fills the migrated database from a backup, last: afterwards
// nothing is deployed.
func Restored(ctx context.Context, tx pgx.Tx) error {
	q := postgres.Statements()
	for _, name := range []string{"restored_deployments", "restored_workflows", "restored_outbox"} {
		if _, err := tx.Exec(ctx, q.Get(name)); err != nil {
			return err
		}
	}
	return nil
}
