package domain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// nodeKind says what a node of a step's tree is.
type nodeKind uint8

const (
	undecided nodeKind = iota // its needs have not ended
	leaf                      // one step run
	expanded                  // once per item of an opener's list; children by item
	looping                   // forEach; children are its items' step runs
)

// node is one place of a step: the root, or one item of a passage or forEach.
type node struct {
	kind     nodeKind
	state    StepState
	list     bool  // leaf: the handler returned a list
	item     bool  // a forEach's item
	timedOut bool  // its attempt was told to stop because its time is over
	inFlight bool  // an attempt is started and has not ended
	unknown  uint8 // how often its attempt turned out never to have started
	loads    uint8 // how often it waited in a row for values to be loaded
	step     int32
	opener   int32 // expanded: whose list
	attempt  int32
	lost     int32
	open     int32 // children that have not ended
	next     int32 // forEach: the next item to start
	failed   int32 // children that failed
	active   int32 // place in State.active + 1, 0 = not there
	other    int32 // the step that a skip is about
	path     []int32
	parent   *node
	children []*node
	computed []Computed
	outputs  []Values
	items    []Value // forEach: not journalled unless computed; cut from the list on demand
	listOf   Value   // forEach: the computed list
	err      *StepError
	reason   string
	due      int64 // deadline of the attempt, or when the next attempt is due
	started  int64
	ended    int64
	history  []AttemptView
}

// AttemptView is what is known of one attempt.
type AttemptView struct {
	Number   int32
	State    AttemptState
	Started  int64
	Ended    int64
	Deadline int64
	Instance string
	Phases   []Phase
	Err      *StepError
	Usage    Usage
}

// Run identifies a run and pins what it follows.
type Run struct {
	ID         string
	Project    string
	Deployment string
	CreatedAt  int64 // Unix microseconds
	Trigger    TriggerRef
}

// TriggerRef names what started a run.
type TriggerRef struct{ Kind, ID string }

// State is one run in memory. It is changed by facts only (apply), so that replaying the
// journal gives the same state. Not safe for concurrent use.
type State struct {
	Run
	Plan     *Plan
	Status   RunState
	Inputs   Values
	Vars     Values
	Event    Value
	Result   Values
	Err      *StepError
	ErrStep  int32 // -1 = none
	Started  int64
	Finished int64
	Cause    string // while cancelling and after: why
	Reason   string
	RowLimit int // about how large a row gets, in bytes. Defaults to 1 MiB

	roots     []*node
	open      int // roots that have not ended
	active    []*node
	firstFail *node
	loaded    map[string]loaded // values read from the filestore; a cache, never journalled
	waiting   map[*node]bool    // nodes whose expressions wait for such values
	waitEnd   bool              // the result waits for such values
	endLoads  uint8
	asked     map[string]bool
	held      int // bytes in loaded
	nodes     int
	more      []*node // left to the next row
}

type loaded struct {
	v   Value
	err *StepError
}

// NewState gives the state of a run of which nothing has happened yet.
func NewState(r Run, p *Plan) *State {
	s := &State{Run: r, Plan: p, Status: RunQueued, ErrStep: -1}
	s.roots = make([]*node, len(p.Nodes))
	block := make([]node, len(p.Nodes))
	for i := range block {
		block[i] = node{step: int32(i), opener: -1, other: -1, state: StepPending}
		s.roots[i] = &block[i]
	}
	s.open = len(s.roots)
	s.nodes = len(s.roots)
	return s
}

// ExecutionID derives the id of an attempt's execution. It is unique for ever.
func ExecutionID(run, step string, path []int32, attempt int32) string {
	b := make([]byte, 0, len(run)+len(step)+24)
	b = appendKey(b, run, step, path)
	b = append(b, ':')
	b = strconv.AppendInt(b, int64(attempt), 10)
	return string(b)
}

// IdempotencyKey is the same for all attempts of one step run.
func IdempotencyKey(run, step string, path []int32) string {
	return string(appendKey(nil, run, step, path))
}

func appendKey(b []byte, run, step string, path []int32) []byte {
	b = append(append(append(b, run...), ':'), step...)
	b = append(b, ':')
	for i, p := range path {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(p), 10)
	}
	return b
}

// Nodes is the number of places in the graph so far: about the number of step runs.
func (s *State) Nodes() int { return s.nodes }

// find gives the node of a step at exactly path, nil if there is none yet.
func (s *State) find(step int32, path []int32) *node {
	if step < 0 || int(step) >= len(s.roots) {
		return nil
	}
	n := s.roots[step]
	for _, i := range path {
		if n == nil || int(i) >= len(n.children) {
			return nil
		}
		n = n.children[i]
	}
	return n
}

