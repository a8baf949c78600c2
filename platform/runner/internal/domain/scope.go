package domain

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
)

// SecretSource gives what tainted expressions may read at dispatch.
type SecretSource interface {
	Secret(name string) (string, bool)
	// Unseal opens a password value that was sealed before it was journalled; other values
	// come back as they are.
	Unseal(v Value) (Value, error)
}

// Scope is what one expression can read: the run as seen from one place of the graph.
type Scope struct {
	s       *State
	path    []int32
	step    int32 // -1 for results
	item    Value
	loop    *loopView  // a loop's step
	err     *StepError // what catch is about
	self    *node      // undo: the step run that is taken back
	secrets SecretSource
	Used    [][]byte // secrets that the expression read: to be masked
	// for trigger mappings there is no run yet
	event Value
	vars  Values
}

// EventScope is the scope of a trigger's mapping onto workflow inputs.
func EventScope(event Value, vars Values, secrets SecretSource) *Scope {
	return &Scope{event: event, vars: vars, secrets: secrets, step: -1}
}

// FinalScope is the scope of something that is told about the run as a whole, such as the
// answer to its caller. Values in the filestore that it needs cannot be loaded through it.
func (s *State) FinalScope() *Scope { return &Scope{s: s, step: -1} }

// StepView is what a reader sees of a step.
type StepView struct {
	State   StepState
	Outputs []Values
	IsList  bool // a forEach: Outputs is the ordered list of its items' outputs
	Error   *StepError
	// TooLarge is set instead of Outputs if they are more than an expression can read.
	TooLarge *StepError
}

// Event is the event of a trigger mapping.
func (sc *Scope) Event() Value { return sc.event }

// Trigger is the event that started the run.
func (sc *Scope) Trigger() Value {
	if sc.s == nil {
		return sc.event
	}
	return sc.s.Event
}

// Input is one workflow input.
func (sc *Scope) Input(name string) (Value, bool) {
	if sc.s == nil {
		return nil, false
	}
	v, ok := sc.s.Inputs[name]
	if ok && sc.s.Plan.SecretInput(name) && sc.secrets != nil {
		open, err := sc.secrets.Unseal(v)
		if err != nil {
			return nil, false
		}
		sc.used(open)
		return open, true
	}
	return v, ok
}

// Inputs are all workflow inputs. Sealed passwords stay sealed: read those by name.
func (sc *Scope) Inputs() Values {
	if sc.s == nil {
		return nil
	}
	return sc.s.Inputs
}

// Vars are the project's variables as they were when the run started.
func (sc *Scope) Vars() Values {
	if sc.s == nil {
		return sc.vars
	}
	return sc.s.Vars
}

// Item is the current item of the step's forEach.
func (sc *Scope) Item() Value { return sc.item }

// ItemName is the name under which expressions reach Item, empty outside a forEach.
func (sc *Scope) ItemName() string {
	if sc.s == nil || sc.step < 0 || sc.item == nil || sc.s.Plan.Nodes[sc.step].ForEach == nil {
		return ""
	}
	return sc.s.Plan.Nodes[sc.step].ForEach.As
}

// Run tells which run this is.
func (sc *Scope) Run() (r Run, workflow string, revision int, ok bool) {
	if sc.s == nil {
		return Run{}, "", 0, false
	}
	return sc.s.Run, sc.s.Plan.Workflow, sc.s.Plan.Revision, true
}

// Step gives what can be seen of a step, false if there is no such step.
func (sc *Scope) Step(id string) (StepView, bool) {
	if sc.s == nil {
		return StepView{}, false
	}
	i, ok := sc.s.Plan.StepIndex(id)
	if !ok {
		return StepView{}, false
	}
	n, _ := sc.s.view(i, sc.path)
	if err := sc.s.tooLarge(i, n); err != nil && !sc.own(i) {
		return StepView{State: n.state, Error: n.err, TooLarge: err}, true
	}
	return sc.outputs(i), true
}

