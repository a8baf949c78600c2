package httpapi

import (
	"encoding/json"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// when is a time that may be absent; microseconds matter in timelines.
func when(t time.Time) *time.Time {
	if t.IsZero() || t.Unix() <= 0 {
		return nil
	}
	t = t.UTC().Truncate(time.Microsecond)
	return &t
}

type triggerJSON struct {
	Kind string `json:"kind"`
	ID   string `json:"id,omitempty"`
}

type errorJSON struct {
	Kind      string          `json:"kind"`
	Message   string          `json:"message"`
	Code      string          `json:"code,omitempty"`
	Step      string          `json:"step,omitempty"`
	Stack     string          `json:"stack,omitempty"`
	Field     string          `json:"field,omitempty"`
	Details   json.RawMessage `json:"details,omitempty"`
	Retryable bool            `json:"retryable"`
}

func errorOf(e *domain.StepError, step string) *errorJSON {
	if e == nil {
		return nil
	}
	return &errorJSON{e.Kind, e.Message, e.Code, step, e.Stack, e.Field, e.Details, e.Retryable}
}

type runJSON struct {
	ID         string          `json:"id"`
	Workflow   string          `json:"workflow"`
	Revision   int             `json:"revision,omitempty"`
	Deployment string          `json:"deployment,omitempty"`
	State      domain.RunState `json:"state"`
	Trigger    triggerJSON     `json:"trigger"`
	CreatedAt  time.Time       `json:"created_at"`
	FinishedAt *time.Time      `json:"finished_at,omitempty"`
	Error      *errorJSON      `json:"error,omitempty"`
	Group      string          `json:"group,omitempty"`
	RetryOf    string          `json:"retry_of,omitempty"`
	Cost       *usageJSON      `json:"cost,omitempty"`
	Inputs     domain.Values   `json:"inputs,omitempty"`
	Result     domain.Values   `json:"result,omitempty"`
	Steps      []stepJSON      `json:"steps,omitempty"`
	Wait       *stepWaitJSON   `json:"wait,omitempty"`
	Parent     *parentJSON     `json:"parent,omitempty"`
	Handler    *handlerJSON    `json:"handler,omitempty"`
	NotUndone  int             `json:"not_undone,omitempty"`
	Reason     string          `json:"reason,omitempty"`
}

// usageJSON is what the attempts of a run used together.
type usageJSON struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	GiBSeconds float64 `json:"gib_seconds"`
}

type stepJSON struct {
	Step       string           `json:"step"`
	Title      string           `json:"title,omitempty"`
	Uses       string           `json:"uses,omitempty"`
	ItemPath   []int32          `json:"item_path"`
	State      domain.StepState `json:"state"`
	Reason     string           `json:"reason,omitempty"`
	Items      int              `json:"items"`
	StartedAt  *time.Time       `json:"started_at,omitempty"`
	FinishedAt *time.Time       `json:"finished_at,omitempty"`
	Inputs     domain.Values    `json:"inputs,omitempty"`
	Outputs    any              `json:"outputs,omitempty"`
	List       bool             `json:"list,omitempty"`
	Error      *errorJSON       `json:"error,omitempty"`
	Attempts   []attemptJSON    `json:"attempts"`
	Kind       string           `json:"kind,omitempty"`
	Wait       *stepWaitJSON    `json:"wait,omitempty"`
	Caught     bool             `json:"caught,omitempty"`
	Child      string           `json:"child,omitempty"`
	Undoes     string           `json:"undoes,omitempty"`
}

type attemptJSON struct {
	Number     int32               `json:"number"`
	State      domain.AttemptState `json:"state"`
	Execution  string              `json:"execution"`
	Instance   string              `json:"instance,omitempty"`
	StartedAt  *time.Time          `json:"started_at,omitempty"`
	FinishedAt *time.Time          `json:"finished_at,omitempty"`
	Phases     []phaseJSON         `json:"phases"`
	Error      *errorJSON          `json:"error,omitempty"`
	Usage      domain.Usage        `json:"usage"`
	Progress   float64             `json:"progress"`
	Note       string              `json:"note,omitempty"`
}

