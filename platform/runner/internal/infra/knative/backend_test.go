package knative

import (
	"context"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// TestCallsToPodsPassNoProxy: HTTPS_PROXY is for what lies outside of the cluster. Go reads it once in a process, so the
// call is one of a process of its own.
func TestCallsToPodsPassNoProxy(t *testing.T) {
	if os.Getenv("PELTON_TEST_NO_PROXY") != "" {
		conn, err := (&Runner{reach: hostPort}).straight("192.0.2.1", userPort) // an address that nobody has
		require.NoError(t, err)
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err = pb.NewActionClient(conn).Describe(ctx, &pb.DescribeRequest{})
		require.Error(t, err)
		return
	}
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer proxy.Close()
	var asked atomic.Int32
	go func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = c.Close()
		}
	}()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCallsToPodsPassNoProxy$", "-test.count=1")
	cmd.Env = append(os.Environ(), "PELTON_TEST_NO_PROXY=1", "HTTPS_PROXY=http://"+proxy.Addr().String(), "NO_PROXY=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Zero(t, asked.Load(), "the proxy was asked")
}
