package bridge

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bridge/internal/infra/postgres"
)

// Migrations are the database's, in the folder "migrations".
func Migrations() embed.FS { return postgres.Migrations }

// Restored is called in the transaction that fills the migrated database from a backup, last: afterwards
// no subscription is sent anything until somebody resumes it.
func Restored(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, postgres.Statements().Get("restored_subscriptions"))
	return err
}