// view gives what a reader at path sees of a step: the node at the deepest place along the
// path. item tells which entry of a list result the reader stands in, -1 if none.
func (s *State) view(step int32, path []int32) (n *node, item int32) {
	n = s.roots[step]
	for n.kind == expanded && len(n.path) < len(path) {
		n = n.children[path[len(n.path)]]
	}
	if n.list && len(path) > len(n.path) {
		return n, path[len(n.path)]
	}
	return n, -1
}

func (n *node) hasEnded() bool {
	if n.kind == expanded {
		return n.open == 0
	}
	switch n.state {
	case StepCompleted, StepFailed, StepSkipped, StepCancelled:
		return true
	default:
		return false
	}
}

// decided tells whether readers at the node's place can go on: it ended, or it turned out
// to run once per item, and so do they.
func (n *node) decided() bool { return n.kind == expanded || n.hasEnded() }

// passage is the path at which a node's expressions read other steps: a forEach's items
// stand where the forEach stands.
func (n *node) passage() []int32 {
	if n.item {
		return n.path[:len(n.path)-1]
	}
	return n.path
}

// maxItems bounds what a damaged row can make the replay allocate.
const maxItems = 1 << 24

func childPath(p []int32, i int32) []int32 {
	c := make([]int32, len(p)+1)
	copy(c, p)
	c[len(p)] = i
	return c
}

// apply changes the state by one fact. It decides nothing.
func (s *State) apply(f *Fact) error {
	switch f.Kind {
	case FactRunStarted:
		s.Inputs, s.Vars, s.Event = f.Inputs, f.Vars, f.Event
		s.Started, s.Status = f.At, RunRunning
		return nil
	case FactCancelling:
		s.Status, s.Cause, s.Reason = RunCancelling, f.Command, f.Reason
		return nil
	case FactRunEnded:
		s.Status, s.Result, s.Err, s.ErrStep, s.Finished = f.Run, f.Result, f.Err, f.Other, f.At
		return nil
	}
	n := s.find(f.Step, f.Path)
	if n == nil && len(f.Path) > 0 {
		n = s.item(f)
	}
	if n == nil {
		return fmt.Errorf("fact of kind %d names step %d at %v, which does not exist", f.Kind, f.Step, f.Path)
	}
	if f.N < 0 || f.N > maxItems {
		return fmt.Errorf("fact of kind %d counts %d items", f.Kind, f.N)
	}
	switch f.Kind {
	case FactExpanded:
		s.applyExpanded(n, f)
	case FactForEach:
		n.kind, n.state, n.started = looping, StepRunning, f.At
		s.nodes += int(f.N)
		n.children = make([]*node, f.N)
		n.open, n.listOf = f.N, f.List
	case FactAttemptStarted:
		s.applyAttemptStarted(n, f)
	case FactAttemptEnded:
		s.applyAttemptEnded(n, f)
	case FactRetry:
		n.state, n.due = StepWaiting, f.Due
		s.activate(n)
	case FactStepEnded:
		n.reason, n.other, n.err = f.Reason, f.Other, f.Err
		if n.kind == undecided {
			n.kind = leaf
		}
		s.end(n, f.State, f.At)
	}
	return nil
}

// item makes the node of a forEach's item at its first fact.
func (s *State) item(f *Fact) *node {
	last := len(f.Path) - 1
	p := s.find(f.Step, f.Path[:last])
	if p == nil || p.kind != looping || int(f.Path[last]) >= len(p.children) {
		return nil
	}
	i := f.Path[last]
	n := &node{step: f.Step, opener: -1, other: -1, state: StepPending, item: true, path: childPath(p.path, i), parent: p}
	p.children[i] = n
	p.next = max(p.next, i+1)
	return n
}

func (s *State) applyExpanded(n *node, f *Fact) {
	n.kind, n.opener, n.started = expanded, f.Other, f.At
	s.nodes += int(f.N)
	n.children = make([]*node, f.N)
	block := make([]node, f.N)
	for i := range block {
		block[i] = node{step: n.step, opener: -1, other: -1, state: StepPending, path: childPath(n.path, int32(i)), parent: n}
		n.children[i] = &block[i]
	}
	n.open = f.N
	if f.N == 0 {
		n.state, n.reason, n.other = StepSkipped, ReasonEmptyList, f.Other
		n.ended = f.At
		s.childEnded(n.parent)
	}
}

func (s *State) applyAttemptStarted(n *node, f *Fact) {
	n.kind, n.state, n.attempt, n.due = leaf, StepRunning, f.Attempt, f.Due
	n.inFlight, n.timedOut = true, false
	if f.Attempt == 1 {
		n.started, n.computed = f.At, f.Computed
	}
	n.history = append(n.history, AttemptView{Number: f.Attempt, State: AttemptStarted, Started: f.At, Deadline: f.Due})
	s.activate(n)
}

