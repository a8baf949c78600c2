package run_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/run"
)

func TestPartsStopInReverseOrder(t *testing.T) {
	var g run.Group
	var order []string
	for _, name := range []string{"database", "service", "listener"} {
		g.Go(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name)
			return ctx.Err()
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, g.Wait(ctx))
	require.NoError(t, g.Stop(), "an end that was asked for is no failure")
	require.Equal(t, []string{"listener", "service", "database"}, order)
}

func TestAFailingPartIsNamed(t *testing.T) {
	var g run.Group
	g.Go("good", func(ctx context.Context) error { <-ctx.Done(); return nil })
	g.Go("bad", func(context.Context) error { return errors.New("no port") })
	require.EqualError(t, g.Wait(t.Context()), "bad: no port")
	require.EqualError(t, g.Stop(), "bad: no port")
}

func TestReady(t *testing.T) {
	var r run.Ready
	require.Empty(t, r.Failing())
	var err error
	r.Add("runner", func() error { return err })
	require.Empty(t, r.Failing())
	err = errors.New("recovering")
	require.Equal(t, map[string]string{"runner": "recovering"}, r.Failing())
}
