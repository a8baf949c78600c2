// Package suite runs the tests of a workspace. Those that actions have in their metadata run on this
// machine and without a server: each action is built and its tests run one after the other behind
// one wrapper. Tests of workflows run on the server of this home.
package suite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/platform/cli/localrun"
)

// States of a Result.
const (
	Passed = "passed"
	Failed = "failed"
	Broken = "error" // the test could not run: the action has errors, or was not built
)

// Result of one test of an action or of a workflow.
type Result struct {
	Dir      string `json:"dir,omitempty"`  // of the action
	File     string `json:"file,omitempty"` // of the workflow's test
	Action   string `json:"action,omitempty"`
	Workflow string `json:"workflow,omitempty"`
	Test     string `json:"test"`
	State    string `json:"state"` // passed | failed | error
	Millis   int64  `json:"ms"`
	Virtual  int64  `json:"virtual_ms,omitempty"` // workflows: in the time of the run
	Message  string `json:"message,omitempty"`
}

// Subject is what is tested: the action's id, or the workflow's name.
func (r Result) Subject() string { return r.Action + r.Workflow }

// Order is the tests of one action.
type Order struct {
	Dir  string
	Name *regexp.Regexp    // only the tests whose ID/NAME matches. Defaults to all
	Log  func(line string) // gets the lines of the build
}

// Tests are the names of an action's tests that are wanted; an action that has errors counts as
// one, since nobody can tell.
func (o Order) Tests() (id string, names []string) {
	abs, err := filepath.Abs(o.Dir)
	if err != nil {
		return filepath.Base(o.Dir), []string{"loads"}
	}
	a, problems := action.Load(os.DirFS(abs), ".", filepath.Base(abs))
	if problems.Errors() {
		return filepath.Base(abs), []string{"loads"}
	}
	for _, t := range a.Tests {
		if o.wants(a.ID, t.Name) {
			names = append(names, t.Name)
		}
	}
	return a.ID, names
}

func (o Order) wants(id, test string) bool { return o.Name == nil || o.Name.MatchString(id+"/"+test) }

// Action builds the action and runs its tests. The error is what kept all of them from running.
func Action(ctx context.Context, o Order) ([]Result, error) {
	i, err := localrun.Start(ctx, o.Dir, o.Log)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	var out []Result
	for _, t := range i.Action.Tests {
		if !o.wants(i.Action.ID, t.Name) {
			continue
		}
		began := time.Now()
		why, err := one(ctx, i, t)
		if err != nil {
			return out, err
		}
		r := Result{Dir: o.Dir, Action: i.Action.ID, Test: t.Name, State: Passed, Millis: time.Since(began).Milliseconds(), Message: why}
		if why != "" {
			r.State = Failed
		}
		out = append(out, r)
	}
	return out, nil
}

// Run runs the tests of all orders, at most parallel actions at the same time, and returns the
// results in the order of the orders. ended is called as each action ends, one call at a time.
func Run(ctx context.Context, orders []Order, parallel int, ended func([]Result)) ([]Result, error) {
	all := make([][]Result, len(orders))
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, max(1, parallel))
	for n, o := range orders {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			results, err := Action(ctx, o)
			if err != nil {
				results = broken(o, results, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if all[n] = results; ended != nil {
				ended(results)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var out []Result
	for _, r := range all {
		out = append(out, r...)
	}
	return out, nil
}

// broken gives every test that did not run the error that kept it from it.
func broken(o Order, ran []Result, err error) []Result {
	id, names := o.Tests()
	for _, name := range names {
		if !ranAlready(ran, name) {
			ran = append(ran, Result{Dir: o.Dir, Action: id, Test: name, State: Broken, Message: err.Error()})
		}
	}
	if len(names) == 0 && !errors.Is(err, context.Canceled) {
		ran = append(ran, Result{Dir: o.Dir, Action: id, Test: "builds", State: Broken, Message: err.Error()})
	}
	return ran
}

func ranAlready(ran []Result, test string) bool {
	for _, r := range ran {
		if r.Test == test {
			return true
		}
	}
	return false
}