// tooLarge tells that a list that a step gave is more than an expression can read.
func (s *State) tooLarge(i int32, n *node) *StepError {
	size := int64(0)
	switch {
	case n.kind == looping:
		size = n.resultSize()
	case s.Plan.Nodes[i].Collect >= 0 && n.state == StepCompleted:
		of, _ := s.view(s.Plan.Nodes[i].Collect, n.path)
		size = of.collectedSize()
	case n.list:
		size = n.collectedSize()
	}
	if size <= MaxLoaded {
		return nil
	}
	id := s.Plan.Nodes[i].Spec.ID
	return errf("value_too_large", "the results of %s are %d bytes together; an expression can read at most %d. Pass the list on whole (${steps.%s} as an input of an action), or let its items give less", id, size, MaxLoaded, id)
}

// collectedSize is about how large the outputs of a step and of its passages are, in bytes.
func (n *node) collectedSize() (size int64) {
	for _, o := range n.outputs {
		size += sizeOf(o)
	}
	if n.kind == expanded {
		for _, c := range n.children {
			size += c.collectedSize()
		}
	}
	return size
}

// own tells that a step is read by what takes one of its step runs back, which sees just that one.
func (sc *Scope) own(i int32) bool { return sc.self != nil && sc.self.step == i }

// outputs gives what a step gave, however large it is.
func (sc *Scope) outputs(i int32) StepView {
	v := sc.s.stepView(i, sc.path)
	if sc.own(i) {
		v = StepView{State: sc.self.state, Outputs: sc.self.outputs, IsList: sc.self.list}
	}
	if sc.secrets != nil {
		v.Outputs = sc.unseal(v.Outputs)
	}
	return v
}

// unseal opens the passwords among outputs, for what is sent and not kept.
func (sc *Scope) unseal(outputs []Values) []Values {
	copied := false
	for i, o := range outputs {
		for k, v := range o {
			if !Sealed(v) {
				continue
			}
			open, err := sc.secrets.Unseal(v)
			if err != nil {
				continue
			}
			if !copied {
				outputs, copied = slices.Clone(outputs), true
			}
			outputs[i] = maps.Clone(outputs[i])
			outputs[i][k] = open
			sc.used(open)
		}
	}
	return outputs
}

// SealedKey marks a password value that is kept sealed: {"$sealed": base64}.
const SealedKey = "$sealed"

// Sealed tells whether a value is a sealed password.
func Sealed(v Value) bool { return bytes.HasPrefix(v, []byte(`{"`+SealedKey+`":`)) }

func (s *State) stepView(i int32, path []int32) StepView {
	n, item := s.view(i, path)
	if item >= 0 {
		return StepView{State: n.state, Outputs: n.outputs[item : item+1]}
	}
	if p := s.Plan.Nodes[i]; p.Collect >= 0 && n.state == StepCompleted {
		of, _ := s.view(p.Collect, n.path)
		return StepView{State: n.state, Outputs: []Values{{"items": JoinList(collected(of, nil))}}}
	}
	if n.kind != looping {
		return StepView{State: n.state, Outputs: n.outputs, IsList: n.list, Error: n.err}
	}
	v := StepView{State: n.state, IsList: true, Error: n.err}
	s.gave(n, func(o Values) { v.Outputs = append(v.Outputs, o) })
	return v
}

// gave calls yield with what others see of each of a forEach's items, in order.
func (s *State) gave(n *node, yield func(Values)) {
	onError := s.Plan.Nodes[n.step].ForEach.OnError
	see := func(x itemEnd) {
		switch {
		case x.uncaught() && onError == "skip":
		case x.uncaught() && onError == "collect":
			yield(Values{"error": errorValue(x.Err)})
		case x.Outputs == nil:
			yield(Values{})
		default:
			yield(x.Outputs)
		}
	}
	n.places(func(_ int32, c *node) bool {
		if c == nil {
			yield(Values{})
		} else {
			see(endOf(c))
		}
		return true
	}, func(_ int32, x itemEnd) bool { see(x); return true })
}

