// Package bus holds the ports of asynchronous messages between services: a topic exchange owned
// by its emitter, and queues owned by their consumers. Delivery is at least once.
package bus

import (
	"context"
	"time"
)

// Message is one message of an exchange.
type Message struct {
	ID       string // UUIDv7; consumers deduplicate by it
	Exchange string // the emitter's proto package, "studio.v1"
	Key      string // the message's name, "WorkflowDeployed"
	Body     []byte // protobuf
	Headers  map[string]string
	At       time.Time
}

// Publisher hands messages to the bus.
type Publisher interface {
	// Publish hands the message over and calls done once, from any goroutine: nil when the
	// message is safe (confirmed), else the error after which it may be published again.
	// It does not block on consumers. Messages of one publisher to one queue keep their order.
	Publish(m Message, done func(error))
}

// Handler deals with one message. nil acknowledges; fault.Invalid goes to the dead letters at
// once; any other error is tried again later, and goes to the dead letters after MaxTries.
type Handler func(ctx context.Context, m Message) error

// Queue is a consumer's queue and its binding.
type Queue struct {
	Name     string   // "<consumer>.<message>"
	Exchange string   // what it is bound to
	Keys     []string // message names
	Prefetch int      // messages dealt with at a time. Defaults to 1, which keeps their order
	MaxTries int      // Defaults to 10
}

// Subscriber receives messages.
type Subscriber interface {
	// Subscribe declares the queue and starts to deliver; it returns at once. Deliveries end
	// when ctx does; unacknowledged messages are delivered again later.
	Subscribe(ctx context.Context, q Queue, h Handler) error
}
