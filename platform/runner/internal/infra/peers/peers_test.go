package peers_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/peers"
)

func open(t *testing.T, key string, beat time.Duration) *peers.Peers {
	p, err := peers.Open(t.Context(), peers.Config{Key: key, Beat: beat, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// serve answers at p and returns how to stop it.
func serve(t *testing.T, p *peers.Peers, answer peers.Answer) (app.Incarnation, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, answer) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return app.Incarnation{Name: "other", Address: p.Address()}, cancel
}

func TestCall(t *testing.T) {
	a := open(t, "k", 0)
	to, _ := serve(t, open(t, "k", 0), func(_ context.Context, op string, ask []byte, give func([]byte) error) error {
		if op == "bad" {
			return fault.New(fault.Conflict, "the run has ended").WithCode("run_ended")
		}
		for range 3 {
			if err := give(ask); err != nil {
				return err
			}
		}
		return nil
	})
	var got []string
	take := func(b []byte) error { got = append(got, string(b)); return nil }
	require.NoError(t, a.Call(t.Context(), to, "echo", []byte(`{"a":1}`), take))
	require.Equal(t, []string{`{"a":1}`, `{"a":1}`, `{"a":1}`}, got)

	err := a.Call(t.Context(), to, "bad", []byte(`{}`), take)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.Equal(t, "run_ended", fault.As(err).Code)

	mine := errors.New("enough")
	require.ErrorIs(t, a.Call(t.Context(), to, "echo", []byte(`{}`), func([]byte) error { return mine }), mine)

	err = open(t, "other key", 0).Call(t.Context(), to, "echo", []byte(`{}`), take)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.ErrorContains(t, err, "401")
	err = a.Call(t.Context(), app.Incarnation{Name: "gone", Address: "127.0.0.1:1"}, "echo", nil, take)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

func TestCallIsCutWithItsReplica(t *testing.T) {
	a := open(t, "k", 0)
	to, stop := serve(t, open(t, "k", 0), func(ctx context.Context, _ string, _ []byte, give func([]byte) error) error {
		if err := give([]byte("1")); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	err := a.Call(t.Context(), to, "wait", nil, func([]byte) error { stop(); return nil })
	require.Error(t, err, "the stream was cut")
}

func TestCallLivesWhileTheOtherBeats(t *testing.T) {
	const beat = 20 * time.Millisecond
	a := open(t, "k", beat)
	to, _ := serve(t, open(t, "k", beat), func(ctx context.Context, _ string, _ []byte, give func([]byte) error) error {
		select { // longer than a silent stream may be
		case <-time.After(20 * beat):
			return give([]byte("1"))
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	got := 0
	require.NoError(t, a.Call(t.Context(), to, "wait", nil, func([]byte) error { got++; return nil }))
	require.Equal(t, 1, got)
	slow, _ := serve(t, open(t, "k", time.Hour), func(ctx context.Context, _ string, _ []byte, _ func([]byte) error) error {
		<-ctx.Done()
		return ctx.Err()
	})
	err := a.Call(t.Context(), slow, "wait", nil, nil)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
