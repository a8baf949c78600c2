// Package app holds the runner's use cases and, in this file, every interface it needs
// from the outside. Adapters live in internal/infra; each runs the port's suite in apptest.
package app

import (
	"context"
	"io"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Deployer makes builds callable on some compute (process, later knative).
//
// Ensure returns once the build can be called, or with a fault that tells why not; it is
// idempotent and may be called concurrently for the same build. It starts nothing that
// costs while idle. Release undoes Ensure once no run and no deployment names the build.
type Deployer interface {
	Ensure(ctx context.Context, project string, b domain.Build) error
	Release(ctx context.Context, project string, digest string) error
}

// Execution is one attempt to be carried out.
type Execution struct {
	ID             string // derived from (run, step, item path, attempt); unique for ever
	Project        string
	Workflow       string
	Run            string
	Step           string
	ItemPath       []int32
	Attempt        int32
	IdempotencyKey string // the same for all attempts of one step run
	Deadline       time.Time
	Limit          time.Duration // that the step or its action declares for one attempt, 0 = none declared
	Inputs         domain.Values // with secrets filled in: never journalled in this form
	Secrets        [][]byte      // values to mask
	Traceparent    string
	Build          domain.Build
	Cursor         []byte // sources
	DynamicOutputs []byte // sources whose metadata leaves their outputs to the workflow: JSON list of definitions
}

// Executor carries out attempts. It never blocks the caller: everything that happens is
// told to the Sink, from one goroutine at a time per execution, in order, ending with
// exactly one call of Ended. Sinks return quickly and never call back into the Executor
// from within a call.
type Executor interface {
	// Start sends the attempt, starting an instance if none is free. At most the build's
	// cap is in flight; the rest waits inside in order of arrival.
	Start(x Execution, s Sink)
	// Attach continues to listen to an attempt that was journalled as started before a
	// crash. It asks every live instance of the build. Found: messages follow as with Start.
	// No instance knows it and none that might have had it died: Ended with Outcome Unknown
	// (it never started; it may be sent again under the same id). One that might have had it
	// is dead, with everything it had started: Outcome Lost.
	Attach(x Execution, s Sink)
	// Cancel tells the attempt to stop: cooperative first, hard after grace.
	Cancel(executionID, reason string, grace time.Duration)
	// Forget tells that the end of the attempt is durable: the instance may drop its messages.
	Forget(executionID string)
}

// Gatherer is an Executor that sends several attempts in one message.
type Gatherer interface {
	// Gather takes an attempt as Start does. It is sent with the next Send, whoever calls that.
	Gather(x Execution, s Sink)
	Send()
}

// Sink receives what happens to one execution.
type Sink interface {
	// Phase tells queued scheduled pulled launched booted loaded prepared started first_byte returned.
	Phase(kind string, at time.Time)
	Log(l domain.LogLine)
	Progress(fraction float64, note string)
	Output(o Output)
	Ended(e Ended)
}

// Output is one result of a processor, or one event of a source.
type Output struct {
	Index    int
	Values   domain.Values
	List     bool // the handler returned a list
	EventSeq uint64
	EventKey string
	Cursor   []byte
}

// Outcome says how an execution ended.
type Outcome int

// The outcomes of an execution.
const (
	Completed Outcome = iota + 1
	Failed
	Cancelled
	Lost    // the instance is gone; the attempt may have had effects; it certainly runs no more
	Unknown // never started anywhere
)

// Ended is the end of one execution.
type Ended struct {
	Outcome  Outcome
	Error    *domain.StepError // for Failed and Cancelled
	Instance string
	Usage    domain.Usage
	List     bool // completed with a list result, possibly empty
	Outputs  int
}

// Files is the content-addressed store of one platform. Blobs live under a project.
// Put is durable when it returns. Digests are "sha256:<hex>".
type Files interface {
	Put(ctx context.Context, project string, r io.Reader) (digest string, size int64, err error)
	Open(ctx context.Context, project, digest string) (io.ReadSeekCloser, int64, error)
	// Keep tells whether a blob is there, and puts it again if so: the collector spares what is young.
	Keep(ctx context.Context, project, digest string) (bool, error)
	// Projects lists the projects that have blobs.
	Projects(ctx context.Context) ([]string, error)
	// Old calls yield with the blobs of a project that were last put before a time.
	Old(ctx context.Context, project string, before time.Time, yield func(digest string, size int64) error) error
	// Remove deletes a blob, unless it was put, or put again, at that time or later, up to this very
	// moment: whoever puts it meanwhile has it.
	Remove(ctx context.Context, project, digest string, since time.Time) (size int64, gone bool, err error)
	// Tidy removes what senders that broke off before a time have left.
	Tidy(ctx context.Context, project string, before time.Time) error
}

// Transfers lets wrappers exchange blobs with the store themselves, by URLs that expire and are good for one
// thing alone. Everything happens inside a project.
type Transfers interface {
	// Fetch gives a URL that a blob is read from with GET.
	Fetch(ctx context.Context, project, digest string) (url string, size int64, err error)
	// Pieces gives what the pieces of an upload from one on are put by, given their sums. The upload
	// is a name of 32 hex digits that its sender chose.
	Pieces(ctx context.Context, project, upload string, first int, sums []Sum) ([]PieceURL, error)
	// Finish makes a blob of that many pieces, whose content it checks. It is durable then, as after Put.
	Finish(ctx context.Context, project, upload, digest string, pieces int) error
	// PieceSize is the size in bytes of every piece but the last.
	PieceSize() int64
}

// PieceURL is what one piece is put by: with PUT and exactly these headers.
type PieceURL struct {
	URL     string
	Headers map[string]string
}

// Cipher seals secrets at rest. The context (project/name) is authenticated with the value,
// so that a row moved elsewhere does not open.
type Cipher interface {
	Seal(plain []byte, context string) ([]byte, error)
	Open(sealed []byte, context string) ([]byte, error)
}

// Schemas checks values against JSON Schemas.
type Schemas interface {
	// Check tells in words where the value departs from the schema, "" if it does not. A schema
	// that cannot be read allows nothing.
	Check(schema []byte, value domain.Value) string
}

// Message is an encoded outgoing message: stored in the outbox in the transaction that
// changes the state, relayed by kit/outbox.
type Message struct {
	ID      string // unique; consumers deduplicate by it
	Key     string // routing key, the message's name
	Payload []byte // marshalled protobuf
}

// Announcer encodes what the runner tells other services. infra/events implements it.
type Announcer interface {
	DeploymentChanged(messageID string, d Deployment) (Message, error)
	EventsArmed(messageID, project string, version int64) (Message, error)
	RunStarted(messageID string, t Told) (Message, error)
	RunEnded(messageID string, t Told) (Message, error)
	StepFailed(messageID string, t Told) (Message, error)
}
