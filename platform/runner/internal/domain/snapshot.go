package domain

import (
	"fmt"
	"slices"
)

// snapshotVersion changes with every change of a snapshot's encoding: who does not know it reads the
// whole journal instead.
const snapshotVersion = 1

// snapshotEnd is the last field: a snapshot that was cut off lacks it.
const snapshotEnd = 0x5e

// Snapshot encodes the state as its journal up to now gives it, for Restore. What is only in memory
// (values that were loaded, orders under way) is not part of it: EventResume makes it again, as after
// a replay.
func (s *State) Snapshot() []byte {
	e := encoder{b: []byte{snapshotVersion}}
	e.string(s.Plan.RevisionID)
	e.uint(uint64(len(s.Plan.Nodes)))
	e.uint(indexOf(runStates, s.Status))
	e.values(s.Inputs)
	e.values(s.Vars)
	e.value(s.Event)
	e.int(s.Started)
	e.string(s.Cause)
	e.string(s.Reason)
	e.bool(s.Paused)
	e.string(s.Handler)
	e.int(s.cpuMicros)
	e.float(s.byteMicros)
	e.uint(uint64(s.open))
	e.uint(uint64(s.nodes))
	e.uint(uint64(len(s.signals)))
	for _, g := range s.signals {
		e.string(g.name)
		e.value(g.payload)
	}
	e.bool(s.verdict != nil)
	if v := s.verdict; v != nil {
		e.uint(indexOf(runStates, v.State))
		e.stepError(v.Err)
		e.int(int64(v.Step))
	}
	e.uint(uint64(len(s.active)))
	for _, r := range s.roots {
		e.node(r)
	}
	e.uint(uint64(len(s.undos)))
	for _, n := range s.undos {
		e.uint(uint64(n.step))
		e.path(n.path)
	}
	e.uint(uint64(s.undone))
	e.bool(s.firstFail != nil)
	if n := s.firstFail; n != nil {
		e.uint(uint64(n.step))
		e.path(n.path)
	}
	e.uint(snapshotEnd)
	return e.b
}

// Restore makes a new state what it was when the snapshot was taken. The error is *UnknownFactError if
// the snapshot was written by newer code. The state must not be used after an error. Values alias b.
func (s *State) Restore(b []byte) error {
	if len(b) == 0 {
		return errShort
	}
	if b[0] != snapshotVersion {
		return &UnknownFactError{Version: int(b[0])}
	}
	d := restorer{decoder{b: b[1:]}, s}
	if revision, steps := d.string(), d.uint(); revision != s.Plan.RevisionID || steps != uint64(len(s.Plan.Nodes)) {
		return fmt.Errorf("the snapshot is of revision %q with %d steps, the plan of %q with %d", revision, steps, s.Plan.RevisionID, len(s.Plan.Nodes))
	}
	s.Status = at(runStates, d.uint())
	s.Inputs, s.Vars, s.Event = d.values(), d.values(), d.value()
	s.Started, s.Cause, s.Reason, s.Paused, s.Handler = d.int(), d.string(), d.string(), d.bool(), d.string()
	s.cpuMicros, s.byteMicros = d.int(), d.float()
	s.open, s.nodes = int(d.uint()), int(d.uint())
	for range d.count() {
		s.signals = append(s.signals, signal{d.string(), d.value()})
	}
	if d.bool() {
		s.verdict = &Verdict{State: at(runStates, d.uint()), Err: d.stepError(), Step: int32(d.int())}
	}
	s.active = make([]*node, d.count())
	for _, r := range s.roots {
		d.node(r)
	}
	for range d.count() {
		s.undos = append(s.undos, d.place())
	}
	s.undone = int(d.uint())
	if d.bool() {
		s.firstFail = d.place()
	}
	end := d.uint()
	if d.err != nil {
		return d.err
	}
	if end != snapshotEnd || len(d.b) > 0 || slices.Contains(s.active, nil) || slices.Contains(s.undos, nil) {
		return fmt.Errorf("the snapshot is damaged")
	}
	return nil
}

// The flags of a node in a snapshot.
const (
	flagList = 1 << iota
	flagCaught
	flagKept
	flagApproved
	flagHolds
	flagInFlight
	flagUndo
	flagResults
	flagWork // it has been begun: computed inputs, outputs, attempts
	flagText
)

func (n *node) flags() (f uint64) {
	for i, on := range []bool{n.list, n.caught, n.kept, n.approved, n.holds, n.inFlight, n.undo != nil, n.results != nil,
		n.started != 0 || n.attempt != 0 || len(n.computed)+len(n.outputs)+len(n.history) > 0,
		n.reason != "" || n.text != "" || n.cacheKey != "" || n.slotKey != "" || n.err != nil || n.listOf != nil} {
		if on {
			f |= 1 << i
		}
	}
	return f
}

// node writes a place with all that is below it. Its step, path and parent follow from where it stands.
func (e *encoder) node(n *node) {
	e.uint(uint64(n.kind))
	e.uint(indexOf(stepStates, n.state))
	e.uint(uint64(n.wait))
	f := n.flags()
	e.uint(f)
	e.uint(uint64(n.active))
	e.int(int64(n.opener))
	e.int(int64(n.other))
	e.int(n.due)
	e.int(n.ended)
	if f&flagWork != 0 {
		e.work(n)
	}
	if f&flagText != 0 {
		e.string(n.reason)
		e.string(n.text)
		e.string(n.cacheKey)
		e.string(n.slotKey)
		e.stepError(n.err)
		e.value(n.listOf)
	}
	if n.undo != nil {
		e.node(n.undo)
	}
	e.below(n)
}

