package app

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A runner that serves nobody just now says nothing about a sub-workflow's run: the step goes on
// waiting, until its own run is in other hands or the process stops.
func TestAwaitChildOutlastsItsRunner(t *testing.T) {
	stop, end := context.WithCancel(t.Context())
	e := &engine{stop: stop}
	e.svc = &Service{engine: e, ready: make(chan struct{})}
	ended := func(r *liveRun) <-chan error {
		out := make(chan error, 1)
		go func() { _, err := e.awaitChild(r, "p", "0197a0a0-0000-7000-8000-000000000000"); out <- err }()
		return out
	}
	given := &liveRun{done: make(chan struct{})}
	first, second := ended(given), ended(&liveRun{done: make(chan struct{})})
	close(given.done)
	require.ErrorIs(t, <-first, errGivenUp)
	select {
	case err := <-second:
		t.Fatal("it gave up: ", err)
	default:
	}
	end()
	require.ErrorIs(t, <-second, context.Canceled)
}
