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
	Kind    string                     `json:"kind"` // action
	Uses    string                     `json:"uses"`
	Build   string                     `json:"build"` // pinned digest
	With    map[string]json.RawMessage `json:"with,omitempty"`
	Needs   []string                   `json:"needs,omitempty"`
	If      string                     `json:"if,omitempty"`
	Join    string                     `json:"join,omitempty"` // all | any | a number
	ForEach *ForEachSpec               `json:"for_each,omitempty"`
	Timeout time.Duration              `json:"timeout,omitempty"` // 0 = the build's, else 1 h
	Retry   *RetrySpec                 `json:"retry,omitempty"`
}

// ForEachSpec runs a step once per item of a list.
type ForEachSpec struct {
	In          string `json:"in"` // expression as written, with or without ${}
	As          string `json:"as"`
	Concurrency int    `json:"concurrency,omitempty"` // 0 = all at once
	OnError     string `json:"on_error,omitempty"`    // fail
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
	RunCancelling RunState = "cancelling"
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
