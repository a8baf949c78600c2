package app

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// UseCases lists what the edge may ask of the runner. *Service is its implementation
// (app.New(Config, Deps) and Run(ctx)); every method is safe for concurrent use and
// returns faults (kit/fault): not_found, invalid, conflict, unavailable …
type UseCases interface {
	// Deploy makes a revision live: compiles it, ensures its builds, supersedes the
	// workflow's earlier deployment. Idempotent by Deployment.ID. A definition that cannot
	// be run is recorded as failed with the reason and told by DeploymentChanged; that is
	// not an error of Deploy. The record is durable when it returns.
	Deploy(ctx context.Context, d DeployWorkflow) error
	// Undeploy stops new runs. Runs under way go on. An unknown deployment is no error.
	Undeploy(ctx context.Context, project, deploymentID string) error
	// Deployments lists a project's deployments, newest first; live only unless all.
	Deployments(ctx context.Context, project string, all bool) ([]Deployment, error)
	Deployment(ctx context.Context, project, id string) (Deployment, error)
	// WantEvents notes which events of a project are told as messages, and tells that it is so.
	WantEvents(ctx context.Context, project string, w Wants, version int64) error
	// RunEnded starts the workflows of the project whose triggers of the kind workflow-end take the run's
	// end, once for each. Unavailable: call again; what was started is not started twice.
	RunEnded(ctx context.Context, e EndedRun) error
	// PlatformEvent does the same for triggers of the kind platform-event, and an event in the JSON format of
	// CloudEvents. A workflow is told of others' runs and deployments, not of its own.
	PlatformEvent(ctx context.Context, project string, event []byte) error
	// ReceiveEvent starts a run for each trigger of the kind cloudevent that takes the event, once for each source
	// and id of events, and returns when they are durable; with reply, where one
	// replies, when it has, or has not in time. After an error it may be called again. Unprocessable: the event does not fit a workflow that takes it.
	ReceiveEvent(ctx context.Context, project string, event []byte, reply bool) ([]EventStarted, *EventReply, error)
	// Live is the in-memory list of all live deployments, for trigger routers. changed is
	// closed when the list is no longer current. It never blocks.
	Live() (list []Deployment, changed <-chan struct{})

	// Refresh brings Live's list up to what other replicas have made live or stopped just now. It
	// is for callers who miss something there, and costs one small query at most 20 times a second.
	Refresh(ctx context.Context) error

	// StartRun makes a run durable and returns at once; the run goes on by itself. With Await a run of the deployment that
	// was named may yet become durable; Outcome tells.
	StartRun(ctx context.Context, s StartRun) (StartedRun, error)
	// Await blocks until the run has ended or ctx is done.
	Await(ctx context.Context, project, runID string) (RunResult, error)
	// Outcome is Await for a run that was just started; also when it has ended meanwhile it asks nobody. The run is durable
	// when it returns a result or ctx's error; any other error may also mean that it was not started.
	Outcome(ctx context.Context, project string, started StartedRun) (RunResult, error)
	// Result answers at once: State tells whether the run has ended.
	Result(ctx context.Context, project, runID string) (RunResult, error)
	// Render fills in JSON whose strings hold ${…} over an ended run (its inputs, steps, run,
	// trigger, vars): for answers to callers. Secrets are refused.
	Render(ctx context.Context, project, runID string, template domain.Value) (domain.Value, error)
	// Cancel orders the end of a run; durable when it returns. commandID makes it idempotent
	// ("" = a new one), here and in the orders below. An order to an ended run is a conflict.
	Cancel(ctx context.Context, project, runID, commandID, reason string) error
	// Signal sends a signal that a wait step of the run takes, now or when it gets there. The
	// payload is checked against the step's schema.
	Signal(ctx context.Context, project, runID, commandID, name string, payload domain.Value) error
	// Decide answers a step that waits for a person. A step that does not is a conflict.
	Decide(ctx context.Context, project, runID, commandID string, d Decision) error
	// Pause lets what is under way end and starts nothing new, until Resume.
	Pause(ctx context.Context, project, runID, commandID, reason string) error
	Resume(ctx context.Context, project, runID, commandID string) error
	// Retry starts a new run that keeps what an ended one has finished.
	Retry(ctx context.Context, o RetryRun) (StartedRun, error)
	// Again starts a new run with the inputs of an earlier one, edited.
	Again(ctx context.Context, o RunAgain) (StartedRun, error)
	// Failures groups failed runs by cause; Cost sums what runs have used, by workflow and day.
	Failures(ctx context.Context, project, workflow string, since time.Time, limit int) ([]FailureGroup, error)
	Cost(ctx context.Context, project, workflow string, since, until time.Time, byDay bool) ([]CostRow, error)
	// BulkOrder orders something for every run that a query finds; plan only counts them.
	BulkOrder(ctx context.Context, kind string, q RunQuery, plan bool) (Bulk, int, error)
	// BackfillOrder orders the runs of a schedule's due times in a range; plan only counts them.
	BackfillOrder(ctx context.Context, project string, f Backfill, plan bool) (Bulk, int, error)
	Bulks(ctx context.Context, project string, limit int) ([]Bulk, error)
	StopBulk(ctx context.Context, project, id string) error
	// Retention tells how long ended runs of a project are kept; PutRetention sets the project's own,
	// 0 = as long as the server says.
	Retention(ctx context.Context, project string) (Kept, error)
	PutRetention(ctx context.Context, project string, keep time.Duration) error
	// DeleteRun removes an ended run with all that is kept of it. One that has not ended, or whose
	// parent has not, is a conflict.
	DeleteRun(ctx context.Context, project, run string) error
	// Waits lists the steps of a project's runs that wait for a signal or a person, the oldest first.
	Waits(ctx context.Context, q WaitQuery) (items []Wait, nextCursor string, err error)

	Runs(ctx context.Context, q RunQuery) (items []RunSummary, nextCursor string, err error)
	GetRun(ctx context.Context, project, runID string) (RunDetail, error)
	// Given tells exactly what an attempt of a step run was started with, for debugging. Secret
	// inputs are masked unless they are asked for; who reads them is written to the log.
	Given(ctx context.Context, q GivenQuery) (GivenInputs, error)
	// Logs pages through the log of a run in order of arrival; After is the cursor of the
	// page before, 0 at first.
	Logs(ctx context.Context, q LogQuery) (LogPage, error)
	// Watch streams what happens to a run from now on (call it first, then GetRun, and nothing
	// is missed), until it has ended (the channel is
	// then closed) or ctx is done. A slow reader loses events but never the last one:
	// on "resync" it should call GetRun again.
	Watch(ctx context.Context, project, runID string) (<-chan RunEvent, error)
	// WatchProject streams the starts, ends and log records of all runs of a project from now
	// on until ctx is done. A slow reader loses events and gets "resync".
	WatchProject(ctx context.Context, project string) <-chan ProjectEvent

	// PauseWorkflow lets a workflow start no runs until ResumeWorkflow; those under way go on.
	PauseWorkflow(ctx context.Context, project, workflow, reason string) error
	ResumeWorkflow(ctx context.Context, project, workflow string) error
	// Paused tells from memory whether a workflow is paused; Live tells when that has changed.
	Paused(project, workflow string) (PausedWorkflow, bool)
	// Caps bounds how many action steps of a project are under way at a time.
	Caps(ctx context.Context, project string) (Caps, error)
	PutCaps(ctx context.Context, project string, c Caps) error

	SecretNames(ctx context.Context, project string) ([]SecretInfo, error)
	PutSecret(ctx context.Context, project, name, value string) error
	DeleteSecret(ctx context.Context, project, name string) error
	Variables(ctx context.Context, project string) ([]Variable, error)
	PutVariable(ctx context.Context, project, name string, value domain.Value) error
	DeleteVariable(ctx context.Context, project, name string) error

	// TriggerSecret gives the secret that requests to a trigger are signed with.
	TriggerSecret(project, name string) (string, error)
	// SourceSettings evaluates a source trigger's settings, whose expressions read variables and
	// secrets; hide are the values to mask.
	SourceSettings(project string, t domain.TriggerSpec) (settings domain.Values, hide [][]byte, err error)
	// HoldSource tells whether this replica is to keep a source running, by its place (project,
	// workflow and trigger): one replica does at a time. Ask again when Live's list changes.
	HoldSource(ctx context.Context, place string) (mine bool, err error)
	// SourceCursor is the last durable cursor of a source trigger of what listens (Deployment.Listens), nil at first.
	SourceCursor(ctx context.Context, listener, trigger string) ([]byte, error)

	// Schedule tells how far the schedule of a workflow's trigger has come, found = false if it
	// has never fired. PutSchedule moves it on, never back; durable when it returns.
	Schedule(ctx context.Context, project, workflow, trigger string) (s Schedule, found bool, err error)
	PutSchedule(ctx context.Context, s Schedule) error
	// Schedules lists the schedules of a project's live deployments with their next due times.
	Schedules(ctx context.Context, project string) ([]ScheduleView, error)
}

