package pg_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestOnly(t *testing.T) {
	u, err := url.Parse(pgtest.Empty(t, "one"))
	require.NoError(t, err)
	u.Path += "one"
	url := u.String()
	a, err := pg.TakeOnly(t.Context(), url, 7, 0)
	require.NoError(t, err)
	_, err = pg.TakeOnly(t.Context(), url, 7, 0)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	other, err := pg.TakeOnly(t.Context(), url, 8, 0)
	require.NoError(t, err)
	other.Release()

	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error, 1)
	go func() { kept <- a.Keep(ctx) }()
	pool, err := pg.Open(t.Context(), url, pg.Options{})
	require.NoError(t, err)
	defer pool.Close()
	_, err = pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var n int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7").Scan(&n)
		return err == nil && n == 1
	}, 20*time.Second, 5*time.Millisecond, "it is taken again")
	cancel()
	require.NoError(t, <-kept)
	b, err := pg.TakeOnly(t.Context(), url, 7, 10*time.Second)
	require.NoError(t, err)
	b.Release()
}
