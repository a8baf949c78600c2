// Package simulation carries out tests of workflows: the real state machine and real actions, with
// stubs that answer instead of steps, and a clock of its own that jumps over everything that is
// only waited for. Nothing of a test is kept: no run appears in the history, and the project's
// variables and secrets are not read. A step whose effect is write or irreversible is refused
// unless a stub stands for it.
//
// The clock stands still while the state machine works, goes on with the real one while a real
// attempt is under way, and else jumps to the next thing that happens: the answer of a stub, a
// time limit, the end of a pause. With stubs alone a test is the same each time.
package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/functions/formats/wftest"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Deps is what tests need.
type Deps struct {
	Compiler domain.Compiler
	Deployer app.Deployer
	Executor app.Executor
	Files    app.Files
	Schemas  app.Schemas
	// Live is the list of live deployments: sub-workflows that are not given are found there.
	Live  func() ([]app.Deployment, <-chan struct{})
	NewID func() string // UUIDv7
	Now   func() time.Time
	Grace time.Duration // of attempts that are told to stop. Defaults to 10 s
	// MaxReal is how long a test may take. Defaults to 10 min.
	MaxReal time.Duration
	// Parallel is how many tests are carried out at a time; others wait. Defaults to 16.
	Parallel int
}

// Simulator carries out tests. Safe for concurrent use.
type Simulator struct {
	deps  Deps
	slots chan struct{}
}

// New makes a simulator.
func New(d Deps) *Simulator {
	if d.Grace == 0 {
		d.Grace = 10 * time.Second
	}
	if d.MaxReal == 0 {
		d.MaxReal = 10 * time.Minute
	}
	if d.Parallel == 0 {
		d.Parallel = 16
	}
	return &Simulator{deps: d, slots: make(chan struct{}, d.Parallel)}
}

// Order is one test to be carried out.
type Order struct {
	Project     string
	Definitions []domain.Definition     // the first is tested; the others are found as sub-workflows
	Test        wftest.Test             // free of problems
	Files       map[string]domain.Value // what the paths in the test stand for
}

// The states of a Report.
const (
	Passed  = "passed"
	Failed  = "failed"
	Errored = "error" // the test could not be carried out
)

// Report tells how a test went.
type Report struct {
	State    string
	Failures []Failure
	Run      app.RunDetail // with every step run and attempt, in the time of the test
	Logs     []app.LogRecord
	Virtual  time.Duration // that went by for the run
	Real     time.Duration
}

// Failure is one thing that is not as it should be.
type Failure struct {
	What     string // "status", "result.report", "steps.chart.attempts", "check[0]", "stubs.charge"
	Message  string // in words; empty where Expected and Got say all
	Expected string
	Got      string
	Line     int // in the test, 0 = unknown
	Column   int
}

// maxLogs bounds the log records of a report.
const maxLogs = 2000

// Run carries out a test. A test that cannot be meant is an invalid fault with all its problems;
// one that could not be carried out to its end is told by the report. When ctx ends, what is
// under way is stopped first.
func (s *Simulator) Run(ctx context.Context, o Order) (Report, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return Report{}, fault.Wrap(ctx.Err(), fault.Cancelled, "the caller left before the test began")
	}
	began := s.deps.Now()
	ctx, cancel := context.WithTimeout(ctx, s.deps.MaxReal)
	defer cancel()
	w, err := s.world(ctx, o)
	if err != nil {
		return Report{}, err
	}
	root, problems := w.start(o.Definitions[0].Workflow, "", w.inputs(), nil, app.Trigger{Kind: "manual"}, 0)
	if problems != nil {
		return Report{}, problems
	}
	w.loop()
	w.settle()
	if ctx.Err() != nil {
		w.fail("test", 0, 0, fmt.Sprintf("it was stopped after %s: an attempt, or the test, takes too long", s.deps.Now().Sub(began).Round(time.Second)))
	}
	r := Report{State: Passed, Failures: w.failures, Run: app.Detail(root.summary(), root.s), Logs: w.logs, Virtual: root.virtual(), Real: s.deps.Now().Sub(began)}
	switch {
	case len(r.Failures) > 0:
		r.State = Errored
	default:
		if r.Failures = w.compare(root); len(r.Failures) > 0 {
			r.State = Failed
		}
	}
	return r, nil
}

// world makes the state of a test, with everything told that is wrong before it begins.
func (s *Simulator) world(ctx context.Context, o Order) (*world, error) {
	w := newWorld(ctx, s.deps, o)
	for _, d := range o.Definitions {
		if err := w.give(d); err != nil {
			return nil, err
		}
	}
	if fields := w.check(); len(fields) > 0 {
		return nil, fault.InvalidFields(fields...)
	}
	return w, nil
}
