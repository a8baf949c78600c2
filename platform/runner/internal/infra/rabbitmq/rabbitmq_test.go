package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

func TestMain(m *testing.M) { rabbittest.Main(m) }

// runs starts runs in memory, once for each key.
type runs struct {
	mu      sync.Mutex
	values  domain.Values
	started []string // event bodies
	keys    map[string]string
	away    int // starts that fail before one works
	ends    map[string]domain.RunState
}

func (*runs) Live() ([]app.Deployment, <-chan struct{}) {
	return []app.Deployment{{ID: "d", Project: "p", Definition: domain.Definition{Workflow: "w", Triggers: []domain.TriggerSpec{{ID: "t", Uses: Kind}}}}}, nil
}

func (*runs) Paused(string, string) (app.PausedWorkflow, bool) { return app.PausedWorkflow{}, false }

func (*runs) HoldSource(context.Context, string) (bool, error) { return true, nil }

func (r *runs) SourceSettings(string, domain.TriggerSpec) (domain.Values, [][]byte, error) {
	return r.values, nil, nil
}

func (r *runs) StartRun(_ context.Context, s app.StartRun) (app.StartedRun, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away > 0 {
		r.away--
		return app.StartedRun{}, fault.New(fault.Unavailable, "away")
	}
	if id, ok := r.keys[s.EventKey]; ok && s.EventKey != "" {
		return app.StartedRun{ID: id}, nil
	}
	var e struct{ Body json.RawMessage }
	if err := json.Unmarshal(s.Event, &e); err != nil {
		return app.StartedRun{}, err
	}
	if string(e.Body) == `"refused"` {
		return app.StartedRun{}, fault.New(fault.Invalid, "it does not fit")
	}
	r.started = append(r.started, string(e.Body))
	id := fmt.Sprint("run", len(r.started))
	r.keys[s.EventKey] = id
	return app.StartedRun{ID: id, Created: true}, nil
}

func (r *runs) Await(ctx context.Context, _, id string) (app.RunResult, error) {
	for {
		r.mu.Lock()
		end := r.ends[id]
		r.mu.Unlock()
		if end != "" {
			return app.RunResult{ID: id, State: end}, nil
		}
		if !rest(ctx, 5*time.Millisecond) {
			return app.RunResult{}, ctx.Err()
		}
	}
}

func (r *runs) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.started)
}

// broker is a user's RabbitMQ.
type broker struct {
	*testing.T
	ch  *amqp.Channel
	url string
}

func newBroker(t *testing.T) broker {
	t.Helper()
	urls, err := rabbittest.Shared(t).Tenant(t.Context(), map[string]rabbittest.Permissions{"user": {Configure: ".*", Write: ".*", Read: ".*"}})
	require.NoError(t, err)
	conn, err := amqp.Dial(urls["user"])
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return broker{t, ch, urls["user"]}
}

func (b broker) queue(name string) {
	b.Helper()
	_, err := b.ch.QueueDeclare(name, true, false, false, false, nil)
	require.NoError(b, err)
}

func (b broker) send(exchange, key, id, body string) {
	b.Helper()
	require.NoError(b, b.ch.PublishWithContext(b.Context(), exchange, key, false, false, amqp.Publishing{MessageId: id, DeliveryMode: amqp.Persistent, Body: []byte(body)}))
}

// waiting is how many messages a queue has that nobody was given.
func (b broker) waiting(queue string) int {
	b.Helper()
	q, err := b.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(b, err)
	return q.Messages
}

// manage lets a manager work until the function that it gives is called.
func manage(t *testing.T, r *runs) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = New(r, slog.New(slog.NewTextHandler(t.Output(), nil))).Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func settingsOf(t *testing.T, with map[string]any) domain.Values {
	t.Helper()
	out := domain.Values{}
	for k, v := range with {
		data, err := json.Marshal(v)
		require.NoError(t, err)
		out[k] = data
	}
	return out
}

