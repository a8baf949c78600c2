package rabbitmq

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

func TestMain(m *testing.M) { rabbittest.Main(m) }

// TestSend: an event arrives as it was, confirmed; what no queue takes, a missing exchange and wrong credentials are
// told, without the password.
func TestSend(t *testing.T) {
	urls, err := rabbittest.Shared(t).Tenant(t.Context(), map[string]rabbittest.Permissions{"user": {Configure: ".*", Write: ".*", Read: ".*"}})
	require.NoError(t, err)
	u, err := amqp.ParseURI(urls["user"])
	require.NoError(t, err)
	conn, err := amqp.Dial(urls["user"])
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.ExchangeDeclare("out", "topic", true, false, false, false, nil))
	_, err = ch.QueueDeclare("all", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind("all", "io.pelton.run.#", "out", false, nil))
	secret := []byte(u.Username + ":" + u.Password)
	u.Username, u.Password = "", ""
	bare := "amqp://" + (&amqp.URI{Scheme: "amqp", Host: u.Host, Port: u.Port, Vhost: u.Vhost}).String()[len("amqp://"):]
	bare = harmless(bare)
	s := New(true)
	defer s.Close()
	d := domain.Delivery{EventID: "0190", Type: "io.pelton.run.completed.v1", Event: []byte(`{"specversion":"1.0","id":"0190","source":"/s","type":"io.pelton.run.completed.v1","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{"a":1}}`)}
	send := func(url, exchange, key string, secret []byte) string {
		return s.Send(t.Context(), domain.Sink{Kind: domain.SinkRabbitMQ, URL: url, Exchange: exchange, Key: key}, secret, d).Problem
	}
	for range 3 {
		require.Empty(t, send(bare, "out", "", secret))
	}
	var got amqp.Delivery
	require.Eventually(t, func() bool {
		var ok bool
		got, ok, err = ch.Get("all", true)
		return err == nil && ok
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, []any{"0190", `{"a":1}`, "application/json", "io.pelton.run.completed.v1"}, []any{got.MessageId, string(got.Body), got.ContentType, got.RoutingKey})
	require.Equal(t, []any{"1.0", "/s", "0190"}, []any{got.Headers["cloudEvents:specversion"], got.Headers["cloudEvents:source"], got.Headers["cloudEvents:id"]})
	require.Equal(t, "no queue is bound to the exchange out for the key other", send(bare, "out", "other", secret))
	require.Contains(t, send(bare, "nowhere", "", secret), "no exchange 'nowhere'")
	wrong := send(bare, "out", "", []byte("user:hunter2"))
	require.NotEmpty(t, wrong)
	require.NotContains(t, wrong, "hunter2")
	require.Empty(t, send(bare, "out", "", secret), "the others are not disturbed")
	require.Equal(t, app.ErrPrivate.Error(), New(false).Send(t.Context(), domain.Sink{URL: bare, Exchange: "out"}, secret, d).Problem)
}