// DeployWorkflow orders that a revision be made live.
type DeployWorkflow struct {
	ID         string // UUIDv7 of the deployment
	Project    string
	Definition domain.Definition
	At         time.Time
	Weight     int     // with Shares: how many of 100 new runs are of the definition
	Shares     []Share // of the same workflow, who take the others; the weights sum to 100
}

// The states of a deployment.
const (
	DeploymentDeploying = "deploying"
	DeploymentLive      = "live"
	DeploymentFailed    = "failed"
	DeploymentStopped   = "stopped"
)

// Deployment is one revision made live, or on its way there or past it.
type Deployment struct {
	ID         string
	Project    string
	State      string
	Reason     string // in words, empty when live
	CreatedAt  time.Time
	ChangedAt  time.Time
	Definition domain.Definition
	Weight     int     // how many of 100 new runs are its own, 0 = all
	Shares     []Share // who take the others while it is live: it alone has triggers that listen
	Leader     string  // the deployment that this one shares with and whose state it has, "" = it stands for itself
	Listener   string  // see Listens, "" = its own id
}

// Trigger is what started a run.
type Trigger struct {
	Kind string // http | cron | manual | source | workflow-end …
	ID   string // the trigger's id in the workflow, empty for manual
}

// TriggerWorkflowEnd is the kind of triggers that start a run when one of another workflow has ended.
const TriggerWorkflowEnd = "workflow-end"