type phaseJSON struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
}

func summary(s app.RunSummary) runJSON {
	j := runJSON{ID: s.ID, Workflow: s.Workflow, Revision: s.Revision, Deployment: s.Deployment, State: s.State, Trigger: triggerJSON{s.Trigger.Kind, s.Trigger.ID},
		CreatedAt: utc(s.CreatedAt), FinishedAt: when(s.FinishedAt)}
	j.Group, j.RetryOf = s.Fingerprint, s.RetryOf
	if s.State.Ended() {
		j.Cost = &usageJSON{float64(s.CPUMicros) / 1e6, s.GiBSeconds}
	}
	if s.ErrorKind != "" {
		j.Error = &errorJSON{Kind: s.ErrorKind, Message: s.Error, Step: s.ErrorStep}
	}
	return j
}

func detail(d app.RunDetail) runJSON {
	j := summary(d.RunSummary)
	j.Inputs, j.Result = d.Inputs, d.Result
	if d.Failed != nil {
		j.Error = errorOf(d.Failed, d.ErrorStep)
	}
	j.Wait, j.Handler, j.NotUndone = waitOf(d.Wait), handlerOf(d.Handler), d.NotUndone
	j.Reason = d.Reason
	if d.Parent != nil {
		j.Parent = &parentJSON{d.Parent.Run, d.Parent.Workflow, d.Parent.Step}
	}
	j.Steps = make([]stepJSON, 0, len(d.Steps))
	for _, s := range d.Steps {
		j.Steps = append(j.Steps, stepOf(s))
	}
	return j
}

func stepOf(s app.StepRun) stepJSON {
	j := stepJSON{Step: s.Step, Title: s.Title, Uses: s.Uses, ItemPath: s.ItemPath, State: s.State, Reason: s.Reason, Items: s.Items, StartedAt: when(s.StartedAt),
		FinishedAt: when(s.FinishedAt), Inputs: s.Inputs, List: s.List, Error: errorOf(s.Error, ""), Attempts: []attemptJSON{},
		Kind: s.Kind, Wait: waitOf(s.Wait), Caught: s.Caught, Child: s.Child, Undoes: s.Undoes}
	j.ItemPath = itemPath(j.ItemPath)
	if j.Kind == "" {
		j.Kind = "action"
	}
	switch {
	case s.List && s.Outputs == nil:
		j.Outputs = []domain.Values{}
	case s.List:
		j.Outputs = s.Outputs
	case len(s.Outputs) == 1:
		j.Outputs = s.Outputs[0]
	}
	for i := range s.Attempts {
		j.Attempts = append(j.Attempts, attemptOf(&s.Attempts[i]))
	}
	return j
}

func attemptOf(a *app.Attempt) attemptJSON {
	j := attemptJSON{Number: a.Number, State: a.State, Execution: a.Execution, Instance: a.Instance, StartedAt: when(a.StartedAt), FinishedAt: when(a.FinishedAt),
		Phases: []phaseJSON{}, Error: errorOf(a.Error, ""), Usage: a.Usage, Progress: a.Progress, Note: a.Note}
	for _, p := range a.Phases {
		j.Phases = append(j.Phases, phaseJSON{p.Kind, time.UnixMicro(p.AtMicros).UTC()})
	}
	return j
}

type logJSON struct {
	Cursor   int64     `json:"cursor"`
	Step     string    `json:"step"`
	ItemPath []int32   `json:"item_path"`
	Attempt  int32     `json:"attempt"`
	Stream   string    `json:"stream"`
	Level    string    `json:"level"`
	At       time.Time `json:"at"`
	Line     string    `json:"line"`
	Dropped  uint64    `json:"dropped,omitempty"`
}

type logsJSON struct {
	Items []logJSON `json:"items"`
	Next  int64     `json:"next"`
	More  bool      `json:"more"`
	Ended bool      `json:"ended"`
}

