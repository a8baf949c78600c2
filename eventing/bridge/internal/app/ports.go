// Package app holds the bridge's use cases and the ports they need.
package app

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
)

// Message is an encoded outgoing message, stored in the outbox in the transaction that changes the state.
type Message struct {
	ID      string
	Key     string
	Payload []byte
}

// Announcer encodes what the bridge tells other services.
type Announcer interface {
	EventsWanted(messageID, project string, version int64, w domain.Wants) (Message, error)
	EventOccurred(messageID, project string, event []byte) (Message, error)
}

// Interests are all who want events of a project.
type Interests struct {
	Subscriptions []domain.Subscription // that take events
	Triggers      []Trigger
}

// Trigger is what a live workflow's triggers take.
type Trigger struct {
	Workflow   string
	Deployment string
	Types      []string              // patterns of platform events
	Outside    []domain.EventTrigger // those for events from outside
}

// Settle says what is wanted of a project's runner now, and encodes it as a version of that wish. It is called
// in the transaction that changes who wants something.
type Settle func(i Interests, version int64) (domain.Wants, Message, error)

// Store keeps everything. Methods return faults; all may be called concurrently. What changes who wants
// something settles the wish of the project in the same transaction.
type Store interface {
	// AddSubscription is a conflict where the project has one of that name.
	AddSubscription(ctx context.Context, s domain.Subscription, settle Settle) error
	// RemoveSubscription removes it with all its deliveries.
	RemoveSubscription(ctx context.Context, project, id string, settle Settle) error
	// PauseSubscription lets what happens wait, or go out again.
	PauseSubscription(ctx context.Context, project, id string, paused bool) error
	// DisableSubscription ends a subscription for a reason; what waits is given up. "" enables it again.
	DisableSubscription(ctx context.Context, project, id, reason string, settle Settle) error
	Subscriptions(ctx context.Context, project string) ([]domain.Subscription, error)
	// Subscription finds one by its id or name.
	Subscription(ctx context.Context, project, key string) (domain.Subscription, error)

	// SetTrigger notes which events the triggers of a live deployment take, none = it has no such trigger;
	// RemoveTrigger forgets a deployment. An older deployment than the noted one changes nothing.
	SetTrigger(ctx context.Context, project string, t Trigger, settle Settle) error
	RemoveTrigger(ctx context.Context, project, deployment string, settle Settle) error
	// Armed notes that a version of a project's wish is in force.
	Armed(ctx context.Context, project string, version int64) error

	// Record writes what a message of a queue gives rise to, once for each message. f is given those who
	// want events of the project.
	Record(ctx context.Context, queue, messageID, project string, f func(Interests) ([]domain.Delivery, []Message, error)) error

	// Claim takes deliveries that are due for as long as the lease: of each subscription and order the first
	// alone, at most perSubscription under way for each subscription, and limit in all.
	Claim(ctx context.Context, limit, perSubscription int, lease time.Duration) ([]Claimed, error)
	// Delivered ends a delivery; Failed puts it off, or gives it up.
	Delivered(ctx context.Context, d domain.Delivery) error
	Failed(ctx context.Context, d domain.Delivery, reason string, rest time.Duration, dead bool) error

	// Dead lists deliveries that were given up, the oldest first; subscription "" = of all.
	Dead(ctx context.Context, project, subscription, after string, limit int) ([]domain.Delivery, error)
	DeadDelivery(ctx context.Context, project, id string) (domain.Delivery, error)
	// Replay puts dead deliveries back at the end of the line; Drop forgets them. id "" = all of the
	// subscription. They tell how many.
	Replay(ctx context.Context, project, subscription, id string) (int, error)
	Drop(ctx context.Context, project, subscription, id string) (int, error)

	// Crowded lists the subscriptions that take events and for which more than most deliveries wait.
	Crowded(ctx context.Context, most int) ([]Crowd, error)
	// ForgetDead forgets dead letters older than age, and of each subscription the oldest beyond most. It tells how many.
	ForgetDead(ctx context.Context, most int, age time.Duration) (int, error)
}

// Crowd is a subscription for which too much waits.
type Crowd struct{ Project, Subscription string }

// Claimed is a delivery with where it goes.
type Claimed struct {
	domain.Delivery
	Sink   domain.Sink
	Sealed []byte
}

// Sender hands one event over to sinks of a kind. It returns within the context's time and sends once; safe for
// concurrent use.
type Sender interface {
	Send(ctx context.Context, s domain.Sink, secret []byte, d domain.Delivery) Outcome
}

// Outcome is what came of a try.
type Outcome struct {
	Problem    string        // in words, "" = it is delivered
	Gone       bool          // the receiver says that it takes no more, ever
	Final      bool          // trying again is of no use
	RetryAfter time.Duration // the receiver asked to be left alone for so long
}

// Runner is where runs are started.
type Runner interface {
	// Receive starts the runs that an event in the JSON format of CloudEvents starts, with the caller's credential,
	// once for each source and id, and returns when they are durable; with reply, where a workflow replies,
	// when it has, or has not in time. Faults are the runner's own.
	Receive(ctx context.Context, credential, project string, event []byte, reply bool) (Received, error)
}

// Received is what an event started.
type Received struct {
	Runs  []StartedRun
	Reply *Reply // nil = there is none
}

// StartedRun is a run that an event started.
type StartedRun struct {
	Workflow string
	Trigger  string
	Run      string
	Created  bool // false: the event was known
}

// Reply is the event that a workflow replies with.
type Reply struct {
	ID, Source, Type string
	Time             time.Time
	Data             []byte // JSON
}

// Cipher seals secrets at rest; the context is authenticated with them.
type Cipher interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}
