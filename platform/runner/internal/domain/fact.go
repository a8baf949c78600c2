package domain

import (
	"encoding/json"
	"fmt"
)

// FactKind says what a fact records. Numbers are for ever; new kinds are added at the end,
// and written only once every live replica knows them.
type FactKind uint8

// The kinds of facts.
const (
	FactRunStarted     FactKind = iota + 1 // inputs, variables, trigger
	FactExpanded                           // a step runs once per item of Other's list result
	FactForEach                            // a forEach found N items
	FactAttemptStarted                     // with computed inputs when it is the first
	FactAttemptEnded
	FactRetry       // the next attempt is due at Due
	FactStepEnded   // without or after attempts: skipped, failed, cancelled; forEach: completed
	FactCancelling  // a command or the run's timeout ends the run
	FactRunEnded    // with result or error
	FactRunQueued   // the run waits to be admitted
	FactRunAdmitted // it may start
	FactWaitStarted // a step run waits for Wait: a time, a signal, a person, a slot, the cache
	FactApproved    // a person let it go on
	FactReminded    // a reminder was told; the next one is due at Due
	FactSignal      // a signal arrived; it is kept until a step takes it
	FactRepeating   // a loop step began; its passes follow as items
	FactPaused      // nothing new starts
	FactResumed
	FactConcluding  // the run's end is decided; undos and the failure handler come first
	FactHandled     // the failure handler's run is durable, or could not be started
	lastKnownFact   = FactHandled
	rowVersion      = 1
	factsPerRowHint = 4
)

// Why a run is being ended.
const (
	CauseCancel  = "cancel"
	CauseTimeout = "timeout"
)

// Outcome says how an attempt ended.
type Outcome uint8

// The outcomes of an attempt.
const (
	OutcomeCompleted Outcome = iota + 1
	OutcomeFailed
	OutcomeCancelled
	OutcomeLost
	OutcomeUnknown // never started anywhere; only an event, never a fact
)

// Computed is one value that an expression gave, by the place of the input in the plan.
type Computed struct {
	Index int32
	Value Value
}

// Fact is one thing that happened to a run. Which fields count depends on Kind.
type Fact struct {
	Kind     FactKind
	At       int64 // Unix microseconds
	Step     int32
	Path     []int32
	Attempt  int32
	N        int32
	Other    int32 // the step that a skip or an expansion is about, -1 = none
	Due      int64
	State    StepState
	Run      RunState
	Reason   string
	Command  string
	Outcome  Outcome
	Err      *StepError
	Inputs   Values // RunStarted
	Vars     Values // RunStarted
	Event    Value  // RunStarted; Signal: the payload
	Computed []Computed
	List     Value    // ForEach: the list when an expression made it
	Outputs  []Values // AttemptEnded; StepEnded without an attempt
	IsList   bool
	Instance string
	Usage    Usage
	Phases   []Phase
	Result   Values   // RunEnded
	Wait     WaitKind // WaitStarted
	Reminder int64    // WaitStarted: when the first reminder is due, 0 = none
	Caught   bool     // StepEnded: a failure that was caught, or an end that catch gave outputs to
}

var stepStates = []StepState{"", StepPending, StepQueued, StepRunning, StepWaiting, StepCompleted, StepFailed, StepSkipped, StepCancelled}
var runStates = []RunState{"", RunQueued, RunRunning, RunCancelling, RunCompleted, RunFailed, RunCancelled, RunWaiting, RunPaused, RunUndoing}
var phaseKinds = []string{"", "queued", "scheduled", "pulled", "booted", "loaded", "prepared", "started", "returned", "launched", "first_byte"}

func indexOf[T comparable](list []T, v T) uint64 {
	for i := range list {
		if list[i] == v {
			return uint64(i)
		}
	}
	return 0
}

func at[T any](list []T, i uint64) (zero T) {
	if i < uint64(len(list)) {
		return list[i]
	}
	return zero
}

