package rabbitbus_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/eventing/rabbitbus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

const patience = time.Minute

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !check(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never came: %s", what)
		}
	}
}

func message(exchange, key string) bus.Message {
	return bus.Message{ID: id.New(), Exchange: exchange, Key: key, Body: []byte("body"), Headers: map[string]string{"traceparent": "00-1-2-01"}, At: time.Now()}
}

// publish publishes until it is confirmed, as an outbox does.
func publish(t *testing.T, b *rabbitbus.Bus, m bus.Message) {
	t.Helper()
	eventually(t, "the confirmation", func() bool { return try(t, b, m) == nil })
}

func try(t *testing.T, b *rabbitbus.Bus, m bus.Message) error {
	t.Helper()
	done := make(chan error, 1)
	b.Publish(m, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("done was never called")
		return nil
	}
}

// names of exchange and queue that no other test has.
func names() (exchange, queue string) {
	name := "t" + strings.ReplaceAll(id.New(), "-", "")
	return name + ".v1", name + ".Thing"
}

func consume(t *testing.T, b *rabbitbus.Bus, exchange, queue string) <-chan bus.Message {
	t.Helper()
	got := make(chan bus.Message, 1000)
	require.NoError(t, b.Subscribe(t.Context(), bus.Queue{Name: queue, Exchange: exchange, Keys: []string{"Thing"}}, func(_ context.Context, m bus.Message) error {
		got <- m
		return nil
	}))
	return got
}

func await(t *testing.T, got <-chan bus.Message, want string) {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case m := <-got:
			if m.ID == want { // one from before may come again: at least once
				return
			}
		case <-end:
			t.Fatal("the message never came")
		}
	}
}

// TestTrouble: after each trouble the same bus is at work again, without a restart, and while it is
// not it says so.
func TestTrouble(t *testing.T) {
	t.Parallel()
	s := rabbittest.New(t)
	p := newProxy(t, s.Addr())
	exchange, queue := names()
	b := open(t, rabbitbus.Config{URL: strings.Replace(s.URL(), s.Addr(), p.addr(), 1), Emits: []string{exchange}})
	got := consume(t, b, exchange, queue)
	ctl := func(args ...string) {
		_, err := s.Ctl(t.Context(), args...)
		require.NoError(t, err)
	}
	// Emitting and consuming have a connection each, and each notices by itself: what is waited for is that both said so.
	notReady := func(want string) {
		t.Helper()
		eventually(t, "the bus is not ready: "+want, func() bool {
			err := b.Ready()
			return err != nil && strings.Contains(err.Error(), want) && strings.Contains(err.Error(), "queue "+queue+" is not consumed: ")
		})
		require.True(t, fault.Is(try(t, b, message(exchange, "Thing")), fault.Unavailable))
	}
	for _, trouble := range []struct {
		name string
		make func()
	}{
		{"none", func() {}},
		{"the broker restarts", func() {
			s.StopBroker()
			notReady("cannot be used")
			require.NoError(t, s.Restart(t.Context()))
		}},
		{"the broker loses its power", func() {
			s.Kill()
			notReady("cannot be used")
			require.NoError(t, s.Restart(t.Context()))
		}},
		{"the broker closes the connections", func() { ctl("close_all_connections", "test") }},
		{"the connections are cut", p.cut},
		{"the network swallows everything", func() {
			p.freeze()
			notReady("")
			p.thaw()
		}},
		{"the queue is deleted", func() {
			ctl("delete_queue", queue)
			eventually(t, "it is declared again", func() bool {
				out, err := s.Ctl(t.Context(), "list_queues", "name")
				return err == nil && strings.Contains(out, queue+"\n") && b.Ready() == nil
			})
		}},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			trouble.make()
			m := message(exchange, "Thing")
			publish(t, b, m)
			await(t, got, m.ID)
			eventually(t, "the bus is ready", func() bool { return b.Ready() == nil })
		})
	}
}

// TestNothingOvertakes: who does not know yet that a message was refused gets nothing past it, although
// the broker is back.
func TestNothingOvertakes(t *testing.T) {
	t.Parallel()
	s := rabbittest.New(t)
	exchange, queue := names()
	b := open(t, rabbitbus.Config{URL: s.URL(), Emits: []string{exchange}})
	consume(t, b, exchange, queue)
	s.StopBroker()
	eventually(t, "the bus is not ready", func() bool { return b.Ready() != nil })

	first, second, go1 := make(chan error, 1), make(chan error, 1), make(chan struct{})
	b.Publish(message(exchange, "Thing"), func(err error) { <-go1; first <- err })
	require.NoError(t, s.Restart(t.Context()))
	eventually(t, "the bus is ready", func() bool { return b.Ready() == nil })
	b.Publish(message(exchange, "Thing"), func(err error) { second <- err })
	close(go1)
	require.Error(t, <-first)
	require.Error(t, <-second, "it was published before it was told that the first one was refused")
	publish(t, b, message(exchange, "Thing"))
}

