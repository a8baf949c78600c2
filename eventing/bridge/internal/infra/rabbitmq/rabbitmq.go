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
	mu    sync.Mutex // held while it is made
	conn  *amqp.Connection
	close *time.Timer
}

// New makes a sender; private allows addresses of this machine and of private networks.
func New(private bool) *Sender {
	return &Sender{dialer: &net.Dialer{Timeout: 10 * time.Second, Control: app.Reachable(private)}, conns: map[string]*connection{}}
}

// dial connects; the handshake has to be over in time too.
func (s *Sender) dial(network, address string) (net.Conn, error) {
	conn, err := s.dialer.Dial(network, address)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(s.dialer.Timeout)) // the client takes it off once the connection is open
	}
	return conn, err
}

// Close ends the connections.
func (s *Sender) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.end()
	}
}

func (c *connection) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// open gives the connection to a server as a user.
func (s *Sender) open(address string) (*amqp.Connection, error) {
	s.mu.Lock()
	c := s.conns[address]
	if c == nil {
		c = &connection{}
		c.close = time.AfterFunc(idle, c.end)
		s.conns[address] = c
	}
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close.Reset(idle)
	if c.conn != nil && !c.conn.IsClosed() {
		return c.conn, nil
	}
	conn, err := amqp.DialConfig(address, amqp.Config{Heartbeat: 10 * time.Second, Dial: s.dial, Properties: amqp.Table{"connection_name": "pelton bridge"}})
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
	conn, err := s.open(u.String())
	if errors.Is(err, app.ErrPrivate) {
		return app.ErrPrivate
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	closed, returned := ch.NotifyClose(make(chan *amqp.Error, 1)), ch.NotifyReturn(make(chan amqp.Return, 1))
	if err := ch.Confirm(false); err != nil {
		return err
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
		return err
	}
	select {
	case <-confirm.Done():
	case e := <-closed:
		return fmt.Errorf("publish to the exchange %s: %w", sink.Exchange, errorOf(e))
	case <-ctx.Done():
		return errors.New("the broker did not confirm in time")
	}
	if !confirm.Acked() {
		return fmt.Errorf("the broker refused the event")
	}
	select { // a message that no queue takes comes back before its confirm
	case <-returned:
		return fmt.Errorf("no queue is bound to the exchange %s for the key %s", sink.Exchange, key)
	default:
		return nil
	}
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
