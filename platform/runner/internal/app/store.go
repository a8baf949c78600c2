package app

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Journal makes what happens to runs durable. One writer per incarnation commits in
// groups: what gathered while the last transaction was in flight is the next one.
type Journal interface {
	// Append queues entries and returns at once. Entries of one run are committed in the
	// order given. Each entry's Committed is called exactly once, from the writer's
	// goroutine, in order; it must return quickly. An unreachable database is retried until
	// it answers or Run's context ends; a row that the database refuses fails alone.
	Append(entries ...*Entry)
	// Run writes until ctx is done, then fails what is queued with ErrStopped.
	// It returns ErrFenced when another incarnation has taken over.
	Run(ctx context.Context) error
	// Stalled is why nothing could be written for a second or more, nil while writing works.
	Stalled() error
}

// Entry is one journal row, with what must be committed together with it.
type Entry struct {
	Run       string // UUIDv7: its time decides the partition
	Seq       int64  // from 1, without gaps
	Row       []byte
	Start     *RunSummary // the run's first row
	Dedup     *Dedup      // with Start
	Cursor    *SourceCursor
	Rate      *RateUse        // what the start of the run takes
	End       *RunSummary     // the run's last row
	Waited    bool            // with End: the run has slept, waited for somebody or has a snapshot, of which rows may be left
	Snapshot  []byte          // the run's state with this row, for a take-over; it replaces the one before
	Command   string          // the inbox command that this row carries out
	State     domain.RunState // what lists show from now on, "" = as before
	Sleep     *Sleep          // from now on the run only waits, and may leave memory
	Wake      bool            // it does not only wait any more
	Messages  []Message       // what others are told, in this order
	Waits     []Wait          // who is waited for from now on, and who is not any more
	Committed func(e *Entry, err error)
}

// Dedup is a key that a run may be started with once. A known key fails the entry with
// ErrDuplicate.
type Dedup struct {
	Scope   string // project and workflow, or deployment and trigger
	Key     string
	Body    []byte // hash of what was ordered with it
	Expires time.Time
}

// Sleep says when a run that only waits goes on by itself.
type Sleep struct {
	Due   time.Time
	Holds []byte // the place that it holds meanwhile, for an heir
}

// Wait is a step run that waits for a signal or a person.
type Wait struct {
	Project  string
	Workflow string
	Run      string
	Step     string
	Path     []int32
	Kind     string // signal | approval | consent | lost
	Text     string // the signal's name, the question
	Since    time.Time
	Due      time.Time // zero = without end
	Over     bool
}

// WaitQuery selects what is waited for, the oldest first.
type WaitQuery struct {
	Project string
	Run     string   // "" = all
	Kinds   []string // empty = all
	After   string   // cursor
	Limit   int
}

// SourceCursor is how far a source has come.
type SourceCursor struct {
	Deployment string
	Trigger    string
	Cursor     []byte
}

// LiveRun is a run that has not ended, as a take-over finds it.
type LiveRun struct {
	RunSummary
	// Snapshot is its state after the row SnapshotSeq (see domain.State.Restore), nil and 0 = none.
	Snapshot    []byte
	SnapshotSeq int64
	Rows        [][]byte // its journal after the snapshot, by seq
	LastLog     int64    // cursor of its last log record
	Logged      []LogCount
	Owner       int64 // fence of the incarnation that acts for it
	Asleep      bool  // it only waits
	// Held tells why nothing of it goes on until it is released, "" = it does.
	Held string
}

// LogCount is how many log records of an attempt are durable: after a take-over the
// executor tells them again.
type LogCount struct {
	Step    string
	Path    []int32
	Attempt int32
	Lines   int64
}

// InboxCommand is an order to a run.
type InboxCommand struct {
	ID      string
	Run     string
	Kind    string // cancel | signal | decision | pause | resume
	Reason  string
	Payload []byte // JSON, by Kind
	At      time.Time
}

// SealedSecret is a secret at rest.
type SealedSecret struct {
	Project   string
	Name      string
	Sealed    []byte
	UpdatedAt time.Time
}

// LogChunk holds log records of one attempt, in order. Chunks of attempts that run side by
// side overlap in their cursors.
type LogChunk struct {
	Run     string
	Step    string
	Path    []int32
	Attempt int32
	Cursors []int64 // one a line, rising
	Lines   []domain.LogLine
}