// StartRun orders a run. Either Inputs are given, or Event, from which the trigger's
// `inputs:` mapping makes them (given Inputs win over the mapping).
type StartRun struct {
	Project  string
	Workflow string // its live deployment; or
	// DeploymentID pins one deployment, live or superseded but not stopped by hand. Who shares its new runs
	// may get this one.
	DeploymentID   string
	Inputs         domain.Values
	Trigger        Trigger
	Event          domain.Value // JSON object, root `trigger` in expressions and `event` in the mapping
	IdempotencyKey string       // scope (project, workflow); the same key with other inputs is a conflict
	EventKey       string       // unique per (deployment, trigger), for cron per (workflow, trigger); a second one returns the first's run
	Cursor         []byte       // sources: committed with the run
	Traceparent    string
	Await          bool // the caller asks for the Outcome next, and acknowledges nothing before

	id      string        // derived ids of runs that runs start, "" = a new one
	offers  domain.Values // inputs that are given if the workflow has them
	retried domain.Value  // with keep: that run's event
	keep    *domain.State // the run whose finished steps are kept
	from    string        // with keep: the step from which on everything runs again
	retryOf string        // the run that this one repeats
	parent  string        // the run that starts it
	exact   bool          // nobody that shares with the deployment gets it
	beside  string        // the revision that gets it if it takes new runs, whatever its weight
}

// RetryRun orders a run that goes on where an earlier one failed.
type RetryRun struct {
	Project string
	Run     string // an ended one
	From    string // the step from which on everything runs again, "" = from what failed
	Newest  bool   // follow the workflow's live revision instead of the run's own
	Key     string // idempotency key
}

// StartedRun is the answer to StartRun.
type StartedRun struct {
	ID         string
	State      domain.RunState
	Created    bool // false: the idempotency or event key was known, ID is that run
	Deployment string
	CreatedAt  time.Time

	run    *liveRun   // as it was in memory, for Outcome
	begins *beginning // with StartRun.Await: it may not be durable yet, nil = it is
}

// RunResult is how far a run is, with its result once it has ended.
type RunResult struct {
	ID       string
	Workflow string
	State    domain.RunState
	Result   domain.Values     // completed
	Error    *domain.StepError // failed, cancelled
	Step     string            // the step that failed
}

// RunQuery selects runs, newest first.
type RunQuery struct {
	Project  string
	Workflow string // "" = all
	State    domain.RunState
	States   []domain.RunState // any of these; besides State
	From     time.Time         // created at or after
	To       time.Time         // created before
	Error    string            // part of the error's message, in any case
	Kind     string            // the error's kind
	Group    string            // the fingerprint of failures of one cause
	Trigger  string            // the trigger's kind
	Inputs   []string          // name=value of small plain inputs, all of them
	RetryOf  string            // runs that repeat this one
	Limit    int               // 0 = 50, at most 1000
	Cursor   string            // of the page before
}

