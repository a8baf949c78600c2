// Package membus is the bus of one process. Nothing but dead letters is kept here: a message is
// confirmed only once every bound queue has dealt with it, so the publisher's outbox is the
// durable store, and what was under way at a crash is published again.
package membus

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Bus is an in-process bus; New makes one. Safe for concurrent use.
type Bus struct {
	DeadLetters
	log *slog.Logger

	mu     sync.Mutex
	queues []*queue
}

var (
	_ bus.Publisher   = (*Bus)(nil)
	_ bus.Subscriber  = (*Bus)(nil)
	_ bus.DeadLetters = (*Bus)(nil)
)

// New makes a bus that keeps its dead letters in a folder, which need not be there.
func New(deadDir string, log *slog.Logger) *Bus {
	return &Bus{DeadLetters: DeadLetters{Dir: deadDir}, log: log}
}

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
	q = q.WithDefaults()
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
	go b.replay(qu)
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
	dead, err := bus.Deliver(q.ctx, q.Queue, q.h, m, b.log)
	for wait := time.Second; dead != nil; {
		if err = b.put(dead); err == nil {
			return nil
		}
		b.log.Error("a dead letter cannot be kept", "queue", q.Name, "id", m.ID, "err", err)
		if !bus.Wait(q.ctx, wait) {
			return q.ctx.Err()
		}
	}
	return err
}

// replay hands letters to the queue that somebody wants dealt with again, until its consumer stops.
func (b *Bus) replay(q *queue) {
	under := map[string]bool{}
	var mu sync.Mutex
	for {
		letters, err := b.read(q.Name, again)
		if err != nil {
			b.log.Error("dead letters cannot be read", "queue", q.Name, "err", err)
		}
		for _, l := range letters {
			mu.Lock()
			known := under[l.ID]
			under[l.ID] = true
			mu.Unlock()
			if known {
				continue
			}
			q.push(&delivery{m: l.Message, ack: func(err error) {
				if err == nil {
					err = os.Remove(b.file(q.Name, l.ID, again))
				}
				if err != nil && q.ctx.Err() == nil {
					b.log.Error("a dead letter that was replayed stays", "queue", q.Name, "id", l.ID, "err", err)
				}
				mu.Lock()
				delete(under, l.ID)
				mu.Unlock()
			}})
		}
		if !bus.Wait(q.ctx, time.Second) {
			return
		}
	}
}
