package membus_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/bus/bustest"
	"github.com/pelton-run/pelton/eventing/membus"
)

func TestBus(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Bus {
		b := membus.New(t.TempDir(), slog.New(slog.DiscardHandler))
		return bustest.Bus{Publisher: b, Subscriber: b, DeadLetters: b}
	})
}

// A dead letter outlives its process, and so does the wish to have it dealt with again.
func TestDeadLettersAreKept(t *testing.T) {
	dir, q := t.TempDir(), bus.Queue{Name: "b.Thing", Exchange: "a.v1", Keys: []string{"Thing"}, MaxTries: 1}
	ctx, stop := context.WithCancel(t.Context())
	first := membus.New(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, first.Subscribe(ctx, q, func(context.Context, bus.Message) error { return errors.New("broken") }))
	m, done := bus.Message{ID: "7", Exchange: q.Exchange, Key: "Thing", Body: []byte("x")}, make(chan error, 1)
	first.Publish(m, func(err error) { done <- err })
	require.NoError(t, <-done, "it is kept before it is confirmed")
	stop()
	require.NoError(t, membus.DeadLetters{Dir: dir}.Replay(t.Context(), q.Name, m.ID))

	second, got := membus.New(dir, slog.New(slog.DiscardHandler)), make(chan bus.Message, 1)
	require.NoError(t, second.Subscribe(t.Context(), q, func(_ context.Context, m bus.Message) error { got <- m; return nil }))
	select {
	case again := <-got:
		require.Equal(t, m, again)
	case <-time.After(20 * time.Second):
		t.Fatal("it was not handed over again")
	}
	letters, err := second.Dead(t.Context(), q.Name)
	require.NoError(t, err)
	require.Empty(t, letters)
}
