package sdk

import (
	"encoding/json"
	"time"
)

// Login is the answer to a login.
type Login struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Project is a tenant.
type Project struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
}

// Key is an API key; Key itself is set only in the answer to its making.
type Key struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Prefix     string     `json:"prefix"`
	Key        string     `json:"key"`
	Role       string     `json:"role"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

// Repository is a Git repository or a watched folder.
type Repository struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	URL        string `json:"url"`
	Branch     string `json:"branch"`
	Path       string `json:"path"`
	Watch      bool   `json:"watch"`
	AutoDeploy bool   `json:"auto_deploy"`
	LastScan   *Scan  `json:"last_scan"`
}

// Scan is one look at a repository.
type Scan struct {
	ID         string     `json:"id"`
	State      string     `json:"state"`
	Commit     string     `json:"commit"`
	Error      string     `json:"error"`
	Actions    []Found    `json:"actions"`
	Workflows  []Found    `json:"workflows"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// Ended tells whether the scan is over.
func (s Scan) Ended() bool { return s.FinishedAt != nil && s.FinishedAt.Unix() > 0 }

// Found is an action or a workflow that a scan found.
type Found struct {
	Path    string     `json:"path"`
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Build   string     `json:"build"`
	State   string     `json:"state"`
	Errors  []Location `json:"errors"`
}

// Location is a problem with its place in a file.
type Location struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Message  string `json:"message"`
	Remedy   string `json:"remedy"`
	Proposal string `json:"proposal"`
	Severity string `json:"severity"` // error | warning; empty = error, unless Warning
	Warning  bool   `json:"warning"`
}

// IsWarning tells whether it is worth telling and not wrong.
func (l Location) IsWarning() bool { return l.Warning || l.Severity == "warning" }

// Build is one build of an action.
type Build struct {
	ID         string     `json:"id"`
	Build      string     `json:"build"`
	Action     string     `json:"action"`
	Path       string     `json:"path"`
	State      string     `json:"state"`
	Message    string     `json:"message"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// Ended tells whether the build is over.
func (b Build) Ended() bool {
	return b.State == "succeeded" || b.State == "failed" || b.State == "cancelled"
}

// Action is an entry of the library.
type Action struct {
	ID       string          `json:"id"`
	Version  string          `json:"version"`
	Title    string          `json:"title"`
	Kind     string          `json:"kind"`
	Runtime  string          `json:"runtime"`
	Build    string          `json:"build"`
	Versions json.RawMessage `json:"versions"`
	Inputs   []Item          `json:"inputs"`
	Outputs  []Item          `json:"outputs"`
}

// Item is an input or output.
type Item struct {
	Name     string          `json:"name"`
	Type     string          `json:"type"`
	Title    string          `json:"title"`
	Help     string          `json:"help"`
	Optional bool            `json:"optional"`
	Default  json.RawMessage `json:"default"`
}

// Workflow is a workflow with its newest revision.
type Workflow struct {
	Name       string              `json:"name"`
	Revision   int                 `json:"revision"`
	UpdatedAt  time.Time           `json:"updated_at"`
	Definition json.RawMessage     `json:"definition"`
	Source     string              `json:"source"`
	Deployment *WorkflowDeployment `json:"deployment"`
}

// WorkflowDeployment is what is live of a workflow.
type WorkflowDeployment struct {
	ID       string `json:"id"`
	Revision int    `json:"revision"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
}

// Revision is one saved state of a workflow.
type Revision struct {
	Revision  int       `json:"revision"`
	CreatedAt time.Time `json:"created_at"`
	Note      string    `json:"note"`
}

// Deployment is one revision made live, or on its way there or past it.
type Deployment struct {
	ID       string `json:"id"`
	Workflow string `json:"workflow"`
	Revision int    `json:"revision"`
	State    string `json:"state"` // deploying | live | failed | stopped
	Reason   string `json:"reason"`
}

// Trigger is what started a run.
type Trigger struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Run is one run; Steps only when it was read alone.
type Run struct {
	ID         string          `json:"id"`
	Workflow   string          `json:"workflow"`
	Revision   int             `json:"revision"`
	State      string          `json:"state"`
	Trigger    Trigger         `json:"trigger"`
	CreatedAt  time.Time       `json:"created_at"`
	FinishedAt *time.Time      `json:"finished_at"`
	Error      *StepError      `json:"error"`
	Inputs     json.RawMessage `json:"inputs"`
	Result     json.RawMessage `json:"result"`
	Steps      []StepRun       `json:"steps"`
}

// Ended tells whether the run's state is final.
func (r Run) Ended() bool {
	return r.State == "completed" || r.State == "failed" || r.State == "cancelled"
}

// StepError is why a step or a run failed.
type StepError struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Code    string `json:"code"`
	Field   string `json:"field"`
	Step    string `json:"step"`
	Stack   string `json:"stack"`
}

// StepRun is one passage through a step.
type StepRun struct {
	Step     string     `json:"step"`
	ItemPath []int      `json:"item_path"`
	State    string     `json:"state"`
	Reason   string     `json:"reason"`
	Error    *StepError `json:"error"`
	Attempts []Attempt  `json:"attempts"`
}

// Attempt is one try of a step run.
type Attempt struct {
	Number     int        `json:"number"`
	State      string     `json:"state"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Phases     []Phase    `json:"phases"`
	Error      *StepError `json:"error"`
}

// Phase is when something of an attempt happened: scheduled, booted, loaded, started.
type Phase struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
}

// LogRecord is one line that a step wrote.
type LogRecord struct {
	Cursor   int64     `json:"cursor"`
	Step     string    `json:"step"`
	ItemPath []int     `json:"item_path"`
	Attempt  int       `json:"attempt"`
	Stream   string    `json:"stream"`
	Level    string    `json:"level"`
	At       time.Time `json:"at"`
	Line     string    `json:"line"`
}

// Named is a secret's name or a variable.
type Named struct {
	Name      string          `json:"name"`
	Value     json.RawMessage `json:"value"`
	UpdatedAt time.Time       `json:"updated_at"`
}

// List is a page of a list.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}