// RunSummary is one run in a list.
type RunSummary struct {
	ID         string
	Project    string
	Workflow   string
	Revision   int
	RevisionID string
	Deployment string
	State      domain.RunState
	Trigger    Trigger
	CreatedAt  time.Time
	FinishedAt time.Time // zero while it lives
	ErrorKind  string
	Error      string
	ErrorStep  string

	Fingerprint string   // groups failures of one cause
	RetryOf     string   // the run that this one repeats
	Parent      string   // with its start: the run that started it
	Tags        []string // with its start: small plain inputs as name=value
	CPUMicros   int64    // of all attempts, once it has ended
	GiBSeconds  float64  // memory times time, likewise
}

// RunDetail is one run with everything that happened to it.
type RunDetail struct {
	RunSummary
	Inputs domain.Values
	Result domain.Values
	Failed *domain.StepError
	Steps  []StepRun // in the order of the file, then by item path
	// Handler is the run of the workflow's failure handler, or why there is none.
	Handler   string
	NotUndone int       // step runs whose undo failed
	Wait      *WaitView // what a queued run waits for
	Reason    string    // why it is paused
	Parent    *Parent   // the run that started it, nil = none did
}

// Parent is the run whose step called this one, whose failure this one handles, or whose end started it.
type Parent struct {
	Run      string `json:"run"`
	Workflow string `json:"workflow"`
	Step     string `json:"step"` // the step that called it, or that failed
}

// StepRun is one passage through a step.
type StepRun struct {
	Step       string
	Title      string
	Uses       string
	ItemPath   []int32
	State      domain.StepState
	Reason     string // why it waits or was skipped, in words
	Items      int    // forEach and fan-out: number of items, -1 = not a list
	StartedAt  time.Time
	FinishedAt time.Time
	Inputs     domain.Values   // secrets show as "•••"
	Outputs    []domain.Values // of a running list: what has come so far
	List       bool            // Outputs is a list result; else at most one entry
	Error      *domain.StepError
	Attempts   []Attempt
	Kind       string    // action | workflow | wait | switch | collect
	Wait       *WaitView // what it waits for, nil = it does not
	Caught     bool      // Error was caught
	Child      string    // the run of a sub-workflow
	Undoes     string    // the step that this one takes back
}

// WaitView is what a step run waits for.
type WaitView struct {
	Kind     string // retry | time | signal | approval | consent | lost | slot | cache | pass
	Text     string // the signal's name, the question, the key
	Until    time.Time
	HeldBy   []string // slot: runs that hold the places
	Position int      // slot: place in the queue from 1, 0 = not known
	// Form is what an approval asks for besides yes or no, and Approvers who may decide: user
	// names, key:<name> or role:<role>; empty = everyone who may operate runs.
	Form      []domain.Item
	Approvers []string
}

// Attempt is one try of a step run.
type Attempt struct {
	Number     int32
	State      domain.AttemptState
	Execution  string
	Instance   string
	StartedAt  time.Time
	FinishedAt time.Time
	Phases     []domain.Phase
	Error      *domain.StepError
	Usage      domain.Usage
	Progress   float64
	Note       string
}

// LogQuery selects log records of a run.
type LogQuery struct {
	Project  string
	Run      string
	Step     string  // "" = all
	ItemPath []int32 // nil = all
	Attempt  int32   // 0 = all
	After    int64   // cursor
	Limit    int     // 0 = 1000, at most 10000
}

// LogPage is one page of log records.
type LogPage struct {
	Records []LogRecord
	Next    int64 // pass as After
	More    bool  // there is more already
	Ended   bool  // the run has ended and nothing more will come
}

// LogRecord is one record with where it comes from.
type LogRecord struct {
	Cursor   int64
	Step     string
	ItemPath []int32
	Attempt  int32
	domain.LogLine
}

// OutputPart is one result of an attempt, as it came.
type OutputPart struct {
	Attempt int32
	Index   int           // its place among the attempt's results, from 0
	List    bool          // one of a list, which more may follow
	Values  domain.Values // passwords show as "•••"
}

// RunEvent is one thing that happened to a watched run.
type RunEvent struct {
	Kind     string // run | step | attempt | phase | progress | output | log | resync
	Run      *RunSummary
	Step     *StepRun    // step: without inputs and outputs
	Attempt  *Attempt    // attempt, phase, progress: with StepID and ItemPath
	Output   *OutputPart // output: with StepID and ItemPath
	StepID   string
	ItemPath []int32
	Log      *LogRecord
}

// SecretInfo names a secret; its value never leaves.
type SecretInfo struct {
	Name      string
	UpdatedAt time.Time
}

// Variable is one project variable.
type Variable struct {
	Name      string
	Value     domain.Value
	UpdatedAt time.Time
}
