package rabbitbus

import (
	"context"
	"errors"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// deliveryLimit is how often the broker delivers a message whose consumer ends, or loses its
// connection, before it acknowledges: high enough that no trouble of the network reaches it, so
// that only a message that kills its consumer does.
const deliveryLimit = 200

// deadQueue is the queue of what a queue's consumer gave up.
func deadQueue(queue string) string { return queue + ".dead" }

// arguments are how a queue is declared. They never change: a queue is not declared anew with others.
func arguments(q bus.Queue) amqp.Table {
	t := amqp.Table{
		"x-queue-type":              "quorum",
		"x-delivery-limit":          deliveryLimit,
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": deadQueue(q.Name),
		"x-dead-letter-strategy":    "at-least-once",
		"x-overflow":                "reject-publish", // which that strategy asks for
	}
	if !q.Shared {
		t["x-single-active-consumer"] = true
	}
	return t
}

// deadArguments: looking at dead letters delivers them, and must never use them up.
func deadArguments() amqp.Table {
	return amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
}

// handling is a message that the handler deals with, or has dealt with while the broker does not
// know it yet.
type handling struct {
	done    chan struct{}
	stopped error // the consumer stopped first; written before done is closed
}

// consumer keeps a queue consumed.
type consumer struct {
	b     *Bus
	q     bus.Queue
	h     bus.Handler
	ctx   context.Context
	first chan error // how the first try ended
	slots chan struct{}
	work  sync.WaitGroup

	mu    sync.Mutex
	down  error // why it does not consume
	under map[string]*handling
}

func newConsumer(ctx context.Context, b *Bus, q bus.Queue, h bus.Handler) *consumer {
	return &consumer{b: b, q: q, h: h, ctx: ctx, first: make(chan error, 1), slots: make(chan struct{}, q.Prefetch),
		down: errors.New("not connected yet"), under: map[string]*handling{}}
}

func (c *consumer) ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

// set notes why it does not consume, nil when it does, and gives what was noted before.
func (c *consumer) set(down error) (last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, c.down = c.down, down
	return last
}

// run consumes until ctx ends, and waits for the handlers.
func (c *consumer) run() {
	defer c.work.Wait()
	var wait backoff
	for c.ctx.Err() == nil {
		err := c.consume(wait.reset)
		if c.ctx.Err() != nil {
			return
		}
		if last := c.set(err); last == nil || err.Error() != last.Error() {
			c.b.log.Warn("bus: not consuming", "queue", c.q.Name, "err", err)
		}
		report(c.first, err)
		if !wait.next(c.ctx) {
			return
		}
	}
}

// consume takes deliveries over one channel until that, or ctx, ends.
func (c *consumer) consume(began func()) error {
	conn, err := c.b.in.get()
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close() // what is not acknowledged is delivered again, to us or another
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := c.declare(ch); err != nil {
		return err
	}
	if err := ch.Qos(c.q.Prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(c.q.Name, c.q.Name, false, false, false, false, nil)
	if err != nil {
		return err
	}
	began()
	_ = c.set(nil)
	report(c.first, nil)
	for {
		select {
		case <-c.ctx.Done():
			_ = ch.Cancel(c.q.Name, false) // nothing new comes, while
			c.work.Wait()                  // acknowledgements of handlers that end well still get through
			return c.ctx.Err()
		case d, ok := <-deliveries:
			if !ok {
				return reason(closed)
			}
			c.work.Go(func() { c.deal(&d) })
		}
	}
}

// reason is why the deliveries of a channel ended.
func reason(closed <-chan *amqp.Error) error {
	select {
	case err := <-closed:
		if err != nil {
			return err
		}
	default:
	}
	return errors.New("the broker stopped delivering: the queue was deleted or has no leader")
}

func (c *consumer) declare(ch *amqp.Channel) error {
	if _, err := ch.QueueDeclare(c.q.Name, true, false, false, false, arguments(c.q)); err != nil {
		return mismatch(err, "the queue "+c.q.Name)
	}
	for _, key := range c.q.Keys {
		err := ch.QueueBind(c.q.Name, key, c.q.Exchange, false, nil)
		if isMissing(err) {
			return fault.Wrap(err, fault.Unavailable, "exchange %s is not there: the service that emits to it declares it when it starts", c.q.Exchange)
		}
		if err != nil {
			return err
		}
	}
	// Last: where it is, publishers know that the queue is bound.
	_, err := ch.QueueDeclare(deadQueue(c.q.Name), true, false, false, false, deadArguments())
	return mismatch(err, "the queue "+deadQueue(c.q.Name))
}

// deal deals with one delivery. A message that is under way already, since its first delivery's
// channel has ended, is not handed to the handler a second time.
func (c *consumer) deal(d *amqp.Delivery) {
	m := decode(d)
	c.mu.Lock()
	h, found := c.under[m.ID]
	if !found {
		h = &handling{done: make(chan struct{})}
		c.under[m.ID] = h
	}
	c.mu.Unlock()
	if !found {
		h.stopped = c.handle(m)
		close(h.done)
	}
	<-h.done
	if h.stopped != nil || d.Ack(false) == nil {
		c.forget(m.ID, h)
	}
}

// remembered bounds the messages that were dealt with while their acknowledgement did not get
// through: their next delivery forgets them, unless another process has it.
const remembered = 10_000

func (c *consumer) forget(id string, h *handling) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under[id] == h {
		delete(c.under, id)
	}
	if len(c.under) > remembered {
		for id, h := range c.under {
			select {
			case <-h.done:
				delete(c.under, id)
			default:
			}
		}
	}
}

// handle hands m to the handler until it is dealt with. An error means: not yet, we are stopping.
func (c *consumer) handle(m bus.Message) error {
	select {
	case c.slots <- struct{}{}:
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
	defer func() { <-c.slots }()
	dead, err := bus.Deliver(c.ctx, c.q, c.h, m, c.b.log)
	if err != nil {
		return err
	}
	if dead == nil {
		return nil
	}
	return c.b.pub.hand(c.ctx, deadQueue(c.q.Name), encodeDead(dead))
}
