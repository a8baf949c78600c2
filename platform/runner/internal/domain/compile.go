package domain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
	for i := range d.Steps {
		k.gates(i)
	}
	k.results()
	k.triggers()
	k.keys()
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
	n := PlanStep{Spec: spec, optional: map[string]bool{}, Undoes: -1, Undo: -1, Collect: -1, Retry: spec.Retry, Effect: spec.Effect, Priority: k.p.Priority}
	if spec.Priority != nil {
		n.Priority = *spec.Priority
	}
	k.join(at, spec, &n)
	env := Env{Steps: k.ids}
	if f := spec.ForEach; f != nil {
		k.forEach(at, f, &n)
		env.Item = n.ForEach.As
	}
	if spec.If != "" {
		n.If = k.text(at+".if", spec.If, Env{Steps: k.ids}, &n)
	}
	k.loop(at, spec, &env, &n)
	switch spec.Kind {
	case "", "action":
		n.Build = k.build(at, spec.Build, spec.Uses, &n)
	case "workflow":
		if spec.Workflow == "" {
			k.bad(at+".workflow", "name the workflow")
		}
	case "wait":
		k.wait(at, spec.Wait, env, &n)
	case "switch":
		n.Switch = k.text(at+".switch", spec.Switch, env, &n)
	case "collect":
		k.collect(at, spec.Collect, &n)
	default:
		k.bad(at, "kind %q is not known to this runner", spec.Kind)
	}
	n.With = k.with(at, spec.With, env, &n)
	k.stages(at, spec, env, &n)
	k.retry(at, spec.Retry)
	for _, id := range spec.Needs {
		k.need(at+".needs", id, &n)
	}
	n.Timeout, n.Limit = timeoutOf(spec.Timeout, n.Build)
	k.p.Nodes[i] = n
	if spec.Undo != nil {
		k.undo(at, int32(i), env)
	}
}

// timeoutOf gives the timeout of an attempt, and what of it was declared, 0 = nothing.
func timeoutOf(t time.Duration, b *Build) (timeout, declared time.Duration) {
	if t == 0 && b != nil {
		t = time.Duration(b.TimeoutMillis) * time.Millisecond
	}
	if t == 0 {
		return DefaultStepTimeout, 0
	}
	return t, t
}

func (k *compilation) build(at, digest, uses string, n *PlanStep) *Build {
	b := k.p.builds[digest]
	if b == nil {
		k.bad(at+".uses", "build %s of %s is not part of the definition", digest, uses)
		return nil
	}
	for _, it := range b.Inputs {
		n.optional[it.Name] = it.Optional || len(it.Default) > 0
	}
	if n.Effect == "" {
		n.Effect = b.Effect
	}
	return b
}

func (k *compilation) join(at string, spec StepSpec, n *PlanStep) {
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
}

func (k *compilation) forEach(at string, f *ForEachSpec, n *PlanStep) {
	n.ForEach = &PlanForEach{As: f.As, Concurrency: f.Concurrency, OnError: f.OnError}
	if n.ForEach.As == "" {
		n.ForEach.As = "item"
	}
	switch f.OnError {
	case "", "fail", "skip", "collect":
	default:
		k.bad(at+".forEach.onError", "%q is none of fail, skip and collect", f.OnError)
	}
	if f.Concurrency < 0 {
		k.bad(at+".forEach.concurrency", "%d is negative; leave it out to run all items at once", f.Concurrency)
	}
	n.ForEach.In = k.text(at+".forEach.in", f.In, Env{Steps: k.ids}, n)
}

func (k *compilation) loop(at string, spec StepSpec, env *Env, n *PlanStep) {
	l := spec.Loop
	if l == nil {
		return
	}
	env.Loop = true
	if spec.ForEach != nil {
		k.bad(at+".loop", "a step has either forEach or loop: put one of them into a sub-workflow")
	}
	if l.Max < 1 || l.Max > MaxPasses {
		k.bad(at+".loop.max", "%d is not between 1 and %d", l.Max, MaxPasses)
	}
	n.Until = k.text(at+".loop.until", l.Until, *env, n)
}

func (k *compilation) with(at string, with map[string]json.RawMessage, env Env, n *PlanStep) []PlanInput {
	var out []PlanInput
	for _, name := range sortedKeys(with) {
		e, err := k.c.Value(with[name], env)
		if err != nil {
			k.bad(at+".with."+name, "%s", err)
			continue
		}
		k.reads(at+".with."+name, e, env.Self, n)
		out = append(out, PlanInput{name, e, k.tainted(e)})
	}
	return out
}

func (k *compilation) wait(at string, w *WaitSpec, env Env, n *PlanStep) {
	if w == nil {
		k.bad(at+".wait", "say what it waits for: for, until, signal or approval")
		return
	}
	count := 0
	if w.For != nil {
		n.Wait.For = k.value(at+".wait.for", w.For, env, n)
		count++
	}
	if w.Until != nil {
		n.Wait.Until = k.value(at+".wait.until", w.Until, env, n)
		count++
	}
	if w.Signal != "" {
		count++
	}
	if w.Approval != nil {
		n.Wait.Title = k.question(at+".wait.approval", w.Approval, env, n)
		count++
	}
	if count != 1 {
		k.bad(at+".wait", "say one thing that it waits for: for, until, signal or approval")
	}
	n.Wait.Zone = time.UTC
	if w.Timezone != "" {
		zone, err := time.LoadLocation(w.Timezone)
		if err != nil {
			k.bad(at+".wait.timezone", "%q is no time zone that is known here", w.Timezone)
		} else {
			n.Wait.Zone = zone
		}
	}
}