// appendFact adds f to a row: kind, length, body.
func appendFact(row []byte, f *Fact) []byte {
	if len(row) == 0 {
		row = append(row, rowVersion)
	}
	row = append(row, byte(f.Kind))
	var scratch [512]byte
	e := encoder{b: scratch[:0]}
	e.int(f.At)
	switch f.Kind {
	case FactRunStarted:
		e.values(f.Inputs)
		e.values(f.Vars)
		e.value(f.Event)
	case FactExpanded:
		e.where(f)
		e.uint(uint64(f.N))
		e.int(int64(f.Other))
	case FactForEach:
		e.where(f)
		e.uint(uint64(f.N))
		e.value(f.List)
	case FactAttemptStarted:
		e.where(f)
		e.uint(uint64(f.Attempt))
		e.int(f.Due)
		e.uint(uint64(len(f.Computed)))
		for _, c := range f.Computed {
			e.uint(uint64(c.Index))
			e.value(c.Value)
		}
	case FactAttemptEnded:
		e.attemptEnded(f)
	case FactRetry:
		e.where(f)
		e.uint(uint64(f.Attempt))
		e.int(f.Due)
	case FactStepEnded:
		e.where(f)
		e.uint(indexOf(stepStates, f.State))
		e.string(f.Reason)
		e.int(int64(f.Other))
		e.stepError(f.Err)
		if f.Caught || f.IsList || len(f.Outputs) > 0 {
			e.bool(f.Caught)
			e.bool(f.IsList)
			e.outputs(f.Outputs)
		}
	case FactCancelling, FactPaused, FactResumed, FactHandled, FactRunQueued, FactRunAdmitted:
		e.string(f.Command)
		e.string(f.Reason)
	case FactRunEnded, FactConcluding:
		e.uint(indexOf(runStates, f.Run))
		e.values(f.Result)
		e.stepError(f.Err)
		e.int(int64(f.Other))
	case FactWaitStarted:
		e.where(f)
		e.uint(uint64(f.Wait))
		e.int(f.Due)
		e.int(f.Reminder)
		e.string(f.Reason)
	case FactApproved, FactRepeating:
		e.where(f)
		e.string(f.Reason)
	case FactReminded:
		e.where(f)
		e.int(f.Due)
	case FactSignal:
		e.string(f.Reason)
		e.value(f.Event)
	}
	head := encoder{b: row}
	head.bytes(e.b)
	return head.b
}

func (e *encoder) where(f *Fact) {
	e.uint(uint64(f.Step))
	e.path(f.Path)
}

func (e *encoder) outputs(list []Values) {
	e.uint(uint64(len(list)))
	for _, o := range list {
		e.values(o)
	}
}

func (d *decoder) outputs() []Values {
	n := d.count()
	if n == 0 {
		return nil
	}
	list := make([]Values, n)
	for i := range list {
		list[i] = d.values()
	}
	return list
}

func (e *encoder) attemptEnded(f *Fact) {
	e.where(f)
	e.uint(uint64(f.Attempt))
	e.uint(uint64(f.Outcome))
	e.bool(f.IsList)
	e.outputs(f.Outputs)
	e.stepError(f.Err)
	e.string(f.Instance)
	e.usage(f.Usage)
	e.phases(f.Phases)
}

func (e *encoder) usage(u Usage) {
	e.int(u.CPUMicros)
	e.int(u.MaxRSS)
	e.int(u.WallMicros)
}

func (d *decoder) usage() Usage {
	return Usage{CPUMicros: d.int(), MaxRSS: d.int(), WallMicros: d.int()}
}

func (e *encoder) phases(phases []Phase) {
	e.uint(uint64(len(phases)))
	last := int64(0)
	for _, p := range phases {
		k := indexOf(phaseKinds, p.Kind)
		e.uint(k)
		if k == 0 {
			e.string(p.Kind)
		}
		e.int(p.AtMicros - last)
		last = p.AtMicros
	}
}

// stepError is rare and not on the fast path: JSON, which grows by itself.
func (e *encoder) stepError(err *StepError) {
	if err == nil {
		e.uint(0)
		return
	}
	b, _ := json.Marshal(err)
	e.bytes(b)
}

func (d *decoder) stepError() *StepError {
	b := d.bytes()
	if len(b) == 0 {
		return nil
	}
	var se StepError
	if err := json.Unmarshal(b, &se); err != nil {
		d.err = err
		return nil
	}
	return &se
}