func (s *State) applyAttemptEnded(n *node, f *Fact) {
	n.inFlight, n.unknown = false, 0
	s.deactivate(n)
	if i := len(n.history) - 1; i >= 0 {
		a := &n.history[i]
		a.State = f.Outcome.AttemptState()
		a.Ended, a.Instance, a.Phases, a.Err, a.Usage = f.At, f.Instance, f.Phases, f.Err, f.Usage
	}
	switch f.Outcome {
	case OutcomeCompleted:
		n.outputs, n.list, n.err = f.Outputs, f.IsList, nil
		s.end(n, StepCompleted, f.At)
	case OutcomeLost:
		n.lost++
		n.err = f.Err
	default:
		n.err = f.Err
	}
}

func (o Outcome) AttemptState() AttemptState {
	switch o {
	case OutcomeCompleted:
		return AttemptCompleted
	case OutcomeCancelled:
		return AttemptCancelled
	case OutcomeLost:
		return AttemptLost
	default:
		return AttemptFailed
	}
}

// end gives a node its final state.
func (s *State) end(n *node, st StepState, at int64) {
	n.state, n.ended = st, at
	s.deactivate(n)
	if st == StepFailed {
		if s.firstFail == nil && !n.item {
			s.firstFail = n
		}
		if n.parent != nil {
			n.parent.failed++
		}
	}
	s.childEnded(n.parent)
}

// childEnded counts down towards the root; nil is the run itself.
func (s *State) childEnded(p *node) {
	if p == nil {
		s.open--
		return
	}
	p.open--
	if p.kind == expanded && p.open == 0 {
		s.childEnded(p.parent)
	}
}

func (s *State) activate(n *node) {
	if n.active == 0 {
		s.active = append(s.active, n)
		n.active = int32(len(s.active))
	}
}

func (s *State) deactivate(n *node) {
	if n.active == 0 {
		return
	}
	i, last := n.active-1, len(s.active)-1
	s.active[i] = s.active[last]
	s.active[i].active = i + 1
	s.active[last] = nil
	s.active = s.active[:last]
	n.active = 0
}

// Replay applies one journal row.
func (s *State) Replay(row []byte) error {
	facts, err := DecodeRow(row)
	if err != nil {
		return err
	}
	for i := range facts {
		if err := s.apply(&facts[i]); err != nil {
			return err
		}
	}
	return nil
}

// Reasons that a step was skipped or waits for.
const (
	ReasonEmptyList  = "empty list"
	ReasonNeedFailed = "need failed"
	ReasonNeedSkip   = "need skipped"
	ReasonIfFalse    = "if is false"
	ReasonJoin       = "too few needs completed"
	ReasonCancelled  = "run cancelled"
)

// reasonText tells a reason in words.
func (s *State) reasonText(n *node) string {
	other := ""
	if n.other >= 0 && int(n.other) < len(s.Plan.Nodes) {
		other = s.Plan.Nodes[n.other].Spec.ID
	}
	switch {
	case n.state == StepWaiting:
		return "backing off until " + time.UnixMicro(n.due).UTC().Format("15:04:05")
	case n.reason == ReasonEmptyList:
		return "the list of " + other + " is empty"
	case n.reason == ReasonNeedFailed:
		return other + " failed"
	case n.reason == ReasonNeedSkip:
		return other + " was skipped"
	}
	return n.reason
}

// Fingerprint renders everything that counts of the state, for tests of replay.
func (s *State) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q %d open=%d\n", s.Status, s.Cause, s.Reason, s.ErrStep, s.open)
	for _, k := range sortedKeys(s.Result) {
		fmt.Fprintf(&b, "result %s=%s\n", k, s.Result[k])
	}
	var walk func(n *node)
	walk = func(n *node) {
		if n == nil {
			return
		}
		fmt.Fprintf(&b, "%d%v kind=%d %s try=%d lost=%d open=%d fly=%v due=%d list=%v %q err=%v", n.step, n.path, n.kind, n.state,
			n.attempt, n.lost, n.open, n.inFlight, n.due, n.list, n.reason, n.err)
		for _, o := range n.outputs {
			for _, k := range sortedKeys(o) {
				fmt.Fprintf(&b, " %s=%s", k, o[k])
			}
		}
		c := slices.Clone(n.computed)
		slices.SortFunc(c, func(a, b Computed) int { return int(a.Index - b.Index) })
		for _, x := range c {
			fmt.Fprintf(&b, " c%d=%s", x.Index, x.Value)
		}
		for _, h := range n.history {
			fmt.Fprintf(&b, " [%d %s %d-%d %v]", h.Number, h.State, h.Started, h.Ended, h.Phases)
		}
		b.WriteByte('\n')
		for _, c := range n.children {
			walk(c)
		}
	}
	for _, r := range s.roots {
		walk(r)
	}
	return b.String()
}
