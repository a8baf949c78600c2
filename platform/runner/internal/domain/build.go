// Package domain holds the runner's types, rules and state machine. It does no I/O,
// reads no clock and draws no randomness: times, ids and jitter come in as parameters.
//
// # States
//
// A run:
//
//	queued ── RunStarted ──▶ running ── RunEnded ──▶ completed | failed
//	                            │
//	                            └─ Cancelling ──▶ cancelling ── RunEnded ──▶ cancelled
//	                                             (all attempts ended)    └──▶ failed (the run's timeout)
//
// A step run:
//
//	pending ──AttemptStarted──▶ running ──AttemptEnded──▶ completed
//	   │                        ▲     │
//	   │           AttemptStarted     ├─Retry──▶ waiting
//	   │                        └─────┼──────────────┘│
//	   ├─StepEnded──▶ skipped         └─StepEnded──▶ failed | cancelled
//	   └─StepEnded──▶ failed (an expression, ambiguous_fanout)
//
// An attempt: started ─▶ completed | failed | lost | cancelled.
//
// # How a run moves
//
// State.Handle takes one event and gives a Transition: a journal row and commands. The row
// holds facts (the event and every decision that followed); the state changes by applying
// facts, and by nothing else, so that replaying the rows gives the same state. Commands are
// carried out once the row is durable.
//
// # Passages
//
// A list result of a step splits what needs it: from there on every step has one node per
// item, and so on for lists within lists; a node's path gives the indexes. A node is decided
// when it has ended, or when it turned out to be split. A step's node looks at its direct
// needs once all are decided: none is split there, it is one step run; one list splits them,
// it is split too; two lists do, that is ambiguous_fanout.
package domain

import "encoding/json"

// Value is one typed value as JSON text. The runner passes values on without decoding them;
// the reserved shapes {"$file"}, {"$dir"} and {"$ref"} are described in wrapper.proto.
type Value = json.RawMessage

// Values are named values: the inputs or outputs of a step, the inputs or result of a run.
type Values map[string]Value

// Item is one typed input or output of a workflow or an action.
type Item struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"` // string longstring password integer float boolean enum bytes json list file directory
	Title      string          `json:"title,omitempty"`
	Help       string          `json:"help,omitempty"`
	Optional   bool            `json:"optional,omitempty"`
	Default    Value           `json:"default,omitempty"` // nil = none
	EnumValues []string        `json:"enum_values,omitempty"`
	Schema     json.RawMessage `json:"schema,omitempty"` // JSON Schema for json and list, nil = none
	Accept     []string        `json:"accept,omitempty"` // media types of files
}

// Build is one pinned, immutable, runnable artifact of an action.
type Build struct {
	Digest         string // "sha256:<hex>" of metadata, code and lock
	Artifact       string // "file:///…/bundles/<project>/<hex>" or an image by digest
	Action         string // id@version
	Kind           string // Processor | Publisher | Source
	Runtime        string // python3 | nodejs | go | container
	Inputs         []Item
	Outputs        []Item
	Isolation      string // fork | reuse | "" = the runtime's default
	Concurrency    int    // executions at a time in one instance, 0 = 1
	MemoryBytes    int64
	CPU            float64
	Effect         string
	DynamicOutputs bool
	TimeoutMillis  int64 // 0 = the default
	// Compute is what the metadata asks for of graphics processors and of Kubernetes, as JSON, see
	// infra/knative; nil = nothing.
	Compute json.RawMessage `json:",omitempty"`
}

// StepError is the typed error of a step.
type StepError struct {
	Kind      string          `json:"kind"` // user_error invalid_input invalid_output timeout cancelled crashed lost …
	Message   string          `json:"message"`
	Code      string          `json:"code,omitempty"`
	Details   json.RawMessage `json:"details,omitempty"`
	Stack     string          `json:"stack,omitempty"`
	Field     string          `json:"field,omitempty"`
	Retryable bool            `json:"retryable"`
}

// Usage is what one attempt used.
type Usage struct {
	CPUMicros  int64 `json:"cpu_micros"`
	MaxRSS     int64 `json:"max_rss_bytes"`
	WallMicros int64 `json:"wall_micros"`
}

// LogLine is one record of user code's output; Line may hold newlines (a stack trace).
type LogLine struct {
	Stream   string // stdout stderr logger system
	Level    string // debug info warn error
	AtMicros int64  // Unix time
	Line     string
	Dropped  uint64
}