func (e *encoder) work(n *node) {
	e.int(n.started)
	e.int(n.reminder)
	e.uint(uint64(n.attempt))
	e.uint(uint64(n.lost))
	e.uint(uint64(len(n.computed)))
	for _, c := range n.computed {
		e.uint(uint64(c.Index))
		e.value(c.Value)
	}
	e.outputs(n.outputs)
	e.uint(uint64(len(n.history)))
	for i := range n.history {
		a := &n.history[i]
		e.uint(uint64(a.Number))
		e.string(string(a.State))
		e.int(a.Started)
		e.int(a.Ended)
		e.int(a.Deadline)
		e.string(a.Instance)
		e.stepError(a.Err)
		e.usage(a.Usage)
		e.phases(a.Phases)
	}
}

func (e *encoder) below(n *node) {
	if n.kind != expanded && n.kind != looping && n.kind != repeating {
		return
	}
	e.uint(uint64(n.open))
	e.uint(uint64(n.failed))
	e.uint(uint64(n.live))
	e.uint(uint64(len(n.children)))
	there := 0
	for _, c := range n.children {
		if c != nil {
			there++
		}
	}
	e.uint(uint64(there))
	for i, c := range n.children {
		if c != nil {
			e.uint(uint64(i))
			e.node(c)
		}
	}
	if n.results != nil {
		e.results(n.results)
	}
}

func (e *encoder) results(r *results) {
	e.int(r.size)
	for i := range r.blocks {
		b := &r.blocks[i]
		e.uint(uint64(b.left))
		if b.left == 0 {
			e.bytes(b.packed)
			continue
		}
		for _, x := range b.open {
			e.value(x)
		}
		if b.open == nil {
			for range b.left {
				e.value(nil)
			}
		}
	}
}

// restorer reads places of a snapshot into a state.
type restorer struct {
	decoder
	s *State
}

// place is the node of a step at a path.
func (d *restorer) place() *node {
	step := d.uint()
	path := d.path()
	if step >= uint64(len(d.s.roots)) {
		d.fail()
		return nil
	}
	return d.s.find(int32(step), path)
}

func (d *restorer) node(n *node) {
	n.kind, n.state, n.wait = nodeKind(d.uint()), at(stepStates, d.uint()), WaitKind(d.uint())
	f := d.uint()
	n.list, n.caught, n.kept = f&flagList != 0, f&flagCaught != 0, f&flagKept != 0
	n.approved, n.holds, n.inFlight = f&flagApproved != 0, f&flagHolds != 0, f&flagInFlight != 0
	if n.active = int32(d.uint()); n.active > 0 {
		if int(n.active) > len(d.s.active) {
			d.fail()
			return
		}
		d.s.active[n.active-1] = n
	}
	n.opener, n.other, n.due, n.ended = int32(d.int()), int32(d.int()), d.int(), d.int()
	if f&flagWork != 0 {
		d.work(n)
	}
	if f&flagText != 0 {
		n.reason, n.text, n.cacheKey, n.slotKey = d.string(), d.string(), d.string(), d.string()
		n.err, n.listOf = d.stepError(), d.value()
	}
	if f&flagUndo != 0 {
		undo := d.s.Plan.Nodes[n.step].Undo
		if undo < 0 {
			d.fail()
			return
		}
		n.undo = newUndo(undo, n)
		d.node(n.undo)
	}
	d.below(n, f)
}

func (d *restorer) work(n *node) {
	n.started, n.reminder = d.int(), d.int()
	n.attempt, n.lost = int32(d.uint()), int32(d.uint())
	for range d.count() {
		n.computed = append(n.computed, Computed{int32(d.uint()), d.value()})
	}
	n.outputs = d.outputs()
	for range d.count() {
		a := AttemptView{Number: int32(d.uint()), State: AttemptState(d.string()), Started: d.int(), Ended: d.int(), Deadline: d.int(), Instance: d.string()}
		a.Err, a.Usage = d.stepError(), d.usage()
		a.Phases = d.phases()
		n.history = append(n.history, a)
	}
}

func (d *restorer) below(n *node, f uint64) {
	if n.kind != expanded && n.kind != looping && n.kind != repeating {
		return
	}
	n.open, n.failed, n.live = int32(d.uint()), int32(d.uint()), int32(d.uint())
	count := d.uint()
	if count > maxItems {
		d.fail()
		return
	}
	n.children = make([]*node, count)
	for range d.count() {
		i := d.uint()
		if i >= count || d.err != nil {
			d.fail()
			return
		}
		c := &node{step: n.step, opener: -1, other: -1, item: n.kind != expanded, path: childPath(n.path, int32(i)), parent: n}
		n.children[i] = c
		d.node(c)
	}
	if f&flagResults != 0 {
		n.results = d.results(int(count))
	}
}

func (d *restorer) results(count int) *results {
	r := newResults(count)
	r.size = d.int()
	for i := range r.blocks {
		b := &r.blocks[i]
		items := b.left
		left := int(d.uint())
		if left > items || d.err != nil {
			d.fail()
			return nil
		}
		if b.left = left; left == 0 {
			b.packed = d.bytes()
			continue
		}
		b.open = make([][]byte, items)
		for j := range b.open {
			b.open[j] = d.value()
		}
	}
	return r
}
