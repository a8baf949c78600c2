package domain

import (
	"slices"
	"time"
)

// Defaults that the person sees with each run.
const (
	DefaultRunTimeout  = 7 * 24 * time.Hour
	DefaultStepTimeout = time.Hour
	// LostLimit is how many attempts of one step run may be lost with their instance
	// before the step fails. Lost attempts do not count against retry.attempts.
	LostLimit = 3
	// LargeRun is the number of places from which on a run's state is lean while it is under way, and
	// what people see of it is made of its journal.
	LargeRun = 500
	// MaxPasses bounds the passes of a loop.
	MaxPasses = 10_000
)

// Plan is a compiled definition: what a run follows. Immutable.
type Plan struct {
	Definition
	Nodes    []PlanStep // in the order of the file, then what takes steps back
	Results  []PlanResult
	Mappings map[string][]PlanInput // trigger id -> workflow inputs over event.*
	RunKey   Expression             // concurrency key of runs, nil = none
	RateKey  Expression
	DedupKey Expression // idempotency key that a run gives itself
	index    map[string]int32
	builds   map[string]*Build
	secret   map[string]bool // workflow inputs of type password
}

// PlanStep is one compiled step.
type PlanStep struct {
	Spec       StepSpec
	Build      *Build
	Needs      []int32
	Downstream []int32
	Ancestors  []int32
	Join       int // how many needs must have completed, 0 = all
	If         Expression
	ForEach    *PlanForEach
	With       []PlanInput
	Timeout    time.Duration // of one attempt
	Limit      time.Duration // the same as the step or its action declares it, 0 = neither does
	Retry      *RetrySpec
	Effect     string // pure | read | write | irreversible, "" = not told
	Priority   int

	Undoes   int32 // the step that this one takes back, -1 = none
	Undo     int32 // what takes this step back, -1 = none
	Gate     *Gate
	Switch   Expression
	Collect  int32 // the step whose passages are gathered, -1 = none
	Until    Expression
	Wait     PlanWait
	Catch    []PlanCatch
	CacheKey Expression
	SlotKey  Expression
	Consent  Expression // the question before the first attempt

	optional map[string]bool // inputs that may be left out
}

// Gate lets a step run only if a switch chose it.
type Gate struct {
	Switch  int32
	Case    string
	Default bool
}

// PlanWait is a compiled wait.
type PlanWait struct {
	For   Expression
	Until Expression
	Title Expression
	Zone  *time.Location
}

// PlanCatch is one compiled entry of catch.
type PlanCatch struct {
	On      []string
	Outputs Expression // nil: the failure is caught and stays
}

func (c *PlanCatch) covers(kind string) bool {
	if len(c.On) == 0 {
		return kind != "cancelled"
	}
	return slices.Contains(c.On, kind)
}

// PlanForEach is a compiled forEach.
type PlanForEach struct {
	In          Expression
	As          string
	Concurrency int
	OnError     string
}

// PlanInput is one input with where its value comes from.
type PlanInput struct {
	Name string
	Expr Expression
	// Tainted values are evaluated at dispatch and live in the Start message only.
	Tainted bool
}

// PlanResult is one entry of the result.
type PlanResult struct {
	Name  string
	Expr  Expression
	Steps []int32
}

// StepIndex finds a step by id.
func (p *Plan) StepIndex(id string) (int32, bool) { i, ok := p.index[id]; return i, ok }

// SecretInput tells whether a workflow input is of type password.
func (p *Plan) SecretInput(name string) bool { return p.secret[name] }