// Store is everything of the runner's database but the journal's writer. Methods return
// faults; not_found where a single thing is asked for. All may be called concurrently.
type Store interface {
	Replicas
	History
	FileIndex
	// Unfinished calls yield with those of the named runs that have not ended, oldest first.
	// Reading journals is safe only for who has claimed the runs.
	Unfinished(ctx context.Context, runs []string, yield func(LiveRun) error) error
	// LiveRun gives one run that has not ended, or ErrNoLiveRun.
	LiveRun(ctx context.Context, id string) (LiveRun, error)
	// Sleeping lists an incarnation's runs that only wait and are due before the given time, the earliest first.
	Sleeping(ctx context.Context, owner int64, before time.Time, limit int) (ids []string, err error)
	// CountRuns counts what a query finds, whatever its Limit and Cursor.
	CountRuns(ctx context.Context, q RunQuery) (int, error)
	// Failures and Cost aggregate ended runs.
	Failures(ctx context.Context, project, workflow string, since time.Time, limit int) ([]FailureGroup, error)
	Cost(ctx context.Context, project, workflow string, since, until time.Time, byDay bool) ([]CostRow, error)
	// PutBulk inserts an order; BulkProgress writes how far it is and tells whether it goes on.
	PutBulk(ctx context.Context, b Bulk) error
	BulkProgress(ctx context.Context, b Bulk) (going bool, err error)
	// Bulks lists a project's orders, newest first; all projects' if it is empty.
	Bulks(ctx context.Context, project string, limit int) ([]Bulk, error)
	// StopBulk ends an order that is under way; not_found if there is none.
	StopBulk(ctx context.Context, project, id string) error
	// SpentRates tells what durable starts have taken of a project's rates, by key: how long a bucket takes to
	// be full again. Full ones are left out.
	SpentRates(ctx context.Context, project string) (map[string]time.Duration, error)
	// Waits lists what is waited for.
	Waits(ctx context.Context, q WaitQuery) ([]Wait, error)
	// Cached gives outputs that were kept and have not expired.
	Cached(ctx context.Context, project, build, key string, now time.Time) (outputs []byte, found bool, err error)
	// PutCached keeps outputs; what has expired goes.
	PutCached(ctx context.Context, project, build, key string, outputs []byte, expires time.Time) error
	// Commands lists the inbox of some runs, the oldest first.
	Commands(ctx context.Context, runs ...string) ([]InboxCommand, error)
	// AddCommand makes a command durable; a known id changes nothing.
	AddCommand(ctx context.Context, c InboxCommand) error
	// EnsurePartitions makes the partitions for the given day and the 7 after it.
	EnsurePartitions(ctx context.Context, now time.Time) error

	RunSummary(ctx context.Context, project, id string) (RunSummary, error)
	RunRows(ctx context.Context, id string) ([][]byte, error)
	LastRow(ctx context.Context, id string) ([]byte, error)
	Runs(ctx context.Context, q RunQuery) ([]RunSummary, error)
	FindDedup(ctx context.Context, scope, key string) (run string, body []byte, found bool, err error)
	SourceCursor(ctx context.Context, deployment, trigger string) ([]byte, error)

	// Schedule tells how far a schedule has come, found = false if it has never fired.
	Schedule(ctx context.Context, project, workflow, trigger string) (s Schedule, found bool, err error)
	// PutSchedule moves a schedule on; an earlier due time than the kept one changes nothing.
	PutSchedule(ctx context.Context, s Schedule) error

	AppendLogs(ctx context.Context, chunks []LogChunk) error
	Logs(ctx context.Context, q LogQuery) ([]LogRecord, error)

	// SaveDeployment inserts a deployment with its definition and those that share with it; a known id
	// changes nothing. What shares has no state of its own: it is shown with its leader's.
	SaveDeployment(ctx context.Context, d Deployment) (inserted bool, err error)
	// UpdateDeployments lets change see the live deployments of a workflow, sets the states that it
	// answers and puts its messages into the outbox, in one transaction; one at a time for each
	// workflow. change may be called again.
	UpdateDeployments(ctx context.Context, project, workflow string, change func(live []Deployment) ([]Deployment, []Message, error)) error
	Deployment(ctx context.Context, id string) (Deployment, error)
	Deployments(ctx context.Context, project string, all bool) ([]Deployment, error)
	// Standing lists the deployments of all projects that are deploying or live.
	Standing(ctx context.Context) ([]Deployment, error)
	// Needed lists those, and the deployments of runs that have not ended.
	Needed(ctx context.Context) ([]Deployment, error)
	// StandingMarks is a text for each live deployment that changes when it does: cheap to compare.
	StandingMarks(ctx context.Context) ([]string, error)

	// Caps gives the caps of every project that has some; PutCaps replaces a project's.
	Caps(ctx context.Context) (map[string]Caps, error)
	PutCaps(ctx context.Context, project string, c Caps) error
	// Release lets a held run of a project go on; it gives the run's deployment, "" if it was not held.
	Release(ctx context.Context, project, run string) (deployment string, err error)
	// Paused lists the paused workflows of all projects; PutPaused and DeletePaused change one.
	Paused(ctx context.Context) ([]PausedWorkflow, error)
	PutPaused(ctx context.Context, p PausedWorkflow) error
	DeletePaused(ctx context.Context, project, workflow string) error

	// Wants gives which events of which projects are told. PutWants notes it for a project, unless a later
	// version was noted before, and puts the answer into the outbox either way.
	Wants(ctx context.Context) (map[string]Wants, error)
	PutWants(ctx context.Context, project string, w Wants, version int64, told Message) error

	Secrets(ctx context.Context) ([]SealedSecret, error)
	PutSecret(ctx context.Context, s SealedSecret) error
	DeleteSecret(ctx context.Context, project, name string) error
	Variables(ctx context.Context) (map[string][]Variable, error)
	PutVariable(ctx context.Context, project string, v Variable) error
	DeleteVariable(ctx context.Context, project, name string) error
}
