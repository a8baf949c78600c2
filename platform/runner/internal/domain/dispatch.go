package domain

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Masked is what a secret shows as.
var Masked = Value(`"•••"`)

// Dispatch is an attempt ready to be sent.
type Dispatch struct {
	Execution      string
	IdempotencyKey string
	Step           string
	StepIndex      int32
	Path           []int32
	Attempt        int32
	Deadline       int64         // Unix micros
	Limit          time.Duration // of one attempt, as declared; 0 = the default
	Inputs         Values
	Secrets        [][]byte
	Build          *Build // nil for a sub-workflow
	Workflow       string // a sub-workflow's name
	Detach         bool
	Child          string // the sub-workflow's run, UUIDv7
	Priority       int
	Effect         string
}

// Target names the attempt that a command is about.
func (s *State) Target(c Command) (execution string, step int32, path []int32) {
	n := c.node
	return ExecutionID(s.ID, s.Plan.Nodes[n.step].Spec.ID, n.path, c.Attempt), n.step, n.path
}

// Harmless tells that the attempt of a CommandStart changes nothing in the world and holds no place: it
// does no harm if it is forgotten and made again.
func (s *State) Harmless(c Command) bool {
	p := &s.Plan.Nodes[c.node.step]
	return p.pure() && !c.node.holds && !c.node.granted && !c.node.undoes
}

// pure tells that the step is an action that only computes.
func (p *PlanStep) pure() bool { return p.Effect == "pure" && p.Build != nil }

// Unheard tells that an attempt is not of those that the state knows as started: it ran ahead of its row,
// which was lost.
func (s *State) Unheard(step string, path []int32, attempt int32) bool {
	for i := range s.Plan.Nodes {
		if s.Plan.Nodes[i].Spec.ID != step || !s.Plan.Nodes[i].pure() || i >= len(s.roots) {
			continue
		}
		n := s.roots[i]
		for _, at := range path {
			if n == nil || !n.results.has(at) && int(at) >= len(n.children) {
				return true
			}
			if n.results.has(at) {
				return false
			}
			n = n.children[at]
		}
		return n == nil || n.attempt < attempt
	}
	return false
}

// UnderWay are the executions of the attempts that are started and have not ended.
func (s *State) UnderWay() map[string]bool {
	ids := map[string]bool{}
	for _, n := range s.active {
		if n.inFlight {
			ids[ExecutionID(s.ID, s.Plan.Nodes[n.step].Spec.ID, n.path, n.attempt)] = true
		}
	}
	return ids
}

// Dispatch makes the attempt of a CommandStart or CommandAttach. Tainted inputs are
// evaluated here. The error is *StepError, or *NeedRefsError if values must be loaded first.
func (s *State) Dispatch(c Command, secrets SecretSource) (Dispatch, error) {
	n := c.node
	p := &s.Plan.Nodes[n.step]
	d := Dispatch{
		Execution: ExecutionID(s.ID, p.Spec.ID, n.path, c.Attempt), IdempotencyKey: IdempotencyKey(s.ID, p.Spec.ID, n.path),
		Step: p.Spec.ID, StepIndex: n.step, Path: n.path, Attempt: c.Attempt, Build: p.Build, Deadline: n.due, Limit: p.Limit,
		Priority: p.Priority, Effect: p.Effect,
	}
	if p.Spec.Kind == "workflow" {
		d.Workflow, d.Detach = p.Spec.Workflow, p.Spec.Detach
		if i := len(n.history) - 1; i >= 0 {
			d.Child = ChildID(d.Execution, n.history[i].Started)
		}
	}
	sc, err := s.inputScope(n)
	if err != nil {
		return d, err
	}
	d.Inputs = make(Values, len(p.With))
	for i := range p.With {
		in := &p.With[i]
		if !in.Tainted {
			if v, ok := s.plainInput(n, sc, i); ok {
				d.Inputs[in.Name] = v
			}
			continue
		}
		sc.secrets = secrets
		v, err := taintedInput(in, sc)
		if err != nil {
			return d, err
		}
		d.Inputs[in.Name] = v
	}
	d.Secrets = sc.Used
	return d, nil
}