func logOf(l app.LogRecord) logJSON {
	return logJSON{l.Cursor, l.Step, itemPath(l.ItemPath), l.Attempt, l.Stream, l.Level, time.UnixMicro(l.AtMicros).UTC(), l.Line, l.Dropped}
}

type eventJSON struct {
	Type     string       `json:"type"`
	Run      *runJSON     `json:"run,omitempty"`
	Step     string       `json:"step,omitempty"`
	ItemPath []int32      `json:"item_path,omitempty"`
	StepRun  *stepJSON    `json:"step_run,omitempty"`
	Attempt  *attemptJSON `json:"attempt,omitempty"`
	Log      *logJSON     `json:"log,omitempty"`
	Output   *outputJSON  `json:"output,omitempty"`
}

type outputJSON struct {
	Attempt int32         `json:"attempt"`
	Index   int           `json:"index"`
	List    bool          `json:"list"`
	Values  domain.Values `json:"values"`
}

func event(e app.RunEvent) eventJSON {
	j := eventJSON{Type: e.Kind, Step: e.StepID, ItemPath: e.ItemPath}
	if e.Run != nil {
		j.Run = ptr(summary(*e.Run))
	}
	if e.Step != nil {
		j.StepRun = ptr(stepOf(*e.Step))
		j.Step, j.ItemPath = e.Step.Step, e.Step.ItemPath
	}
	if e.Attempt != nil {
		j.Attempt = ptr(attemptOf(e.Attempt))
	}
	if e.Log != nil {
		j.Log = ptr(logOf(*e.Log))
	}
	if o := e.Output; o != nil {
		j.Output = &outputJSON{o.Attempt, o.Index, o.List, o.Values}
	}
	return j
}

type deploymentJSON struct {
	ID        string            `json:"id"`
	Workflow  string            `json:"workflow"`
	Revision  int               `json:"revision"`
	State     string            `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	ChangedAt time.Time         `json:"changed_at"`
	Paused    *pausedJSON       `json:"paused,omitempty"`
	Traffic   []trafficJSON     `json:"traffic,omitempty"`
	Triggers  []deployedTrigger `json:"triggers"`
	Inputs    []deployedInput   `json:"inputs"`
}

// trafficJSON is a revision that takes some of a workflow's new runs.
type trafficJSON struct {
	Revision   int    `json:"revision"`
	Weight     int    `json:"weight"`
	Deployment string `json:"deployment"`
}

// pausedJSON tells that a workflow starts no runs for now.
type pausedJSON struct {
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

type deployedTrigger struct {
	ID   string          `json:"id"`
	Uses string          `json:"uses"`
	With json.RawMessage `json:"with,omitempty"`
}

type deployedInput struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Title      string          `json:"title,omitempty"`
	Help       string          `json:"help,omitempty"`
	Optional   bool            `json:"optional"`
	Default    json.RawMessage `json:"default,omitempty"`
	EnumValues []string        `json:"enum_values,omitempty"`
	Accept     []string        `json:"accept,omitempty"`
}

func deployment(d app.Deployment) deploymentJSON {
	j := deploymentJSON{ID: d.ID, Workflow: d.Definition.Workflow, Revision: d.Definition.Revision, State: d.State, Reason: d.Reason,
		CreatedAt: utc(d.CreatedAt), ChangedAt: utc(d.ChangedAt), Triggers: []deployedTrigger{}, Inputs: []deployedInput{}}
	for _, p := range d.Parts() {
		if len(d.Shares) > 0 {
			j.Traffic = append(j.Traffic, trafficJSON{p.Definition.Revision, p.Weight, p.Deployment})
		}
	}
	for _, t := range d.Definition.Triggers {
		j.Triggers = append(j.Triggers, deployedTrigger{t.ID, t.Uses, t.With})
	}
	for _, i := range d.Definition.Inputs {
		j.Inputs = append(j.Inputs, inputOf(i))
	}
	return j
}
