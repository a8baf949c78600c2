package domain

import (
	"encoding/json"
	"time"
)

// Definition is one immutable revision of a workflow as the studio deployed it: checked,
// with builds pinned. Expressions are still text; Compile (app) turns it into a Plan.
type Definition struct {
	Workflow   string            `json:"workflow"`
	RevisionID string            `json:"revision_id"`
	Revision   int               `json:"revision"`
	Title      string            `json:"title,omitempty"`
	Inputs     []Item            `json:"inputs,omitempty"`
	Triggers   []TriggerSpec     `json:"triggers,omitempty"`
	Steps      []StepSpec        `json:"steps,omitempty"`
	Result     map[string]string `json:"result,omitempty"` // name -> text as written, with ${}
	Builds     []Build           `json:"builds,omitempty"`
	Timeout    time.Duration     `json:"timeout,omitempty"` // of a run, 0 = 7 days
	YAML       string            `json:"yaml,omitempty"`

	Priority       int             `json:"priority,omitempty"`        // -100..100, higher starts first
	IdempotencyKey json.RawMessage `json:"idempotency_key,omitempty"` // value as written, nil = none
	Concurrency    *LimitSpec      `json:"concurrency,omitempty"`     // of runs
	RateLimit      *RateSpec       `json:"rate_limit,omitempty"`      // of starts of runs
	OnFailure      string          `json:"on_failure,omitempty"`      // workflow that is started for a failed run
	Durability     string          `json:"durability,omitempty"`      // strict | none, "" = strict
	Retention      time.Duration   `json:"retention,omitempty"`       // of ended runs, 0 = as long as the project says
}

// LimitSpec says how many with one key may be under way at a time.
type LimitSpec struct {
	Key    json.RawMessage `json:"key,omitempty"`    // value as written, nil = one key for all
	Limit  int             `json:"limit,omitempty"`  // 0 = 1
	Policy string          `json:"policy,omitempty"` // queue | skip | cancel-oldest, "" = queue; runs only
}

// RateSpec is a token bucket.
type RateSpec struct {
	Key   json.RawMessage `json:"key,omitempty"` // value as written, nil = one bucket for all
	Count int             `json:"count"`
	Per   time.Duration   `json:"per"`
	Burst int             `json:"burst,omitempty"` // 0 = Count
}

// TriggerSpec is one entry of a workflow that starts runs.
type TriggerSpec struct {
	ID     string                     `json:"id"`
	Uses   string                     `json:"uses"`            // http | cron | a source action as written
	Build  string                     `json:"build,omitempty"` // sources: the pinned build
	With   json.RawMessage            `json:"with,omitempty"`
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"` // workflow input -> JSON as written, over event.*
}

// StepSpec is one step as written.
type StepSpec struct {
	ID      string                     `json:"id"`
	Title   string                     `json:"title,omitempty"`
	Kind    string                     `json:"kind"` // action | workflow | wait | switch | collect, "" = action
	Uses    string                     `json:"uses"`
	Build   string                     `json:"build"` // pinned digest
	With    map[string]json.RawMessage `json:"with,omitempty"`
	Needs   []string                   `json:"needs,omitempty"`
	If      string                     `json:"if,omitempty"`
	Join    string                     `json:"join,omitempty"` // all | any | a number
	ForEach *ForEachSpec               `json:"for_each,omitempty"`
	Timeout time.Duration              `json:"timeout,omitempty"` // 0 = the build's, else 1 h
	Retry   *RetrySpec                 `json:"retry,omitempty"`

	Workflow    string              `json:"workflow,omitempty"` // kind workflow: its name
	Detach      bool                `json:"detach,omitempty"`   // kind workflow: its end is not waited for
	Wait        *WaitSpec           `json:"wait,omitempty"`
	Switch      string              `json:"switch,omitempty"` // expression as written
	Cases       map[string][]string `json:"cases,omitempty"`  // value as text -> steps
	Default     []string            `json:"default,omitempty"`
	Collect     string              `json:"collect,omitempty"` // kind collect: the step whose passages are gathered
	Loop        *LoopSpec           `json:"loop,omitempty"`
	Catch       []CatchSpec         `json:"catch,omitempty"`        // the first that covers the kind counts
	StepTimeout time.Duration       `json:"step_timeout,omitempty"` // of a step run with all its attempts, 0 = none
	Undo        *UndoSpec           `json:"undo,omitempty"`
	Effect      string              `json:"effect,omitempty"` // "" = the build's
	Cache       *CacheSpec          `json:"cache,omitempty"`
	Approval    *ApprovalSpec       `json:"approval,omitempty"`    // asked before the first attempt
	Concurrency *LimitSpec          `json:"concurrency,omitempty"` // step runs of the project with one key
	Priority    *int                `json:"priority,omitempty"`    // nil = the workflow's
}

