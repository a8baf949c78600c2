package apptest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Executor carries out attempts with a Go function, each in a goroutine of its own. It
// outlives engines, as instances outlive a runner's crash: Attach finds what is under way.
type Executor struct {
	// Do makes the outputs of an attempt, or the error that it failed with.
	Do func(ctx context.Context, x app.Execution) Result

	mu   sync.Mutex
	runs map[string]*execution
	Log  []string // execution ids in the order in which they were started
}

// Result is what an attempt came to.
type Result struct {
	Outputs []domain.Values
	List    bool
	Err     *domain.StepError
	Outcome app.Outcome // 0 = by Err
	Logs    []string
}

type execution struct {
	cancel context.CancelFunc
	sink   app.Sink
	ended  *app.Ended
	result Result
}

// NewExecutor makes an executor.
func NewExecutor(do func(ctx context.Context, x app.Execution) Result) *Executor {
	return &Executor{Do: do, runs: map[string]*execution{}}
}

// Start carries out an attempt.
func (e *Executor) Start(x app.Execution, s app.Sink) {
	e.mu.Lock()
	if known := e.runs[x.ID]; known != nil {
		e.mu.Unlock()
		e.Attach(x, s)
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), x.Deadline.Add(time.Hour))
	r := &execution{cancel: cancel, sink: s}
	e.runs[x.ID] = r
	e.Log = append(e.Log, x.ID)
	e.mu.Unlock()
	go func() {
		res := e.Do(ctx, x)
		outcome := res.Outcome
		switch {
		case outcome != 0:
		case res.Err != nil:
			outcome = app.Failed
		default:
			outcome = app.Completed
		}
		e.mu.Lock()
		r.result = res
		r.ended = &app.Ended{Outcome: outcome, Error: res.Err, Instance: "test", List: res.List, Outputs: len(res.Outputs)}
		sink := r.sink
		e.mu.Unlock()
		if sink != nil {
			r.tell(sink)
		}
	}()
}

func (r *execution) tell(s app.Sink) {
	for i, l := range r.result.Logs {
		s.Log(domain.LogLine{Stream: "stdout", Level: "info", AtMicros: int64(i + 1), Line: l})
	}
	for i, o := range r.result.Outputs {
		s.Output(app.Output{Index: i, Values: o, List: r.result.List})
	}
	s.Ended(*r.ended)
}

// Attach listens to an attempt under way, or ended and not forgotten.
func (e *Executor) Attach(x app.Execution, s app.Sink) {
	e.mu.Lock()
	r := e.runs[x.ID]
	if r == nil {
		e.mu.Unlock()
		go s.Ended(app.Ended{Outcome: app.Unknown})
		return
	}
	r.sink = s
	ended := r.ended != nil
	e.mu.Unlock()
	if ended {
		go r.tell(s)
	}
}

// Detach cuts the sinks of the engine that is gone.
func (e *Executor) Detach() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		r.sink = nil
	}
}

// Cancel tells an attempt to stop.
func (e *Executor) Cancel(id, _ string, _ time.Duration) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r != nil {
		r.cancel()
	}
}

// Forget drops an attempt that ended.
func (e *Executor) Forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.runs[id]; r != nil {
		r.cancel()
		delete(e.runs, id)
	}
}

// Started counts the starts of an execution id.
func (e *Executor) Started(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, x := range e.Log {
		if x == id {
			n++
		}
	}
	return n
}

// One is a result of one set of outputs.
func One(kv ...string) Result { return Result{Outputs: []domain.Values{Values(kv...)}} }

// Values makes values of name, JSON text pairs.
func Values(kv ...string) domain.Values {
	if len(kv)%2 != 0 {
		panic(fmt.Sprintf("odd number of strings: %q", kv))
	}
	v := domain.Values{}
	for i := 0; i < len(kv); i += 2 {
		v[kv[i]] = domain.Value(kv[i+1])
	}
	return v
}
