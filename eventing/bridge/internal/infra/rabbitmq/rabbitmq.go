// Package rabbitmq hands events to exchanges of the user's RabbitMQ, as CloudEvents in binary mode: attributes are
// headers that begin with cloudEvents:, as the platform's own messages have them.
package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

// Sender implements app.Sender. It keeps a connection for each server and user until that ends, or nobody sends for
// a while. Safe for concurrent use.
type Sender struct {
	dialer *net.Dialer

	mu    sync.Mutex
	conns map[string]*connection
}

var _ app.Sender = (*Sender)(nil)

// idle is how long a connection is kept that nobody sends over.
const idle = 5 * time.Minute

type connection struct {
	busy  chan struct{} // holds one while the connection is made or ended
	conn  *amqp.Connection
	close *time.Timer
}

// New makes a sender; private allows addresses of this machine and of private networks.
func New(private bool) *Sender {
	return &Sender{dialer: &net.Dialer{Timeout: 10 * time.Second, Control: app.Reachable(private)}, conns: map[string]*connection{}}
}

// dial connects; the handshake has to be over in time too.
func (s *Sender) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := s.dialer.DialContext(ctx, network, address)
	if err == nil {
		end := time.Now().Add(s.dialer.Timeout)
		if limit, ok := ctx.Deadline(); ok && limit.Before(end) {
			end = limit
		}
		err = conn.SetDeadline(end) // the client takes it off once the connection is open
	}
	return conn, err
}

// Close ends the connections.
func (s *Sender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.close.Stop()
		c.end()
	}
}

// goodbye is how long a server may take to hear that a connection ends.
const goodbye = 3 * time.Second

func (c *connection) end() {
	c.busy <- struct{}{}
	defer func() { <-c.busy }()
	if c.conn != nil {
		_ = c.conn.CloseDeadline(time.Now().Add(goodbye))
		c.conn = nil
	}
}

// drop forgets a connection that nobody has sent over for a while.
func (s *Sender) drop(address string, c *connection) {
	s.mu.Lock()
	if c.close.Stop() { // somebody has taken it just now
		c.close.Reset(idle)
		s.mu.Unlock()
		return
	}
	delete(s.conns, address)
	s.mu.Unlock()
	c.end()
}

var errLate = errors.New("the server did not answer in time")

// open gives the connection to a server as a user. One at a time makes it; who waits for that waits no longer than
// its own time, so that a server that is away holds up nobody's deliveries to others.
func (s *Sender) open(ctx context.Context, address string) (*amqp.Connection, error) {
	s.mu.Lock()
	c := s.conns[address]
	if c == nil {
		c = &connection{busy: make(chan struct{}, 1)}
		c.close = time.AfterFunc(idle, func() { s.drop(address, c) })
		s.conns[address] = c
	}
	c.close.Reset(idle)
	s.mu.Unlock()
	select {
	case c.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, errLate
	}
	defer func() { <-c.busy }()
	if c.conn != nil && !c.conn.IsClosed() {
		return c.conn, nil
	}
	dial := func(network, address string) (net.Conn, error) { return s.dial(ctx, network, address) }
	conn, err := amqp.DialConfig(address, amqp.Config{Heartbeat: 10 * time.Second, Dial: dial, Properties: amqp.Table{"connection_name": "pelton bridge"}})
	if err == nil {
		c.conn = conn
	}
	return conn, err
}

// Send implements app.Sender.
func (s *Sender) Send(ctx context.Context, sink domain.Sink, secret []byte, d domain.Delivery) app.Outcome {
	if err := s.send(ctx, sink, secret, d); err != nil {
		return app.Outcome{Problem: harmless(err.Error())}
	}
	return app.Outcome{}
}

var userInfo = regexp.MustCompile(`://[^@/\s]+@`)

// harmless takes credentials out of a text.
func harmless(text string) string { return userInfo.ReplaceAllString(text, "://") }

// send publishes over a channel of its own, so that what comes back is about this event.
func (s *Sender) send(ctx context.Context, sink domain.Sink, secret []byte, d domain.Delivery) error {
	u, err := url.Parse(sink.URL)
	if err != nil {
		return err
	}
	user, password, _ := strings.Cut(string(secret), ":")
	u.User = url.UserPassword(user, password)
	conn, err := s.open(ctx, u.String())
	if errors.Is(err, app.ErrPrivate) {
		return app.ErrPrivate
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// The client waits for a server's answers without a limit: they end with the connection.
	defer context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now()) })()
	ch, err := conn.Channel()
	if err != nil {
		return late(ctx, err)
	}
	defer ch.Close()
	closed, returned := ch.NotifyClose(make(chan *amqp.Error, 1)), ch.NotifyReturn(make(chan amqp.Return, 1))
	if err := ch.Confirm(false); err != nil {
		return late(ctx, err)
	}
	m, err := publishing(d)
	if err != nil {
		return err
	}
	key := sink.Key
	if key == "" {
		key = d.Type
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, sink.Exchange, key, true, false, m)
	if err != nil {
		return late(ctx, err)
	}
	select {
	case <-confirm.Done():
	case <-ctx.Done():
		return errors.New("the broker did not confirm in time")
	}
	if !confirm.Acked() { // the end of a channel looks like that too, and is told before it
		select {
		case e := <-closed:
			return late(ctx, fmt.Errorf("publish to the exchange %s: %w", sink.Exchange, errorOf(e)))
		default:
			return errors.New("the broker refused the event")
		}
	}
	select { // a message that no queue takes comes back before its confirm
	case _, back := <-returned:
		if back {
			return fmt.Errorf("no queue is bound to the exchange %s for the key %s", sink.Exchange, key)
		}
	default:
	}
	return nil
}

// late is why something failed that the end of the time may have ended.
func late(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errLate
	}
	return err
}

func errorOf(e *amqp.Error) error {
	if e == nil {
		return errors.New("the connection was closed")
	}
	return e
}

// publishing is an event in binary mode.
func publishing(d domain.Delivery) (amqp.Publishing, error) {
	var e map[string]json.RawMessage
	if err := json.Unmarshal(d.Event, &e); err != nil {
		return amqp.Publishing{}, err
	}
	m := amqp.Publishing{MessageId: d.EventID, DeliveryMode: amqp.Persistent, ContentType: "application/json", Type: d.Type, AppId: "pelton", Body: e["data"], Headers: amqp.Table{}}
	for name, raw := range e {
		var text string
		if name != "data" && name != "datacontenttype" && json.Unmarshal(raw, &text) == nil {
			m.Headers["cloudEvents:"+name] = text
		}
	}
	if at, ok := m.Headers["cloudEvents:time"].(string); ok {
		m.Timestamp, _ = time.Parse(time.RFC3339Nano, at) // the bridge wrote it
	}
	return m, nil
}
