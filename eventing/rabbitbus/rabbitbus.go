// Package rabbitbus is the bus over RabbitMQ (AMQP 0.9.1). An exchange is declared by its emitter,
// a queue and its bindings by their consumer; both are durable, queues are quorum queues. Messages
// are persistent, publishes are confirmed, deliveries acknowledged once they are dealt with. What
// a consumer gives up goes to the queue <queue>.dead. Connections that end, however they do, are
// made anew until Close; Ready tells what is not at work and why.
package rabbitbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Config of New.
type Config struct {
	// URL is amqp:// or amqps://USER:PASSWORD@HOST:PORT/VHOST, with the query parameters of
	// https://www.rabbitmq.com/docs/uri-query-parameters and credentials_file=PATH: a file that
	// holds USER:PASSWORD and is read anew for each connection, so that they can be changed while
	// the process runs.
	URL string
	// Name shows in the broker's list of connections.
	Name string
	// Emits are the exchanges that this process emits to; they are declared at once, so that
	// consumers can bind their queues.
	Emits []string
	// Expects are the queues of other services that take a message, by exchange and key: it is
	// refused (fault.Unavailable), and so stays in the outbox, until each of them was declared once.
	// A message without an entry is published whether somebody takes it or not.
	Expects map[string]map[string][]string
	Log     *slog.Logger
}

// Bus is a bus; New makes one. Safe for concurrent use.
type Bus struct {
	cfg     Config
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	out, in *link // connections for publishing and for consuming: a broker that holds publishers back must not hold acknowledgements
	pub     *publisher
	parts   sync.WaitGroup

	mu        sync.Mutex
	consumers map[string]*consumer
}

var (
	_ bus.Publisher   = (*Bus)(nil)
	_ bus.Subscriber  = (*Bus)(nil)
	_ bus.DeadLetters = (*Bus)(nil)
)

// patience is how long New and Subscribe wait for the broker; after it they go on in the background.
const patience = 5 * time.Second

// New makes a bus. A broker that does not answer is no error: the bus is not ready until it does.
// A URL that is none, and an exchange that the broker has with other settings, are.
func New(ctx context.Context, cfg Config) (*Bus, error) {
	address, err := parseAddress(cfg.URL)
	if err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg, log: cfg.Log, consumers: map[string]*consumer{}}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.out = &link{address: address, name: cfg.Name + " publishes", ctx: b.ctx}
	b.in = &link{address: address, name: cfg.Name + " consumes", ctx: b.ctx}
	b.pub = newPublisher(b)
	b.parts.Go(b.pub.run)
	b.parts.Go(b.pub.tell)
	select {
	case err = <-b.pub.first:
	case <-time.After(patience):
	case <-ctx.Done():
		err = ctx.Err()
	}
	if fault.Is(err, fault.Conflict) || ctx.Err() != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Publish implements bus.Publisher.
func (b *Bus) Publish(m bus.Message, done func(error)) {
	b.pub.publish(outgoing{Message: m, exchange: m.Exchange, key: m.Key, done: done})
}

// Subscribe implements bus.Subscriber.
func (b *Bus) Subscribe(ctx context.Context, q bus.Queue, h bus.Handler) error {
	q = q.WithDefaults()
	ctx, stop := context.WithCancel(ctx)
	detach := context.AfterFunc(b.ctx, stop)
	c := newConsumer(ctx, b, q, h)
	b.mu.Lock()
	if b.consumers[q.Name] != nil {
		b.mu.Unlock()
		detach()
		stop()
		return fault.New(fault.Conflict, "queue %s is consumed already", q.Name)
	}
	b.consumers[q.Name] = c
	b.mu.Unlock()
	ended := make(chan struct{})
	b.parts.Go(func() {
		defer close(ended)
		defer detach()
		defer stop()
		c.run()
		b.mu.Lock()
		delete(b.consumers, q.Name)
		b.mu.Unlock()
	})
	var err error
	select {
	case err = <-c.first:
	case <-time.After(patience):
	case <-ctx.Done():
		err = ctx.Err()
	}
	if fault.Is(err, fault.Conflict) || ctx.Err() != nil {
		stop()
		<-ended
		return err
	}
	return nil
}

// Ready tells what does not work just now and why, nil when everything does.
func (b *Bus) Ready() error {
	errs := []error{b.pub.ready()}
	b.mu.Lock()
	names := slices.Sorted(maps.Keys(b.consumers))
	for _, name := range names {
		if err := b.consumers[name].ready(); err != nil {
			errs = append(errs, fmt.Errorf("queue %s is not consumed: %w", name, err))
		}
	}
	b.mu.Unlock()
	return errors.Join(errs...)
}

// Close ends consumers, waits for their handlers, and closes the connections. What was not
// confirmed is refused.
func (b *Bus) Close() {
	b.stop()
	b.out.close()
	b.parts.Wait()
	b.in.close()
}

// mismatch makes the error of something that the broker has with other settings a fault.
func mismatch(err error, what string) error {
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.PreconditionFailed {
		return err
	}
	return fault.Wrap(err, fault.Conflict, "bus: the broker has %s with other settings than this version declares: stop its consumers, drain and delete it, and start again", what)
}

// isMissing tells that the broker has no such exchange or queue.
func isMissing(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.NotFound
}

// backoff is the wait between tries to reach the broker, with doubling.
type backoff struct{ wait time.Duration }

const (
	shortest = 100 * time.Millisecond
	longest  = 2 * time.Second
)

func (b *backoff) reset() { b.wait = 0 }

func (b *backoff) next(ctx context.Context) bool {
	b.wait = min(max(b.wait*2, shortest), longest)
	return bus.Wait(ctx, b.wait)
}
