package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestStatements(t *testing.T) {
	pool := pgtest.New(t, "studio", Migrations, "migrations")
	require.NoError(t, pg.Check(t.Context(), pool, Statements()))
}
