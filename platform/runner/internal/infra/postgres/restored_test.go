package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// TestRestored: what would go on by itself does not: runs, orders for many runs, and a resume that a run had been
// sent and not yet taken. What else it was sent is kept for it.
func TestRestored(t *testing.T) {
	ctx := t.Context()
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	run := id.New()
	for sql, args := range map[string][]any{
		`INSERT INTO live_run (run) VALUES ($1)`: {run},
		`INSERT INTO inbox (id, run, kind, reason, created_at) SELECT kind, $1::uuid, kind, '', now() FROM unnest('{resume,cancel,signal}'::text[]) kind`:                                         {run},
		`INSERT INTO bulk (id, project, kind, query, state, cursor, created_at) SELECT gen_random_uuid(), 'p', 'again', '{}', state, $1::uuid, now() FROM unnest('{running,done}'::text[]) state`: {run},
		`INSERT INTO incarnation (name) VALUES ('old')`: nil,
	} {
		_, err := pool.Exec(ctx, sql, args...)
		require.NoError(t, err, sql)
	}
	require.NoError(t, pg.InTx(ctx, pool, func(tx pgx.Tx) error { return postgres.Restored(ctx, tx) }))
	texts := func(sql string) (out []string) {
		rows, err := pool.Query(ctx, sql)
		require.NoError(t, err)
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return out
	}
	require.Equal(t, []string{"restored restored"}, texts(`SELECT l.held || ' ' || i.name FROM live_run l JOIN incarnation i ON i.fence = l.owner AND i.live`))
	require.Equal(t, []string{"cancel", "signal"}, texts(`SELECT kind FROM inbox ORDER BY 1`))
	require.Equal(t, []string{"done", "stopped restored from a backup"}, texts(`SELECT trim(state || ' ' || problem) FROM bulk ORDER BY 1`))
}