// WaitSpec is what a step of kind wait waits for: exactly one of For, Until, Signal, Approval.
type WaitSpec struct {
	For      json.RawMessage `json:"for,omitempty"`      // value: text such as "10m"
	Until    json.RawMessage `json:"until,omitempty"`    // value: RFC 3339, or local time in Timezone
	Timezone string          `json:"timezone,omitempty"` // IANA name
	Signal   string          `json:"signal,omitempty"`
	Schema   json.RawMessage `json:"schema,omitempty"` // JSON Schema of the signal's payload
	Approval *ApprovalSpec   `json:"approval,omitempty"`
	Timeout  time.Duration   `json:"timeout,omitempty"` // signal, approval: 0 = none
}

// ApprovalSpec asks a person.
type ApprovalSpec struct {
	Title     json.RawMessage `json:"title,omitempty"` // value: text
	Form      []Item          `json:"form,omitempty"`
	Approvers []string        `json:"approvers,omitempty"` // user names or "role:<role>", empty = anyone who may operate runs
	Reminder  time.Duration   `json:"reminder,omitempty"`  // 0 = none
	Timeout   time.Duration   `json:"timeout,omitempty"`   // of an approval before a step, 0 = none
}

// LoopSpec repeats a step.
type LoopSpec struct {
	Until string        `json:"until"` // expression as written, over pass.index and pass.last
	Max   int           `json:"max"`   // passes, 1..10000
	Delay time.Duration `json:"delay,omitempty"`
}

// CatchSpec says what becomes of a failure.
type CatchSpec struct {
	On      []string        `json:"on,omitempty"`      // kinds; empty = every kind but cancelled
	Outputs json.RawMessage `json:"outputs,omitempty"` // JSON object as written, over error.*; nil = the failure is caught and stays
}

// UndoSpec is the action that takes back what a step did.
type UndoSpec struct {
	Uses    string                     `json:"uses"`
	Build   string                     `json:"build"`
	With    map[string]json.RawMessage `json:"with,omitempty"`
	Retry   *RetrySpec                 `json:"retry,omitempty"`
	Timeout time.Duration              `json:"timeout,omitempty"`
}

// CacheSpec keeps the outputs of a step for others with the same build and key.
type CacheSpec struct {
	Key json.RawMessage `json:"key"` // value as written
	TTL time.Duration   `json:"ttl"`
}

// ForEachSpec runs a step once per item of a list.
type ForEachSpec struct {
	In          string `json:"in"` // expression as written, with or without ${}
	As          string `json:"as"`
	Concurrency int    `json:"concurrency,omitempty"` // 0 = all at once
	OnError     string `json:"on_error,omitempty"`    // fail | skip | collect, "" = fail
}

// RetrySpec says how often and on what a step is tried again.
type RetrySpec struct {
	Attempts int           `json:"attempts"` // counts the first try
	Backoff  time.Duration `json:"backoff,omitempty"`
	Factor   float64       `json:"factor,omitempty"` // 0 = 2
	Cap      time.Duration `json:"cap,omitempty"`
	Jitter   bool          `json:"jitter,omitempty"`
	On       []string      `json:"on,omitempty"` // kinds; empty = every kind but cancelled
}

// RunState is the state of a run.
type RunState string

// The states of a run that this engine reaches. See the package doc for the transitions.
const (
	RunQueued     RunState = "queued"
	RunRunning    RunState = "running"
	RunWaiting    RunState = "waiting" // nothing is under way: all that is left waits
	RunPaused     RunState = "paused"
	RunCancelling RunState = "cancelling"
	RunUndoing    RunState = "undoing"
	RunCompleted  RunState = "completed"
	RunFailed     RunState = "failed"
	RunCancelled  RunState = "cancelled"
)

// Ended tells whether no transition leaves s.
func (s RunState) Ended() bool { return s == RunCompleted || s == RunFailed || s == RunCancelled }

// StepState is the state of a step run.
type StepState string

// The states of a step run.
const (
	StepPending   StepState = "pending"
	StepQueued    StepState = "queued"
	StepRunning   StepState = "running"
	StepWaiting   StepState = "waiting" // backing off until the next attempt
	StepCompleted StepState = "completed"
	StepFailed    StepState = "failed"
	StepSkipped   StepState = "skipped"
	StepCancelled StepState = "cancelled"
)

// AttemptState is the state of one attempt.
type AttemptState string

// The states of an attempt.
const (
	AttemptStarted   AttemptState = "started"
	AttemptCompleted AttemptState = "completed"
	AttemptFailed    AttemptState = "failed"
	AttemptLost      AttemptState = "lost"
	AttemptCancelled AttemptState = "cancelled"
)

// Phase is one point in the life of an attempt.
type Phase struct {
	Kind     string `json:"kind"` // queued scheduled pulled booted loaded prepared started returned
	AtMicros int64  `json:"at_micros"`
}