// TestCredentials: a user's password changes while the process runs.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := rabbittest.New(t)
	ctl := func(args ...string) {
		_, err := s.Ctl(t.Context(), args...)
		require.NoError(t, err)
	}
	ctl("add_user", "studio", "first")
	ctl("set_permissions", "studio", ".*", ".*", ".*")
	file := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(file, []byte("studio:first\n"), 0o600))
	exchange, queue := names()
	b := open(t, rabbitbus.Config{URL: "amqp://" + s.Addr() + "/?credentials_file=" + url.QueryEscape(file), Emits: []string{exchange}})
	got := consume(t, b, exchange, queue)
	require.NoError(t, b.Ready())

	ctl("change_password", "studio", "second")
	ctl("close_all_connections", "rotated")
	eventually(t, "it says that it is refused", func() bool {
		err := b.Ready()
		return err != nil && strings.Contains(err.Error(), "not allowed")
	})
	require.NoError(t, os.WriteFile(file, []byte("studio:second\n"), 0o600))
	eventually(t, "the bus is ready", func() bool { return b.Ready() == nil })
	m := message(exchange, "Thing")
	publish(t, b, m)
	await(t, got, m.ID)
}

// TestStartsBeforeTheBroker: a bus that starts first is not ready, and is at work once the broker is there.
func TestStartsBeforeTheBroker(t *testing.T) {
	t.Parallel()
	s := rabbittest.New(t)
	s.StopBroker()
	exchange, queue := names()
	b := open(t, rabbitbus.Config{URL: s.URL(), Emits: []string{exchange}})
	got := consume(t, b, exchange, queue)
	require.ErrorContains(t, b.Ready(), "cannot be used")
	require.NoError(t, s.Restart(t.Context()))
	eventually(t, "the bus is ready", func() bool { return b.Ready() == nil })
	m := message(exchange, "Thing")
	publish(t, b, m)
	await(t, got, m.ID)
}

// TestAnyOrder: a consumer waits for the exchange of its emitter, an emitter keeps what has a
// consumer until that has declared its queue.
func TestAnyOrder(t *testing.T) {
	at := rabbittest.Shared(t).URL()
	exchange, queue := names()
	consumer := open(t, rabbitbus.Config{URL: at})
	got := consume(t, consumer, exchange, queue)
	require.ErrorContains(t, consumer.Ready(), "queue "+queue+" is not consumed: exchange "+exchange+" is not there")

	_, later := names()
	emitter := open(t, rabbitbus.Config{URL: at, Emits: []string{exchange}, Expects: map[string]map[string][]string{exchange: {"Thing": {queue, later}}}})
	eventually(t, "the consumer is ready", func() bool { return consumer.Ready() == nil })
	m := message(exchange, "Thing")
	err := try(t, emitter, m)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.ErrorContains(t, err, "queue "+later+" was never declared")
	// What comes in one go with it, as from an outbox, is held up where it goes to that queue, too, and not else.
	kept, behind, other := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	emitter.Publish(m, func(err error) { kept <- err })
	emitter.Publish(message(exchange, "Thing"), func(err error) { behind <- err })
	emitter.Publish(message(exchange, "Other"), func(err error) { other <- err })
	require.Error(t, <-kept)
	require.Error(t, <-behind)
	require.NoError(t, <-other)
	require.NoError(t, emitter.Ready(), "a consumer that was never started is no reason for an emitter not to be ready")
	require.NoError(t, try(t, emitter, message(exchange, "Other")), "nobody is expected to take it")

	second := consume(t, consumer, exchange, later)
	publish(t, emitter, m)
	await(t, got, m.ID)
	await(t, second, m.ID)

	// A binding that is gone is noticed too.
	raw := channel(t, at)
	for _, q := range []string{queue, later} {
		require.NoError(t, raw.QueueUnbind(q, "Thing", exchange, nil))
	}
	require.ErrorContains(t, try(t, emitter, m), "no queue is bound to Thing of exchange "+exchange)
}

