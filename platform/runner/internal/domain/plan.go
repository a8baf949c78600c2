package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults that the person sees with each run.
const (
	DefaultRunTimeout  = 7 * 24 * time.Hour
	DefaultStepTimeout = time.Hour
	// LostLimit is how many attempts of one step run may be lost with their instance
	// before the step fails. Lost attempts do not count against retry.attempts.
	LostLimit = 3
)

// Plan is a compiled definition: what a run follows. Immutable.
type Plan struct {
	Definition
	Nodes    []PlanStep // in the order of the file
	Results  []PlanResult
	Mappings map[string][]PlanInput // trigger id -> workflow inputs over event.*
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
	Timeout    time.Duration
	optional   map[string]bool // inputs that may be left out
}

// PlanForEach is a compiled forEach.
type PlanForEach struct {
	In          Expression
	As          string
	Concurrency int
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

// Problem is one reason that a definition cannot be run.
type Problem struct {
	Where   string // steps.chart.with.spec
	Message string
}

func (p Problem) String() string { return p.Where + ": " + p.Message }

// Compile checks a definition and makes its plan. All problems are told at once.
func Compile(d Definition, c Compiler) (*Plan, []Problem) {
	k := &compilation{c: c, p: &Plan{Definition: d, index: map[string]int32{}, builds: map[string]*Build{},
		secret: map[string]bool{}, Mappings: map[string][]PlanInput{}}}
	for i := range d.Builds {
		k.p.builds[d.Builds[i].Digest] = &d.Builds[i]
	}
	for _, it := range d.Inputs {
		if it.Type == "password" {
			k.p.secret[it.Name] = true
		}
	}
	for i, s := range d.Steps {
		if _, dup := k.p.index[s.ID]; dup || s.ID == "" {
			k.bad("steps."+s.ID, "every step needs an id of its own")
			continue
		}
		k.p.index[s.ID] = int32(i)
		k.ids = append(k.ids, s.ID)
	}
	k.p.Nodes = make([]PlanStep, len(d.Steps))
	for i := range d.Steps {
		k.step(i)
	}
	k.results()
	k.triggers()
	if len(k.problems) == 0 {
		k.link()
	}
	if len(k.problems) > 0 {
		return nil, k.problems
	}
	return k.p, nil
}

type compilation struct {
	c        Compiler
	p        *Plan
	ids      []string
	problems []Problem
}

func (k *compilation) bad(where, format string, args ...any) {
	k.problems = append(k.problems, Problem{where, fmt.Sprintf(format, args...)})
}

func (k *compilation) step(i int) {
	spec := k.p.Steps[i]
	at := "steps." + spec.ID
	n := PlanStep{Spec: spec, optional: map[string]bool{}}
	if spec.Kind != "" && spec.Kind != "action" {
		k.bad(at, "kind %q is not supported by this runner; it runs action steps", spec.Kind)
	}
	n.Build = k.p.builds[spec.Build]
	if n.Build == nil {
		k.bad(at+".uses", "build %s of %s is not part of the definition", spec.Build, spec.Uses)
	} else {
		for _, it := range n.Build.Inputs {
			n.optional[it.Name] = it.Optional || len(it.Default) > 0
		}
	}
	switch j := spec.Join; j {
	case "", "all":
	case "any":
		n.Join = 1
	default:
		v, err := strconv.Atoi(j)
		if err != nil || v < 1 || v > len(spec.Needs) {
			k.bad(at+".join", "%q is neither all, any nor a number from 1 to the %d needs", j, len(spec.Needs))
		}
		n.Join = v
	}
	env := Env{Steps: k.ids}
	if f := spec.ForEach; f != nil {
		n.ForEach = &PlanForEach{As: f.As, Concurrency: f.Concurrency}
		if n.ForEach.As == "" {
			n.ForEach.As = "item"
		}
		if f.OnError != "" && f.OnError != "fail" {
			k.bad(at+".forEach.onError", "%q is not supported by this runner; it knows fail", f.OnError)
		}
		if f.Concurrency < 0 {
			k.bad(at+".forEach.concurrency", "%d is negative; leave it out to run all items at once", f.Concurrency)
		}
		n.ForEach.In = k.text(at+".forEach.in", f.In, env, &n)
		env.Item = n.ForEach.As
	}
	if spec.If != "" {
		n.If = k.text(at+".if", spec.If, Env{Steps: k.ids}, &n)
	}
	for _, name := range sortedKeys(spec.With) {
		e, err := k.c.Value(spec.With[name], env)
		if err != nil {
			k.bad(at+".with."+name, "%s", err)
			continue
		}
		k.reads(at+".with."+name, e, &n)
		n.With = append(n.With, PlanInput{name, e, k.tainted(e)})
	}
	k.retry(at, spec.Retry)
	for _, id := range spec.Needs {
		k.need(at+".needs", id, &n)
	}
	n.Timeout = spec.Timeout
	if n.Timeout == 0 && n.Build != nil {
		n.Timeout = time.Duration(n.Build.TimeoutMillis) * time.Millisecond
	}
	if n.Timeout == 0 {
		n.Timeout = DefaultStepTimeout
	}
	k.p.Nodes[i] = n
}

func (k *compilation) retry(at string, r *RetrySpec) {
	if r == nil {
		return
	}
	if r.Attempts < 1 || r.Attempts > 1000 {
		k.bad(at+".retry.attempts", "%d is not between 1 and 1000; it counts the first try", r.Attempts)
	}
	if r.Backoff < 0 || r.Cap < 0 || r.Factor < 0 {
		k.bad(at+".retry", "backoff, factor and cap must not be negative")
	}
}

// text compiles an expression that decides something, where secrets have no place.
func (k *compilation) text(at, text string, env Env, n *PlanStep) Expression {
	e, err := k.c.Text(text, env)
	if err != nil {
		k.bad(at, "%s", err)
		return nil
	}
	if k.shows(e) {
		k.bad(at, "secrets and passwords must not be used here: the value would show in the history; use them in `with`")
	}
	k.reads(at, e, n)
	return e
}

// tainted tells that a value must not be journalled. What reads a step with a password
// among its outputs is, unless it is a plain reference to another one.
func (k *compilation) tainted(e Expression) bool {
	if k.shows(e) {
		return true
	}
	_, ref := e.Ref()
	return !ref && slices.ContainsFunc(e.Steps(), func(id string) bool { return k.secretOutput(id, "") })
}

// shows tells that a value holds a secret for certain. Anything else that reads a step with
// a password among its outputs sees that one sealed, except at dispatch.
func (k *compilation) shows(e Expression) bool {
	if e.Tainted() || slices.ContainsFunc(e.Inputs(), func(n string) bool { return k.p.secret[n] }) {
		return true
	}
	r, ok := e.Ref()
	return ok && r.Root == "steps" && k.secretOutput(r.Step, r.Name)
}

// secretOutput tells whether an output, or any if name is empty, is of type password.
func (k *compilation) secretOutput(step, name string) bool {
	i, ok := k.p.index[step]
	if !ok || k.p.builds[k.p.Steps[i].Build] == nil {
		return false
	}
	return slices.ContainsFunc(k.p.builds[k.p.Steps[i].Build].Outputs, func(it Item) bool {
		return it.Type == "password" && (name == "" || it.Name == name)
	})
}

func (k *compilation) reads(at string, e Expression, n *PlanStep) {
	for _, id := range e.Steps() {
		k.need(at, id, n)
	}
}

func (k *compilation) need(at, id string, n *PlanStep) {
	j, ok := k.p.index[id]
	if !ok {
		k.bad(at, "there is no step %q", id)
		return
	}
	if !slices.Contains(n.Needs, j) {
		n.Needs = append(n.Needs, j)
	}
}

func (k *compilation) results() {
	for _, name := range sortedKeys(k.p.Result) {
		at := "result." + name
		// An entry is text as written, or JSON when it is more than one text.
		raw := json.RawMessage(k.p.Result[name])
		if !json.Valid(raw) {
			raw, _ = json.Marshal(k.p.Result[name])
		}
		e, err := k.c.Value(raw, Env{Steps: k.ids})
		if err != nil {
			k.bad(at, "%s", err)
			continue
		}
		if k.shows(e) {
			k.bad(at, "secrets and passwords must not be used in a result")
		}
		r := PlanResult{Name: name, Expr: e}
		for _, id := range e.Steps() {
			if j, ok := k.p.index[id]; ok {
				r.Steps = append(r.Steps, j)
			} else {
				k.bad(at, "there is no step %q", id)
			}
		}
		k.p.Results = append(k.p.Results, r)
	}
}

func (k *compilation) triggers() {
	for _, t := range k.p.Triggers {
		for _, name := range sortedKeys(t.Inputs) {
			e, err := k.c.Value(t.Inputs[name], Env{Event: true})
			if err != nil {
				k.bad("triggers."+t.ID+".inputs."+name, "%s", err)
				continue
			}
			if e.Tainted() && !k.p.secret[name] {
				k.bad("triggers."+t.ID+".inputs."+name, "a secret can go into an input of type password only: the value would show in the history")
			}
			k.p.Mappings[t.ID] = append(k.p.Mappings[t.ID], PlanInput{Name: name, Expr: e})
		}
	}
}

// link fills in who follows whom and refuses cycles.
func (k *compilation) link() {
	nodes := k.p.Nodes
	for i := range nodes {
		for _, j := range nodes[i].Needs {
			nodes[j].Downstream = append(nodes[j].Downstream, int32(i))
		}
	}
	state := make([]byte, len(nodes))
	var visit func(i int32, trail []string) bool
	visit = func(i int32, trail []string) bool {
		trail = append(trail, nodes[i].Spec.ID)
		if state[i] == 1 {
			k.bad("steps."+nodes[i].Spec.ID, "the steps need each other in a circle: %s", strings.Join(trail, " needs "))
			return false
		}
		if state[i] == 2 {
			return true
		}
		state[i] = 1
		seen := map[int32]bool{}
		for _, j := range nodes[i].Needs {
			if !visit(j, trail) {
				return false
			}
			seen[j] = true
			for _, a := range nodes[j].Ancestors {
				seen[a] = true
			}
		}
		for a := range seen {
			nodes[i].Ancestors = append(nodes[i].Ancestors, a)
		}
		slices.Sort(nodes[i].Ancestors)
		state[i] = 2
		return true
	}
	for i := range nodes {
		if !visit(int32(i), nil) {
			return
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
