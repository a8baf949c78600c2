package domain

import "strconv"

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
	Paused   bool
	// Held tells why the engine sends the run nothing until it is released, "" = it does. It is not journalled.
	Held     string
	Handler  string // the failure handler's run, or why there is none
	RowLimit int    // about how large a row gets, in bytes. Defaults to 1 MiB
	// Capped tells that the project or the server has limits of its own: every action step then
	// asks for its place. What follows of it is recorded.
	Capped bool
	// Lean is the number of places from which on nothing is kept of a forEach's items that have ended
	// but their ends: enough to go on with the run, not to show its items. 0 = never.
	Lean int

	roots      []*node
	open       int     // roots that have not ended
	active     []*node // what an attempt is under way for, or that waits
	freed      []*node // gave their places back since the last transition
	signals    []signal
	verdict    *Verdict
	undos      []*node // what is to be taken back, in order
	undone     int     // how many of them have ended
	cpuMicros  int64   // of all attempts that have ended
	byteMicros float64 // memory times time of them
	handling   bool    // the failure handler was asked for by this incarnation
	firstFail  *node
	loaded     map[string]loaded // values read from the filestore; a cache, never journalled
	waiting    map[*node]bool    // nodes whose expressions wait for such values
	waitEnd    bool              // the result waits for such values
	endLoads   uint8
	asked      map[string]bool
	held       int // bytes in loaded
	nodes      int
	more       []*node // left to the next row
}

// signal is one that arrived and that no step has taken yet.
type signal struct {
	name    string
	payload Value
}

// Verdict is how the run will end, once undos and the failure handler are through.
type Verdict struct {
	State RunState
	Err   *StepError
	Step  int32 // -1 = none
}

type loaded struct {
	v   Value
	err *StepError
}

// NewState gives the state of a run of which nothing has happened yet.
func NewState(r Run, p *Plan) *State {
	s := &State{Run: r, Plan: p, Status: RunQueued, ErrStep: -1}
	s.roots = make([]*node, len(p.Steps))
	block := make([]node, len(p.Steps))
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
	if step >= 0 && int(step) < len(s.Plan.Nodes) && s.Plan.Nodes[step].Undoes >= 0 {
		if n := s.find(s.Plan.Nodes[step].Undoes, path); n != nil {
			return n.undo
		}
		return nil
	}
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
	s.freed = nil // a keeper that starts anew is told what is held, not what no longer is
	return nil
}
