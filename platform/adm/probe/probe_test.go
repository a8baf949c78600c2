package probe_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/adm/probe"
)

func TestProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- probe.Serve(serving, l, "pod-a") }()
	ctx := t.Context()
	c := &probe.Client{Gateway: l.Addr().String(), Host: "probe.ns.svc.cluster.local"}
	require.NoError(t, c.Ready(ctx))
	pods, err := c.Parallel(ctx, 300, 50)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"pod-a": 300}, pods)
	lived, err := c.Stream(ctx, 2*time.Second)
	require.NoError(t, err)
	require.GreaterOrEqual(t, lived, 2*time.Second)

	cut := make(chan error, 1)
	go func() { _, err := c.Stream(ctx, time.Minute); cut <- err }()
	_, err = c.Hold(ctx, 300) // calls are answered beside the stream
	require.NoError(t, err)
	stop()
	require.ErrorContains(t, <-cut, "stream")
	require.NoError(t, <-served)
}
