package app

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

func TestReachable(t *testing.T) {
	for text, want := range map[string]bool{"8.8.8.8": true, "127.0.0.1": false, "10.1.2.3": false, "169.254.169.254": false, "100.64.0.1": false, "::1": false, "fd00::1": false,
		"fe80::1": false, "2606:4700::1": true, "0.0.0.0": false, "::ffff:10.0.0.1": false} {
		at := netip.AddrPortFrom(netip.MustParseAddr(text), 80).String()
		require.Equal(t, want, Reachable(false)("tcp", at, nil) == nil, text)
		require.NoError(t, Reachable(true)("tcp", at, nil))
	}
	require.Error(t, Reachable(false)("tcp", "nonsense", nil))
}

func TestAddress(t *testing.T) {
	for _, good := range []domain.Sink{{Kind: domain.SinkWebhook, URL: "https://x/y"}, {Kind: domain.SinkRabbitMQ, URL: "amqp://x/y"}} {
		require.Nil(t, checkAddress(good))
	}
	for _, bad := range []domain.Sink{{Kind: domain.SinkWebhook, URL: "ftp://x/y"}, {Kind: domain.SinkWebhook, URL: "https://a:b@x/y"}, {Kind: domain.SinkCloudEvents, URL: "x"}, {Kind: domain.SinkRabbitMQ, URL: "https://x/y"}} {
		f := checkAddress(bad)
		require.NotNil(t, f, bad.URL)
		require.NotEmpty(t, f.Remedy)
	}
}
