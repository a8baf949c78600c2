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
	// It does not block on consumers, and done must not block. Messages of one publisher to one
	// queue keep their order as long as none is refused.
	Publish(m Message, done func(error))
}

// Handler deals with one message. nil acknowledges; fault.Invalid goes to the dead letters at
// once; fault.Unavailable says that something the handler needs is away, and is tried again until
// it is back; any other error is tried again later, and goes to the dead letters after MaxTries.
type Handler func(ctx context.Context, m Message) error

// Queue is a consumer's queue and its binding.
type Queue struct {
	Name     string   // "<consumer>.<message>"
	Exchange string   // what it is bound to
	Keys     []string // message names
	Prefetch int      // messages dealt with at a time. Defaults to 1, which keeps their order
	MaxTries int      // Defaults to 10
	// Shared lets several processes consume at a time. Without it one does and the others stand
	// by, which keeps the order of messages across processes too.
	Shared bool
}

// Subscriber receives messages.
type Subscriber interface {
	// Subscribe declares the queue and starts to deliver; it waits for no message, and not until a
	// broker that is away is back. A queue that this process consumes already is fault.Conflict,
	// and so is one that the broker has with other settings. Deliveries end when ctx does;
	// unacknowledged messages are delivered again later.
	Subscribe(ctx context.Context, q Queue, h Handler) error
}

// Dead is a message that a queue gave up.
type Dead struct {
	Message
	Queue  string
	Reason string    // of the last try, or why the broker gave it up
	Tries  int       // 0 = unknown
	DiedAt time.Time // zero = unknown
}

// DeadLetters are the messages that queues gave up. Safe for concurrent use.
type DeadLetters interface {
	// Dead lists those of a queue, oldest first; an unknown queue has none.
	Dead(ctx context.Context, queue string) ([]Dead, error)
	// Replay hands one to its queue again, as new. fault.NotFound: the queue gave up no such message.
	Replay(ctx context.Context, queue, messageID string) error
	// Drop forgets one for good. fault.NotFound: the queue gave up no such message.
	Drop(ctx context.Context, queue, messageID string) error
}
