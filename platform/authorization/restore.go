package authorization

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/authorization/internal/infra/postgres"
)

// Migrations are the database's, in the folder "migrations".
func Migrations() embed.FS { return postgres.Migrations }

// Restored is called in the transaction that fills the migrated database from a backup, last: afterwards
// codes of sign-ins that were under way are not valid.
func Restored(ctx context.Context, tx pgx.Tx) error {
	q := postgres.Statements()
	for _, name := range []string{"restored_codes"} {
		if _, err := tx.Exec(ctx, q.Get(name)); err != nil {
			return err
		}
	}
	return nil
}