// TestQueue: each message starts a run and is acknowledged then, also while the runner is away for a moment and
// over a restart; what no run can be made of goes to the dead letter queue.
func TestQueue(t *testing.T) {
	b := newBroker(t)
	b.queue("orders")
	r := &runs{values: settingsOf(t, map[string]any{"url": b.url, "queue": "orders", "prefetch": 4, "deadLetter": "orders.dead"}), keys: map[string]string{}, away: 3}
	stop := manage(t, r)
	for i := range 20 {
		b.send("", "orders", fmt.Sprint("m", i), fmt.Sprintf(`{"n":%d}`, i))
	}
	b.send("", "orders", "m3", `{"n":3}`) // again
	b.send("", "orders", "bad", "refused")
	require.Eventually(t, func() bool { return r.count() == 20 }, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { return b.waiting("orders.dead") == 1 }, time.Minute, 10*time.Millisecond)
	d, ok, err := b.ch.Get("orders.dead", true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []any{"refused", "bad", "orders"}, []any{string(d.Body), d.MessageId, d.Headers["x-pelton-queue"]})
	require.Contains(t, d.Headers["x-pelton-reason"], "it does not fit")
	stop()
	require.Eventually(t, func() bool { return b.waiting("orders") == 0 }, time.Minute, 10*time.Millisecond, "everything was acknowledged")
	b.send("", "orders", "later", `{"n":99}`)
	manage(t, r)
	require.Eventually(t, func() bool { return r.count() == 21 }, time.Minute, 10*time.Millisecond)
}

// TestCompleted: with ack: completed a message stays until its run has completed, over a restart; a failed run's
// is rejected.
func TestCompleted(t *testing.T) {
	b := newBroker(t)
	require.NoError(t, b.ch.ExchangeDeclare("shop", "topic", true, false, false, false, nil))
	r := &runs{values: settingsOf(t, map[string]any{"url": b.url, "exchange": "shop", "keys": []string{"order.*"}, "ack": "completed", "prefetch": 1}), keys: map[string]string{}, ends: map[string]domain.RunState{}}
	stop := manage(t, r)
	require.Eventually(t, func() bool {
		b.send("shop", "order.paid", "1", "text")
		return r.count() == 1
	}, time.Minute, 20*time.Millisecond, "the queue is bound")
	b.send("shop", "other", "2", "text")
	stop()
	require.Eventually(t, func() bool { return b.waiting("pelton.p.w.t") > 0 }, time.Minute, 10*time.Millisecond, "it comes again")
	manage(t, r)
	r.mu.Lock()
	r.ends["run1"], r.ends["run2"] = domain.RunCompleted, domain.RunFailed
	r.mu.Unlock()
	b.send("shop", "order.new", "3", "more")
	require.Eventually(t, func() bool { return r.count() == 2 && b.waiting("pelton.p.w.t") == 0 }, time.Minute, 10*time.Millisecond)
	require.Equal(t, []string{`"text"`, `"more"`}, r.started)
}

func TestSettings(t *testing.T) {
	for text, says := range map[string]string{`{"url":"amqp://h","queue":"q"}`: "", `{"url":"http://h","queue":"q"}`: "url is no amqp://", `{"queue":"q"}`: "url is no amqp://", `{"url":7}`: "cannot be read"} {
		v := domain.Values{}
		require.NoError(t, json.Unmarshal([]byte(text), &v))
		s, err := read(v, "p/w/t")
		if says == "" {
			require.NoError(t, err)
			require.Equal(t, []any{16, ackDurable, "q"}, []any{s.Prefetch, s.Ack, s.Queue})
			continue
		}
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, "connect amqp://h:5672/v failed", harmless("connect amqp://me:secret@h:5672/v failed"))
}

func TestEventOf(t *testing.T) {
	for _, c := range []struct {
		d    amqp.Delivery
		want string
	}{
		{amqp.Delivery{Body: []byte(`{"a":1}`), RoutingKey: "k", Exchange: "x", MessageId: "m", Headers: amqp.Table{"h": "v", "n": int32(3), "t": amqp.Table{}}},
			`{"queue":"q","exchange":"x","routing_key":"k","redelivered":false,"message_id":"m","headers":{"h":"v","n":3},"body":{"a":1}}`},
		{amqp.Delivery{Body: []byte(`7 apples`)}, `{"queue":"q","exchange":"","routing_key":"","redelivered":false,"headers":{},"body":"7 apples"}`},
		{amqp.Delivery{Body: []byte(`7`), ContentType: "text/plain"}, `{"queue":"q","exchange":"","routing_key":"","redelivered":false,"content_type":"text/plain","headers":{},"body":"7"}`},
		{amqp.Delivery{Body: []byte{0xff}}, `{"queue":"q","exchange":"","routing_key":"","redelivered":false,"headers":{},"body_base64":"/w=="}`},
	} {
		got, err := eventOf(&c.d, "q")
		require.NoError(t, err)
		require.JSONEq(t, c.want, string(got))
	}
	_, err := eventOf(&amqp.Delivery{Body: []byte("{"), ContentType: "application/json"}, "q")
	require.True(t, fault.Is(err, fault.Invalid))
}