// joined is the list of what a forEach's items gave. They are decoded one at a time.
func (sc *Scope) joined(n *node) Value {
	b := append(make(Value, 0, n.resultSize()+int64(8*len(n.children))), '[')
	sc.s.gave(n, func(o Values) {
		if sc.secrets != nil {
			o = sc.unseal([]Values{o})[0]
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, objectOf(o)...)
	})
	return append(b, ']')
}

// errorValue is what expressions see of an error.
func errorValue(e *StepError) Value {
	v := Values{"kind": appendJSONString(nil, e.Kind), "message": appendJSONString(nil, e.Message), "code": appendJSONString(nil, e.Code)}
	if e.Details != nil {
		v["details"] = e.Details
	}
	return objectOf(v)
}

// Failed is failed(): a step before this one failed.
func (sc *Scope) Failed() bool {
	if sc.s == nil || sc.step < 0 {
		return false
	}
	for _, a := range sc.s.Plan.Nodes[sc.step].Ancestors {
		if n, _ := sc.s.view(a, sc.path); n.state == StepFailed {
			return true
		}
	}
	return false
}

// FailedStep is failed("x"): the step failed, caught or not.
func (sc *Scope) FailedStep(id string) bool {
	n := sc.at(id)
	return n != nil && n.state == StepFailed
}

// ErrorOf is errorOf("x"): the error of a step that failed, or whose failure catch replaced.
func (sc *Scope) ErrorOf(id string) (*StepError, bool) {
	n := sc.at(id)
	if n == nil {
		return nil, false
	}
	return n.err, n.err != nil
}

// Loop is the pass of a loop's step: its index from 0, and the outputs of the pass before.
func (sc *Scope) Loop() (index int, last Values, ok bool) {
	if sc.loop == nil {
		return 0, nil, false
	}
	return sc.loop.index, sc.loop.last, true
}

// Error is the error that the outputs of a catch are about, nil elsewhere.
func (sc *Scope) Error() *StepError { return sc.err }

// Skipped is skipped("x").
func (sc *Scope) Skipped(id string) bool {
	n := sc.at(id)
	return n != nil && n.state == StepSkipped
}

// at is the place of a step that the scope sees, nil if there is no such step.
func (sc *Scope) at(id string) *node {
	if sc.s == nil {
		return nil
	}
	i, ok := sc.s.Plan.StepIndex(id)
	if !ok {
		return nil
	}
	n, _ := sc.s.view(i, sc.path)
	return n
}

// Secret reads a secret; only tainted expressions evaluated at dispatch can.
func (sc *Scope) Secret(name string) (string, bool) {
	if sc.secrets == nil {
		return "", false
	}
	v, ok := sc.secrets.Secret(name)
	if ok {
		sc.Used = append(sc.Used, []byte(v))
	}
	return v, ok
}

// used notes a password value for masking, without its quotes.
func (sc *Scope) used(v Value) {
	if s, err := strconv.Unquote(string(v)); err == nil && s != "" {
		sc.Used = append(sc.Used, []byte(s))
		return
	}
	sc.Used = append(sc.Used, bytes.Clone(v))
}

// Load gives v itself, or what it refers to in the filestore. The error is *NeedRefsError as
// long as that is not loaded: the evaluation is tried again once it is.
func (sc *Scope) Load(v Value) (Value, error) {
	if sc.s == nil {
		return v, nil
	}
	return sc.s.load(v)
}

func (s *State) load(v Value) (Value, error) {
	ref, ok := AsBlobRef(v)
	if !ok {
		return v, nil
	}
	if l, ok := s.loaded[ref.Digest]; ok {
		if l.err != nil {
			return nil, l.err
		}
		return l.v, nil
	}
	if ref.Size > MaxLoaded {
		return nil, errf("value_too_large", "this value is %d bytes; an expression can read at most %d. Pass it on whole, or as a file", ref.Size, MaxLoaded)
	}
	return nil, &NeedRefsError{Refs: []BlobRef{ref}}
}

