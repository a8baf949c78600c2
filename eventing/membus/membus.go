// Package membus is the bus of one process. Nothing is kept here: a message is confirmed only
// once every bound queue has dealt with it, so the publisher's outbox is the durable store, and
// what was under way at a crash is published again.
package membus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Bus is an in-process bus; New makes one. Safe for concurrent use.
type Bus struct {
	log *slog.Logger

	mu     sync.Mutex
	queues []*queue
	dead   []Dead
}

// Dead is a message that a queue gave up.
type Dead struct {
	Queue   string
	Message bus.Message
	Reason  string
	At      time.Time
}

// New makes a bus.
func New(log *slog.Logger) *Bus { return &Bus{log: log} }

type delivery struct {
	m    bus.Message
	ack  func(error)
	next *delivery
}

type queue struct {
	bus.Queue
	keys map[string]bool
	h    bus.Handler
	ctx  context.Context

	mu         sync.Mutex
	head, tail *delivery
	wake       chan struct{}
}

// Subscribe implements bus.Subscriber.
func (b *Bus) Subscribe(ctx context.Context, q bus.Queue, h bus.Handler) error {
	if q.Prefetch <= 0 {
		q.Prefetch = 1
	}
	if q.MaxTries <= 0 {
		q.MaxTries = 10
	}
	qu := &queue{Queue: q, keys: map[string]bool{}, h: h, ctx: ctx, wake: make(chan struct{}, 1)}
	for _, k := range q.Keys {
		qu.keys[k] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, other := range b.queues {
		if other.Name == q.Name && other.ctx.Err() == nil {
			return fault.New(fault.Conflict, "queue %s is consumed already", q.Name)
		}
	}
	b.queues = append(b.queues, qu)
	context.AfterFunc(ctx, func() { b.end(qu) })
	for range q.Prefetch {
		go b.work(qu)
	}
	return nil
}

// end takes a queue out whose consumer has stopped; what it holds is not confirmed.
func (b *Bus) end(q *queue) {
	b.mu.Lock()
	b.queues = slices.DeleteFunc(b.queues, func(o *queue) bool { return o == q })
	b.mu.Unlock()
	for d := q.pop(); d != nil; d = q.pop() {
		d.ack(q.ctx.Err())
	}
}

// Publish implements bus.Publisher: done comes after every bound queue has dealt with m.
func (b *Bus) Publish(m bus.Message, done func(error)) {
	b.mu.Lock()
	var bound []*queue
	for _, q := range b.queues {
		if q.ctx.Err() == nil && q.Exchange == m.Exchange && q.keys[m.Key] {
			bound = append(bound, q)
		}
	}
	b.mu.Unlock()
	if len(bound) == 0 {
		done(nil)
		return
	}
	var mu sync.Mutex
	left := len(bound)
	var failed error
	ack := func(err error) {
		mu.Lock()
		left--
		failed = errors.Join(failed, err)
		last := left == 0
		mu.Unlock()
		if last {
			done(failed)
		}
	}
	for _, q := range bound {
		q.push(&delivery{m: m, ack: ack})
	}
}

func (q *queue) push(d *delivery) {
	q.mu.Lock()
	if err := q.ctx.Err(); err != nil {
		q.mu.Unlock()
		d.ack(err)
		return
	}
	if q.tail == nil {
		q.head = d
	} else {
		q.tail.next = d
	}
	q.tail = d
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) pop() *delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.head
	if d != nil {
		q.head = d.next
		if q.head == nil {
			q.tail = nil
		} else {
			q.signal() // another worker may take the next
		}
	}
	return d
}

func (b *Bus) work(q *queue) {
	for {
		d := q.pop()
		if d == nil {
			select {
			case <-q.ctx.Done():
				return
			case <-q.wake:
				continue
			}
		}
		d.ack(b.deliver(q, d.m))
	}
}

// deliver hands m to the handler until it is dealt with. An error means: not dealt with, since
// the consumer stopped; the publisher keeps the message.
func (b *Bus) deliver(q *queue, m bus.Message) error {
	wait := 20 * time.Millisecond
	for try := 1; ; try++ {
		if err := q.ctx.Err(); err != nil {
			return err
		}
		err := q.h(q.ctx, m)
		if err == nil {
			return nil
		}
		if q.ctx.Err() != nil {
			return q.ctx.Err()
		}
		if fault.Is(err, fault.Invalid) || try >= q.MaxTries {
			b.log.Error("message given up", "queue", q.Name, "key", m.Key, "id", m.ID, "tries", try, "err", err)
			b.mu.Lock()
			b.dead = append(b.dead, Dead{Queue: q.Name, Message: m, Reason: err.Error(), At: time.Now()})
			b.mu.Unlock()
			return nil
		}
		b.log.Warn("message is tried again", "queue", q.Name, "key", m.Key, "id", m.ID, "try", try, "err", err)
		select {
		case <-q.ctx.Done():
			return q.ctx.Err()
		case <-time.After(wait):
		}
		wait = min(wait*2, 10*time.Second)
	}
}

// Dead lists the messages that were given up since the start.
func (b *Bus) Dead() []Dead {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Dead(nil), b.dead...)
}

// Replay hands a dead message to its queue again.
func (b *Bus) Replay(messageID, queueName string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, d := range b.dead {
		if d.Message.ID != messageID || d.Queue != queueName {
			continue
		}
		for _, q := range b.queues {
			if q.Name == queueName && q.ctx.Err() == nil {
				b.dead = append(b.dead[:i], b.dead[i+1:]...)
				q.push(&delivery{m: d.Message, ack: func(error) {}})
				return nil
			}
		}
		return fault.New(fault.Unavailable, "queue %s has no consumer", queueName)
	}
	return fault.New(fault.NotFound, "no dead message %s of queue %s", messageID, queueName)
}
