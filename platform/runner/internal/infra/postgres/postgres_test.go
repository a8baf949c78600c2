package postgres_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t *testing.T) apptest.Database {
	return on(t, pgtest.New(t, "runner", postgres.Migrations, "migrations"))
}

func on(t testing.TB, pool *pg.Pool) apptest.Database {
	s := postgres.New(pool, slog.New(slog.NewTextHandler(t.Output(), nil)), nil)
	return apptest.Database{Store: s, Journal: func(fence int64) app.Journal { return s.NewJournal(fence, nil) }}
}

func TestStatements(t *testing.T) {
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	require.NoError(t, postgres.New(pool, slog.Default(), nil).EnsurePartitions(t.Context(), time.Now()))
	require.NoError(t, pg.Check(t.Context(), pool, postgres.Statements()))
}

func TestEngine(t *testing.T) { apptest.Engine(t, open) }

func TestStore(t *testing.T) { apptest.Store(t, open) }
