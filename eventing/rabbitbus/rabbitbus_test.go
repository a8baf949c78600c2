package rabbitbus_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus/bustest"
	"github.com/pelton-run/pelton/eventing/rabbitbus"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

func TestMain(m *testing.M) { rabbittest.Main(m) }

// open makes a bus that ends with the test.
func open(t *testing.T, cfg rabbitbus.Config) *rabbitbus.Bus {
	t.Helper()
	cfg.Name = t.Name()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	b, err := rabbitbus.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func TestBus(t *testing.T) {
	url := rabbittest.Shared(t).URL()
	bustest.Run(t, func(t *testing.T) bustest.Bus {
		b := open(t, rabbitbus.Config{URL: url})
		return bustest.Bus{Publisher: b, Subscriber: b, DeadLetters: b, Durable: true, Emit: func(t *testing.T, exchange string) {
			open(t, rabbitbus.Config{URL: url, Emits: []string{exchange}})
		}}
	})
}