// channel is a plain channel, as another system has it.
func channel(t *testing.T, at string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(at)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// TestMismatch: what is there with other settings is an error at the start that says what to do.
func TestMismatch(t *testing.T) {
	at := rabbittest.Shared(t).URL()
	exchange, queue := names()
	require.NoError(t, channel(t, at).ExchangeDeclare(exchange, "direct", true, false, false, false, nil))
	_, err := rabbitbus.New(t.Context(), rabbitbus.Config{URL: at, Emits: []string{exchange}, Log: slog.New(slog.DiscardHandler)})
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.ErrorContains(t, err, "the exchange "+exchange+" with other settings")
	require.ErrorContains(t, err, "delete it, and start again")

	exchange, _ = names()
	_, err = channel(t, at).QueueDeclare(queue, true, false, false, false, nil)
	require.NoError(t, err)
	b := open(t, rabbitbus.Config{URL: at, Emits: []string{exchange}})
	err = b.Subscribe(t.Context(), bus.Queue{Name: queue, Exchange: exchange, Keys: []string{"Thing"}}, func(context.Context, bus.Message) error { return nil })
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.ErrorContains(t, err, "the queue "+queue+" with other settings")
	require.ErrorContains(t, err, "inequivalent arg")
}

func TestAddress(t *testing.T) {
	for at, want := range map[string]string{
		"http://127.0.0.1":                        "is no AMQP URL",
		"amqp://":                                 "is no AMQP URL",
		"amqp://h?heartbeat=often":                "is no AMQP URL",
		"amqp://h?credentials_file=/not/there":    "credentials_file cannot be read",
		"amqp://h?credentials_file=" + os.DevNull: "does not hold USER:PASSWORD",
	} {
		_, err := rabbitbus.New(t.Context(), rabbitbus.Config{URL: at, Log: slog.New(slog.DiscardHandler)})
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", at, err)
		require.ErrorContains(t, err, want, at)
	}
}

// TestWire: what others see of a message: a CloudEvent in binary mode, durable, in a quorum queue.
func TestWire(t *testing.T) {
	at := rabbittest.Shared(t).URL()
	exchange, queue := names()
	b := open(t, rabbitbus.Config{URL: at, Emits: []string{exchange}})
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, b.Subscribe(ctx, bus.Queue{Name: queue, Exchange: exchange, Keys: []string{"Thing"}, Shared: true}, func(context.Context, bus.Message) error { return nil }))
	stop()
	ch := channel(t, at)
	eventually(t, "nobody consumes", func() bool {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err == nil && q.Consumers == 0
	})
	m := message(exchange, "Thing")
	publish(t, b, m)
	var d amqp.Delivery
	eventually(t, "the message is there", func() bool {
		var ok bool
		var err error
		d, ok, err = ch.Get(queue, true)
		return err == nil && ok
	})
	delete(d.Headers, "x-delivery-count") // the broker's own
	service := strings.TrimSuffix(exchange, ".v1")
	require.Equal(t, amqp.Table{
		"traceparent": "00-1-2-01", "cloudEvents:specversion": "1.0", "cloudEvents:id": m.ID, "cloudEvents:source": "/" + service,
		"cloudEvents:type": exchange + ".Thing", "cloudEvents:time": m.At.UTC().Format(time.RFC3339Nano),
	}, d.Headers)
	require.Equal(t, []any{amqp.Persistent, m.ID, "application/protobuf", "body", exchange, "Thing"},
		[]any{d.DeliveryMode, d.MessageId, d.ContentType, string(d.Body), d.Exchange, d.RoutingKey})
}

// TestDeadlyMessage: a message that ends its consumer each time is given up by the broker, with its reason.
func TestDeadlyMessage(t *testing.T) {
	at := rabbittest.Shared(t).URL()
	exchange, queue := names()
	b := open(t, rabbitbus.Config{URL: at, Emits: []string{exchange}})
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, b.Subscribe(ctx, bus.Queue{Name: queue, Exchange: exchange, Keys: []string{"Thing"}, Shared: true}, func(context.Context, bus.Message) error { return nil }))
	stop()
	m := message(exchange, "Thing")
	publish(t, b, m)
	ch := channel(t, at)
	eventually(t, "the broker gives it up", func() bool {
		for range 50 {
			if d, ok, err := ch.Get(queue, false); err == nil && ok {
				require.NoError(t, d.Nack(false, true))
			}
		}
		letters, err := b.Dead(t.Context(), queue)
		return err == nil && len(letters) == 1
	})
	letters, err := b.Dead(t.Context(), queue)
	require.NoError(t, err)
	require.Equal(t, []string{m.ID, exchange, "Thing"}, []string{letters[0].ID, letters[0].Exchange, letters[0].Key})
	require.Contains(t, letters[0].Reason, "its consumer ended or lost its connection")
	got := make(chan bus.Message, 1)
	require.NoError(t, b.Subscribe(t.Context(), bus.Queue{Name: queue, Exchange: exchange, Keys: []string{"Thing"}, Shared: true}, func(_ context.Context, m bus.Message) error {
		got <- m
		return nil
	}))
	require.NoError(t, b.Replay(t.Context(), queue, m.ID))
	await(t, got, m.ID)
}

// proxy is the network between bus and broker.
type proxy struct {
	t  *testing.T
	l  net.Listener
	to string

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // closed when bytes flow again; nil when they do
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{t: t, l: l, to: to}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, up)
			p.mu.Unlock()
			go p.copy(up, c)
			go p.copy(c, up)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen != nil {
			<-frozen
			return // what was swallowed never arrives
		}
		if err == nil {
			_, err = io.Copy(to, strings.NewReader(string(buf[:n])))
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

func (p *proxy) thaw() {
	p.mu.Lock()
	close(p.frozen)
	p.frozen = nil
	p.mu.Unlock()
	p.cut()
}