// UnknownFactError tells that a row was written by newer code: the run is left to a
// replica that knows the kind.
type UnknownFactError struct{ Version, Kind int }

func (u *UnknownFactError) Error() string {
	return fmt.Sprintf("journal row version %d with a fact of kind %d was written by a newer version", u.Version, u.Kind)
}

// DecodeRow reads the facts of one journal row. Values alias row.
func DecodeRow(row []byte) ([]Fact, error) {
	if len(row) == 0 {
		return nil, errShort
	}
	if row[0] != rowVersion {
		return nil, &UnknownFactError{Version: int(row[0])}
	}
	d := decoder{b: row[1:]}
	facts := make([]Fact, 0, factsPerRowHint)
	for len(d.b) > 0 {
		kind := FactKind(d.b[0])
		if kind == 0 || kind > lastKnownFact {
			return nil, &UnknownFactError{Version: rowVersion, Kind: int(kind)}
		}
		d.b = d.b[1:]
		body := d.bytes()
		if d.err != nil {
			return nil, d.err
		}
		facts = append(facts, Fact{Kind: kind, Other: -1})
		if err := decodeFact(body, &facts[len(facts)-1]); err != nil {
			return nil, fmt.Errorf("fact of kind %d: %w", kind, err)
		}
	}
	return facts, d.err
}

func decodeFact(body []byte, f *Fact) error {
	d := decoder{b: body}
	f.At = d.int()
	switch f.Kind {
	case FactRunStarted:
		f.Inputs, f.Vars, f.Event = d.values(), d.values(), d.value()
	case FactExpanded:
		d.where(f)
		f.N, f.Other = int32(d.uint()), int32(d.int())
	case FactForEach:
		d.where(f)
		f.N, f.List = int32(d.uint()), d.value()
	case FactAttemptStarted:
		d.where(f)
		f.Attempt, f.Due = int32(d.uint()), d.int()
		if n := d.count(); n > 0 {
			f.Computed = make([]Computed, n)
			for i := range f.Computed {
				f.Computed[i] = Computed{int32(d.uint()), d.value()}
			}
		}
	case FactAttemptEnded:
		d.attemptEnded(f)
	case FactRetry:
		d.where(f)
		f.Attempt, f.Due = int32(d.uint()), d.int()
	case FactStepEnded:
		d.where(f)
		f.State, f.Reason, f.Other = at(stepStates, d.uint()), d.string(), int32(d.int())
		f.Err = d.stepError()
		f.Caught, f.IsList, f.Outputs = d.bool(), d.bool(), d.outputs()
	case FactCancelling, FactPaused, FactResumed, FactHandled, FactRunQueued, FactRunAdmitted:
		f.Command, f.Reason = d.string(), d.string()
	case FactRunEnded, FactConcluding:
		f.Run, f.Result = at(runStates, d.uint()), d.values()
		f.Err, f.Other = d.stepError(), int32(d.int())
	case FactWaitStarted:
		d.where(f)
		f.Wait, f.Due, f.Reminder, f.Reason = WaitKind(d.uint()), d.int(), d.int(), d.string()
	case FactApproved, FactRepeating:
		d.where(f)
		f.Reason = d.string()
	case FactReminded:
		d.where(f)
		f.Due = d.int()
	case FactSignal:
		f.Reason, f.Event = d.string(), d.value()
	}
	return d.err
}

func (d *decoder) where(f *Fact) {
	f.Step = int32(d.uint())
	f.Path = d.path()
}

func (d *decoder) attemptEnded(f *Fact) {
	d.where(f)
	f.Attempt, f.Outcome, f.IsList = int32(d.uint()), Outcome(d.uint()), d.bool()
	f.Outputs = d.outputs()
	f.Err, f.Instance = d.stepError(), d.string()
	f.Usage = d.usage()
	f.Phases = d.phases()
}

func (d *decoder) phases() (phases []Phase) {
	last := int64(0)
	for range d.count() {
		kind := d.uint()
		name := at(phaseKinds, kind)
		if kind == 0 {
			name = d.string()
		}
		last += d.int()
		phases = append(phases, Phase{name, last})
	}
	return phases
}