// Resolve gives what a plain reference points at, false if there is nothing: the step was
// skipped or has no such output.
func (sc *Scope) Resolve(r Ref) (Value, bool) {
	switch r.Root {
	case "inputs":
		if r.Name == "" {
			return objectOf(sc.Inputs()), true
		}
		return sc.Input(r.Name)
	case "vars":
		if r.Name == "" {
			return objectOf(sc.Vars()), true
		}
		v, ok := sc.Vars()[r.Name]
		return v, ok
	case "steps":
		return sc.resolveStep(r)
	case "trigger", "event":
		if r.Name == "" {
			v := sc.Trigger()
			return v, v != nil
		}
	default:
		if r.Name == "" && r.Root == sc.ItemName() && sc.item != nil {
			return sc.item, true
		}
		return sc.resolvePlace(r)
	}
	return nil, false
}

// Read gives what a plain reference points at to an expression, which can read at most MaxLoaded
// bytes of it: what lies in the filestore is loaded (see Load). It is null if there is nothing.
func (sc *Scope) Read(r Ref) (Value, error) {
	if r.Root == "steps" && sc.s != nil {
		if v, ok := sc.Step(r.Step); ok && v.TooLarge != nil {
			return nil, v.TooLarge
		}
	}
	v, ok := sc.Resolve(r)
	if !ok {
		return Value("null"), nil
	}
	return sc.Load(v)
}

// resolvePlace gives what only some places have: a loop's pass, the error of a catch.
func (sc *Scope) resolvePlace(r Ref) (Value, bool) {
	switch {
	case r.Root == "pass" && sc.loop != nil && r.Name == "index":
		return Value(strconv.Itoa(sc.loop.index)), true
	case r.Root == "pass" && sc.loop != nil && r.Name == "last":
		return objectOf(sc.loop.last), true
	case r.Root == "error" && sc.err != nil && r.Name == "":
		return errorValue(sc.err), true
	case r.Root == "error" && sc.err != nil && r.Name == "kind":
		return appendJSONString(nil, sc.err.Kind), true
	case r.Root == "error" && sc.err != nil && r.Name == "message":
		return appendJSONString(nil, sc.err.Message), true
	case r.Root == "error" && sc.err != nil && r.Name == "code":
		return appendJSONString(nil, sc.err.Code), true
	}
	return nil, false
}

func (sc *Scope) resolveStep(r Ref) (Value, bool) {
	if sc.s == nil {
		return nil, false
	}
	i, ok := sc.s.Plan.StepIndex(r.Step)
	if !ok {
		return nil, false
	}
	if n, item := sc.s.view(i, sc.path); !sc.own(i) && item < 0 && n.kind == looping && n.state == StepCompleted {
		if r.Name != "" {
			return nil, false
		}
		return sc.joined(n), true
	}
	v := sc.outputs(i)
	if v.State != StepCompleted {
		return nil, false
	}
	if v.IsList {
		if r.Name != "" {
			return nil, false
		}
		items := make([]Value, len(v.Outputs))
		for i, o := range v.Outputs {
			items[i] = objectOf(o)
		}
		return JoinList(items), true
	}
	if len(v.Outputs) == 0 {
		return nil, false
	}
	if r.Name == "" {
		return objectOf(v.Outputs[0]), true
	}
	x, ok := v.Outputs[0][r.Name]
	return x, ok && x != nil
}

// objectOf makes a JSON object of values without decoding them.
func objectOf(v Values) Value {
	b := Value{'{'}
	for i, k := range sortedKeys(v) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, k)
		b = append(b, ':')
		if v[k] == nil {
			b = append(b, "null"...)
		} else {
			b = append(b, v[k]...)
		}
	}
	return append(b, '}')
}
