package peers_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/peers"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

// slowStart is a store of which the first question of a start takes as long as held does.
type slowStart struct {
	*postgres.Store
	asked atomic.Int32
	held  func(context.Context) error
}

func (s *slowStart) Standing(ctx context.Context) ([]app.Deployment, error) {
	if s.asked.Add(1) == 1 {
		if err := s.held(ctx); err != nil {
			return nil, err
		}
	}
	return s.Store.Standing(ctx)
}

// begin starts a replica on a database whose first answer takes as long as held does.
func begin(t *testing.T, held func(context.Context, *pgxpool.Pool) error) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.New(t, "runner", postgres.Migrations, "migrations")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	inner := postgres.New(pool, log, nil)
	s := &slowStart{Store: inner, held: func(ctx context.Context) error { return held(ctx, pool) }}
	key, err := inner.PeerKey(t.Context())
	require.NoError(t, err)
	p, err := peers.Open(t.Context(), peers.Config{Key: key, Now: time.Now, Log: log})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	db := apptest.Database{Store: s, Journal: func(fence int64) app.Journal { return inner.NewJournal(fence, nil) }}
	apptest.StartReplica(t, db, apptest.NewExecutor(apptest.AddOne), app.Config{Name: "r0", Lease: 20 * time.Second, Beat: 20 * time.Millisecond}, p)
	return pool
}

func incarnations(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM incarnation").Scan(&n))
	return n
}

// TestSlowStart: the lease is renewed while a start takes its time.
func TestSlowStart(t *testing.T) {
	pool := begin(t, func(ctx context.Context, pool *pgxpool.Pool) error {
		var first time.Time
		if err := pool.QueryRow(ctx, "SELECT expires_at FROM lease").Scan(&first); err != nil {
			return err
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := first; time.Now().Before(end); <-tick.C {
			var kept bool
			if err := pool.QueryRow(ctx, "SELECT expires_at > $1 FROM lease", first).Scan(&kept); err != nil || kept {
				return err
			}
		}
		return errors.New("nobody renews the lease")
	})
	require.Equal(t, 1, incarnations(t, pool))
}

// TestLostBeforeItWasUp: a replica that loses its lease while it starts begins anew, as a later one does.
func TestLostBeforeItWasUp(t *testing.T) {
	pool := begin(t, func(ctx context.Context, pool *pgxpool.Pool) error {
		if _, err := pool.Exec(ctx, "DELETE FROM lease"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	require.Equal(t, 2, incarnations(t, pool))
}
