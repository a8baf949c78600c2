package bus_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
)

func TestTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	of := func(s string) string { return bus.Headers(bus.WithTraceparent(t.Context(), s))["traceparent"] }
	require.Equal(t, good, of(good))
	require.Equal(t, "01"+good[2:]+"-more", of("01"+good[2:]+"-more"), "later versions may say more")
	for _, bad := range []string{"", "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", good[3:], good + "x", good + "-" + strings.Repeat("x", 300), "a\r\nb"} {
		require.Empty(t, of(bad), bad)
	}
	require.Equal(t, good, bus.Headers(bus.WithTraceparent(bus.WithTraceparent(t.Context(), good), "bad"))["traceparent"])
}