func taintedInput(in *PlanInput, sc *Scope) (Value, error) {
	if r, ok := in.Expr.Ref(); ok {
		v, ok := sc.Resolve(r)
		if !ok {
			if r.Root == "secrets" {
				s, ok := sc.Secret(r.Name)
				if ok {
					return appendJSONString(nil, s), nil
				}
			}
			return nil, &StepError{Kind: "invalid_input", Field: in.Name, Message: fmt.Sprintf("%s: %s is not set in this project", in.Name, in.Expr.Text())}
		}
		return v, nil
	}
	v, err := in.Expr.Eval(sc)
	if err != nil {
		var need *NeedRefsError
		if errors.As(err, &need) {
			return nil, err
		}
		return nil, asStepError("with."+in.Name, err)
	}
	return v, nil
}

// inputScope is the place from which a step run's inputs are read.
func (s *State) inputScope(n *node) (*Scope, error) {
	sc := &Scope{s: s, path: n.passage(), step: n.step}
	if n.undoes {
		sc.self = s.find(s.Plan.Nodes[n.step].Undoes, n.path)
	}
	if !n.item {
		return sc, nil
	}
	if n.parent.kind == repeating {
		i := int(n.path[len(n.path)-1])
		var last *node
		if i > 0 && i <= len(n.parent.children) {
			last = n.parent.children[i-1]
		}
		sc.loop = loopAt(i, last)
		return sc, nil
	}
	if n.given != nil {
		sc.item = n.given
		return sc, nil
	}
	if n.parent.items == nil {
		t := turn{s: s}
		items, _, err := t.loopItems(n.parent, &s.Plan.Nodes[n.step])
		if err != nil {
			return sc, err
		}
		n.parent.items = items
	}
	sc.item = n.parent.items.item(int(n.path[len(n.path)-1]))
	return sc, nil
}

// plainInput gives an input that holds no secret; false when it is left out.
func (s *State) plainInput(n *node, sc *Scope, i int) (Value, bool) {
	in := &s.Plan.Nodes[n.step].With[i]
	if v, ok := in.Expr.Literal(); ok {
		return v, true
	}
	if r, ok := in.Expr.Ref(); ok {
		return sc.Resolve(r)
	}
	for _, c := range n.computed {
		if int(c.Index) == i {
			return c.Value, true
		}
	}
	return nil, false
}

// ChildID derives the id of a sub-workflow's run from the execution that starts it and the
// time of that start, in Unix microseconds: a UUIDv7, the same after every crash.
func ChildID(execution string, started int64) string {
	h := sha256.Sum256([]byte(execution))
	var u [16]byte
	ms := uint64(started / 1000)
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	copy(u[6:], h[:10])
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// StepRunView is one passage through a step, as people see it.
type StepRunView struct {
	Step     int32
	Path     []int32
	State    StepState
	Reason   string
	Items    int // number of items of a forEach or of a list result, -1 = none
	Started  int64
	Ended    int64
	Inputs   Values
	Outputs  []Values
	List     bool
	Err      *StepError
	Attempts []AttemptView

	Wait   WaitKind
	Text   string // of what it waits: the signal's name, the question, the key
	Due    int64  // until when, 0 = without end
	Holds  string // the key whose place it holds
	Caught bool
	Child  string // a sub-workflow's run
}

// StepRuns gives every step run in the order of the file, then by item path. A step that
// runs once per item of a passage shows as its items only. Of condensed items (see Lean) only the
// end is shown.
func (s *State) StepRuns(yield func(StepRunView)) {
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		if n.kind != expanded || len(n.children) == 0 {
			yield(s.stepRun(n))
			if n.undo != nil {
				yield(s.stepRun(n.undo))
			}
		}
		n.places(func(_ int32, c *node) bool { walk(c); return true }, func(i int32, x itemEnd) bool {
			v := StepRunView{Step: n.step, Path: childPath(n.path, i), State: x.State, Items: -1, Err: x.Err, Caught: x.Caught}
			if x.Outputs != nil {
				v.Outputs = Mask([]Values{x.Outputs})
			}
			yield(v)
			return true
		})
	}
	for _, r := range s.roots {
		walk(r)
	}
}

