package membus_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus/bustest"
	"github.com/pelton-run/pelton/eventing/membus"
)

func TestBus(t *testing.T) {
	bustest.Run(t, func(*testing.T) bustest.Bus {
		b := membus.New(slog.New(slog.DiscardHandler))
		return bustest.Bus{
			Publisher: b, Subscriber: b,
			Dead: func(_ *testing.T, queue string) (ids []string) {
				for _, d := range b.Dead() {
					if d.Queue == queue {
						ids = append(ids, d.Message.ID)
					}
				}
				return ids
			},
			Replay: func(t *testing.T, queue, messageID string) { require.NoError(t, b.Replay(messageID, queue)) },
		}
	})
}
