package bridge

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	bridgev1 "github.com/pelton-run/pelton/eventing/bridge/contracts/bridge/v1"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestRestored: no subscription goes out by itself, and the runner hears again what is wanted of it.
func TestRestored(t *testing.T) {
	ctx := t.Context()
	pool := pgtest.New(t, "bridge", Migrations(), "migrations")
	_, err := pool.Exec(ctx, `INSERT INTO subscription (id, project, name, kind, url, exchange, key, types, filter, created_at, version) VALUES ($1, 'p', 's', 'webhook', 'http://x', '', '', '{}', '', now(), 3)`, id.New())
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `INSERT INTO wish (project, version, started, ended, failed, armed) VALUES ('p', 3, false, true, true, 2)`)
	require.NoError(t, err)
	require.NoError(t, pg.InTx(ctx, pool, func(tx pgx.Tx) error { return Restored(ctx, tx) }))
	var paused bool
	require.NoError(t, pool.QueryRow(ctx, `SELECT paused FROM subscription`).Scan(&paused))
	require.True(t, paused)
	var exchange, key string
	var body []byte
	require.NoError(t, pool.QueryRow(ctx, `SELECT exchange, key, body FROM outbox`).Scan(&exchange, &key, &body))
	require.Equal(t, "bridge.v1 EventsWanted", exchange+" "+key)
	var m bridgev1.EventsWanted
	require.NoError(t, proto.Unmarshal(body, &m))
	require.True(t, proto.Equal(&bridgev1.EventsWanted{Project: "p", Version: 3, RunEnded: true, StepFailed: true}, &m), "%v", &m)
}