// question compiles what a person is asked.
func (k *compilation) question(at string, a *ApprovalSpec, env Env, n *PlanStep) Expression {
	title := a.Title
	if title == nil {
		title, _ = json.Marshal(n.Spec.ID)
	}
	return k.value(at+".title", title, env, n)
}

func (k *compilation) collect(at, id string, n *PlanStep) {
	j, ok := k.p.index[id]
	if !ok {
		k.bad(at+".collect", "there is no step %q", id)
		return
	}
	n.Collect = j
	k.need(at+".collect", id, n)
}

// stages compiles what comes before an attempt, and after a failure.
func (k *compilation) stages(at string, spec StepSpec, env Env, n *PlanStep) {
	if spec.Approval != nil {
		n.Consent = k.question(at+".approval", spec.Approval, env, n)
	}
	if c := spec.Cache; c != nil {
		n.CacheKey = k.value(at+".cache.key", c.Key, env, n)
		if n.Effect == "write" || n.Effect == "irreversible" {
			k.bad(at+".cache", "a step with the effect %s is not cached: only pure and read are", n.Effect)
		}
		if c.TTL <= 0 {
			k.bad(at+".cache.ttl", "say how long the outputs are kept")
		}
	}
	if c := spec.Concurrency; c != nil {
		key := c.Key
		if key == nil {
			key = json.RawMessage(`""`)
		}
		n.SlotKey = k.value(at+".concurrency.key", key, env, n)
	}
	for i, c := range spec.Catch {
		p := PlanCatch{On: c.On}
		if c.Outputs != nil {
			e := env
			e.Error = true
			p.Outputs = k.value(fmt.Sprintf("%s.catch[%d].outputs", at, i), c.Outputs, e, n)
		}
		n.Catch = append(n.Catch, p)
	}
}

// undo adds the step that takes step i back.
func (k *compilation) undo(at string, i int32, env Env) {
	of := &k.p.Nodes[i]
	u := of.Spec.Undo
	at += ".undo"
	env.Self = of.Spec.ID
	n := PlanStep{Spec: StepSpec{ID: of.Spec.ID + ".undo", Kind: "action", Uses: u.Uses, Build: u.Build, Title: of.Spec.Title, Retry: u.Retry},
		optional: map[string]bool{}, Undoes: i, Undo: -1, Collect: -1, Retry: u.Retry, Priority: of.Priority, ForEach: of.ForEach}
	n.Build = k.build(at, u.Build, u.Uses, &n)
	n.With = k.with(at, u.With, env, &n)
	for _, need := range n.Needs {
		if !slices.Contains(of.Needs, need) {
			of.Needs = append(of.Needs, need)
		}
	}
	n.Needs = nil
	k.retry(at, u.Retry)
	n.Timeout, n.Limit = timeoutOf(u.Timeout, n.Build)
	of.Undo = int32(len(k.p.Nodes))
	k.p.Nodes = append(k.p.Nodes, n)
}

// gates ties the steps that a switch chooses to it.
func (k *compilation) gates(i int) {
	spec := k.p.Steps[i]
	at := "steps." + spec.ID
	tie := func(where, id string, g Gate) {
		j, ok := k.p.index[id]
		if !ok {
			k.bad(where, "there is no step %q", id)
			return
		}
		n := &k.p.Nodes[j]
		if n.Gate != nil {
			k.bad(where, "step %s is chosen in two places: let it need both with join: any", id)
			return
		}
		n.Gate = &g
		if !slices.Contains(n.Needs, g.Switch) {
			n.Needs = append(n.Needs, g.Switch)
		}
	}
	for _, c := range sortedKeys(spec.Cases) {
		for _, id := range spec.Cases[c] {
			tie(at+".cases."+c, id, Gate{Switch: int32(i), Case: c})
		}
	}
	for _, id := range spec.Default {
		tie(at+".default", id, Gate{Switch: int32(i), Default: true})
	}
}

// keys compiles the keys of runs.
func (k *compilation) keys() {
	key := func(at string, raw json.RawMessage) Expression {
		if raw == nil {
			raw = json.RawMessage(`""`)
		}
		e, err := k.c.Value(raw, Env{})
		if err != nil {
			k.bad(at, "%s", err)
			return nil
		}
		if k.shows(e) {
			k.bad(at, "secrets and passwords must not be used in a key: it would show in the history")
		}
		return e
	}
	if c := k.p.Concurrency; c != nil {
		k.p.RunKey = key("concurrency.key", c.Key)
		switch c.Policy {
		case "", "queue", "skip", "cancel-oldest":
		default:
			k.bad("concurrency.policy", "%q is none of queue, skip and cancel-oldest", c.Policy)
		}
	}
	if r := k.p.RateLimit; r != nil {
		k.p.RateKey = key("rateLimit.key", r.Key)
		if r.Count < 1 || r.Per <= 0 {
			k.bad("rateLimit", "say how many (count, at least 1) in what time (per)")
		}
	}
	if k.p.IdempotencyKey != nil {
		k.p.DedupKey = key("idempotencyKey", k.p.IdempotencyKey)
	}
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
	k.reads(at, e, env.Self, n)
	return e
}

// value compiles a value that is journalled, where secrets have no place.
func (k *compilation) value(at string, raw json.RawMessage, env Env, n *PlanStep) Expression {
	e, err := k.c.Value(raw, env)
	if err != nil {
		k.bad(at, "%s", err)
		return nil
	}
	if k.shows(e) {
		k.bad(at, "secrets and passwords must not be used here: the value would show in the history; use them in `with`")
	}
	k.reads(at, e, env.Self, n)
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

func (k *compilation) reads(at string, e Expression, self string, n *PlanStep) {
	for _, id := range e.Steps() {
		if id != self || self == "" {
			k.need(at, id, n)
		}
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
