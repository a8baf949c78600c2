package postgres_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// TestDropDayGoesOn: whatever a crash has left of a day that was being dropped, the next call ends it.
func TestDropDayGoesOn(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	s := postgres.New(pool, slog.Default(), nil)
	ctx := t.Context()
	before := time.Now().Add(-90 * 24 * time.Hour)
	at := time.Now().Add(-100 * 24 * time.Hour).UTC()
	id := uuid.Must(uuid.NewV7())
	for i := range 6 {
		id[i] = byte(at.UnixMilli() >> (8 * (5 - i)))
	}
	day := at.Format("20060102")
	exec := func(format string, args ...any) {
		t.Helper()
		_, err := pool.Exec(ctx, fmt.Sprintf(format, args...))
		require.NoError(t, err)
	}
	// pending leaves a detachment half way, as a crash of the database's session does.
	pending := func() {
		t.Helper()
		reader, err := pool.Begin(ctx)
		require.NoError(t, err)
		_, err = reader.Exec(ctx, "SELECT count(*) FROM run")
		require.NoError(t, err)
		c, err := pool.Acquire(ctx)
		require.NoError(t, err)
		defer c.Release()
		_, err = c.Exec(ctx, "SET statement_timeout = '300ms'")
		require.NoError(t, err)
		_, err = c.Exec(ctx, "ALTER TABLE run DETACH PARTITION run_"+day+" CONCURRENTLY")
		require.ErrorContains(t, err, "timeout")
		_, err = c.Exec(ctx, "RESET statement_timeout")
		require.NoError(t, err)
		require.NoError(t, reader.Rollback(ctx))
	}
	for name, crash := range map[string]func(){
		"the runs are out":      func() { exec("ALTER TABLE run DETACH PARTITION run_%s", day) },
		"the runs are half out": pending,
		"all but the logs are out": func() {
			exec("ALTER TABLE run DETACH PARTITION run_%s", day)
			exec("ALTER TABLE journal DETACH PARTITION journal_%s", day)
		},
		"all are out": func() {
			for _, of := range []string{"run", "journal", "log_chunk"} {
				exec("ALTER TABLE %s DETACH PARTITION %s_%s", of, of, day)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			release, err := s.HoldDay(ctx, id.String())
			require.NoError(t, err)
			release()
			crash()
			_, err = s.HoldDay(ctx, id.String())
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			days, _, err := s.DropDays(ctx, before)
			require.NoError(t, err)
			require.Equal(t, 1, days)
			var left int
			require.NoError(t, pool.QueryRow(ctx, "SELECT count(*) FROM pg_class WHERE relname ~ $1", day).Scan(&left))
			require.Zero(t, left)
		})
	}
}

// TestMentionsOfOldJournals: the migration finds in journals what their writer would have noted.
func TestMentionsOfOldJournals(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	s := postgres.New(pool, slog.Default(), nil)
	ctx := t.Context()
	require.NoError(t, s.EnsurePartitions(ctx, time.Now()))
	run := uuid.Must(uuid.NewV7())
	_, err := pool.Exec(ctx, `INSERT INTO run (id, project, workflow, revision, revision_id, deployment, state, trigger_kind, trigger_id, created_at)
		VALUES ($1, 'p', 'w', 1, 'r', gen_random_uuid(), 'completed', 'manual', '', now())`, run)
	require.NoError(t, err)
	a, b := strings.Repeat("ab", 32), strings.Repeat("0f", 32)
	row := []byte("\x00\xffsha256:\\ {\"$file\":\"sha256:" + a + "\"}\x01{\"$dir\": \"sha256:" + a + "\"}{\"$ref\":\"sha256:" + b + "\"}sha256:" + a[:63] + "\n")
	_, err = pool.Exec(ctx, "INSERT INTO journal (run, seq, row) VALUES ($1, 1, $2)", run, row)
	require.NoError(t, err)
	text, err := postgres.Migrations.ReadFile("migrations/00014_files.sql")
	require.NoError(t, err)
	_, insert, _ := strings.Cut(string(text), "INSERT INTO run_file")
	insert, _, _ = strings.Cut(insert, ";")
	_, err = pool.Exec(ctx, "INSERT INTO run_file"+insert)
	require.NoError(t, err)
	rows, err := pool.Query(ctx, "SELECT encode(digest, 'hex') || text FROM run_file ORDER BY 1")
	require.NoError(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{b + "true", a + "false"}, got)
}