func (s *State) stepRun(n *node) StepRunView {
	v := StepRunView{Step: n.step, Path: n.path, State: n.state, Reason: s.reasonText(n), Items: -1,
		Started: n.started, Ended: n.ended, Err: n.err, List: n.list, Attempts: n.history, Caught: n.caught}
	if n.wait != WaitNone {
		v.Wait, v.Text, v.Due = n.wait, n.text, n.due
	}
	p := &s.Plan.Nodes[n.step]
	if i := len(n.history) - 1; i >= 0 && p.Spec.Kind == "workflow" {
		v.Child = ChildID(ExecutionID(s.ID, p.Spec.ID, n.path, n.history[i].Number), n.history[i].Started)
	}
	if n.kind == looping || n.kind == repeating {
		v.Items = len(n.children)
	} else if n.list {
		v.Items = len(n.outputs)
	}
	if !n.hasEnded() && s.Status.Ended() {
		v.State, v.Reason, v.Ended = StepCancelled, ReasonCancelled, s.Finished
	}
	if n.state == StepWaiting && len(n.history) > 0 && n.err == nil {
		v.Err = n.history[len(n.history)-1].Err
	}
	v.Outputs = Mask(n.outputs)
	if p.Collect >= 0 && n.state == StepCompleted {
		v.Outputs = Mask(s.stepView(n.step, n.path).Outputs)
	}
	if len(n.history) > 0 {
		v.Inputs = s.shownInputs(n)
	}
	return v
}

// Mask hides sealed passwords.
func Mask(outputs []Values) []Values {
	copied := false
	for i, o := range outputs {
		for k, v := range o {
			if !Sealed(v) {
				continue
			}
			if !copied {
				outputs, copied = slices.Clone(outputs), true
			}
			outputs[i] = maps.Clone(outputs[i])
			outputs[i][k] = Masked
		}
	}
	return outputs
}

func (s *State) shownInputs(n *node) Values {
	p := &s.Plan.Nodes[n.step]
	sc, err := s.inputScope(n)
	in := make(Values, len(p.With))
	for i := range p.With {
		switch {
		case p.With[i].Tainted:
			in[p.With[i].Name] = Masked
		case err != nil:
		default:
			if v, ok := s.plainInput(n, sc, i); ok {
				in[p.With[i].Name] = v
			}
		}
	}
	return in
}

// ShownInputs are the run's inputs with passwords masked.
func (s *State) ShownInputs() Values {
	in := make(Values, len(s.Inputs))
	for k, v := range s.Inputs {
		if s.Plan.SecretInput(k) {
			v = Masked
		}
		in[k] = v
	}
	return in
}

// Child is the run that the attempt of a command has started, "" if it is no sub-workflow's.
func (s *State) Child(c Command) string {
	n := c.node
	p := &s.Plan.Nodes[n.step]
	if p.Spec.Kind != "workflow" {
		return ""
	}
	for _, h := range n.history {
		if h.Number == c.Attempt {
			return ChildID(ExecutionID(s.ID, p.Spec.ID, n.path, c.Attempt), h.Started)
		}
	}
	return ""
}

// Question is what a CommandAsk asks.
func (s *State) Question(c Command) string { return c.node.text }

// ReasonOf tells in words why a step run waits or was skipped.
func (s *State) ReasonOf(step int32, path []int32) string {
	if n := s.find(step, path); n != nil {
		return s.reasonText(n)
	}
	return ""
}
