package runner

import (
	"context"
	"embed"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// Collection names the lock, hashed by hashtextextended(…, 0), under which one process at a time removes
// runs and files: who holds it as a session of the service's database pauses all removal.
const Collection = app.RetentionLock

// Migrations are the database's, in the folder "migrations".
func Migrations() embed.FS { return postgres.Migrations }

// Restored is called in the transaction that fills the migrated database from a backup, last. Nothing is
// deployed afterwards, runs that have not ended are held until somebody resumes or cancels them, and orders for
// many runs are stopped.
func Restored(ctx context.Context, tx pgx.Tx) error { return postgres.Restored(ctx, tx) }

// Mentions are what the service refers to outside its database.
type Mentions struct {
	Files  []FileMention
	Builds []BuildMention
}

// FileMention is a blob of the filestore that runs mention.
type FileMention struct{ Project, Digest string }

// BuildMention is a build that a live deployment or a run that has not ended needs.
type BuildMention struct{ Project, Artifact, Digest string }

// Mentioned reads what the database of the service refers to.
func Mentioned(ctx context.Context, tx pgx.Tx) (m Mentions, err error) {
	q := postgres.Statements()
	rows, err := tx.Query(ctx, q.Get("mentioned_files"))
	if err != nil {
		return m, err
	}
	if m.Files, err = pgx.CollectRows(rows, pgx.RowToStructByPos[FileMention]); err != nil {
		return m, err
	}
	if rows, err = tx.Query(ctx, q.Get("mentioned_builds")); err != nil {
		return m, err
	}
	m.Builds, err = pgx.CollectRows(rows, pgx.RowToStructByPos[BuildMention])
	return m, err
}
