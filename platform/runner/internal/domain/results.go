package domain

// blockItems is how many items' ends are packed together.
const blockItems = 256

// results are the ends of a forEach's items by place, and all that a lean state keeps of them:
// state, error and outputs, encoded. Blocks in which every item has ended are one piece of bytes.
type results struct {
	blocks []resultBlock
	count  int
	size   int64 // bytes of outputs
}

type resultBlock struct {
	packed []byte   // records with their lengths before them, once left is 0
	open   [][]byte // by place; nil = not ended
	left   int
}

// itemEnd is what is known of an item that has ended.
type itemEnd struct {
	State   StepState
	Caught  bool
	Err     *StepError
	Outputs Values // nil = none
}

// uncaught tells that it failed and nothing caught that.
func (e *itemEnd) uncaught() bool { return e.State == StepFailed && !e.Caught }

func newResults(count int) *results {
	r := &results{count: count, blocks: make([]resultBlock, (count+blockItems-1)/blockItems)}
	for i := range r.blocks {
		r.blocks[i].left = min(blockItems, count-i*blockItems)
	}
	return r
}

// has tells that the item at a place has ended. A nil r holds none.
func (r *results) has(i int32) bool {
	if r == nil || i < 0 || int(i) >= r.count {
		return false
	}
	b := &r.blocks[i/blockItems]
	return b.left == 0 || b.open != nil && b.open[i%blockItems] != nil
}

func (r *results) put(i int32, x itemEnd) {
	e := encoder{b: make([]byte, 0, 8+len(x.Outputs)*4+int(sizeOf(x.Outputs)))}
	e.uint(indexOf(stepStates, x.State))
	e.bool(x.Caught)
	e.stepError(x.Err)
	e.ordered(x.Outputs)
	r.size += sizeOf(x.Outputs)
	r.putRecord(i, e.b)
}

func (r *results) putRecord(i int32, record []byte) {
	b := &r.blocks[i/blockItems]
	if b.open == nil {
		b.open = make([][]byte, b.left)
	}
	b.open[i%blockItems] = record
	if b.left--; b.left > 0 {
		return
	}
	n := 0
	for _, x := range b.open {
		n += len(x) + 3
	}
	e := encoder{b: make([]byte, 0, n)}
	for _, x := range b.open {
		e.bytes(x)
	}
	b.packed, b.open = e.b, nil
	if cap(b.packed)-len(b.packed) > len(b.packed)/16 {
		b.packed = append(make([]byte, 0, len(b.packed)), b.packed...)
	}
}

// records calls yield with the record of every item that has ended, in order, until it says no.
func (r *results) records(yield func(i int32, record []byte) bool) {
	if r == nil {
		return
	}
	for at := range r.blocks {
		b, first := &r.blocks[at], int32(at*blockItems)
		if b.left == 0 {
			d := decoder{b: b.packed}
			for i := first; len(d.b) > 0; i++ {
				if !yield(i, d.bytes()) {
					return
				}
			}
			continue
		}
		for i, x := range b.open {
			if x != nil && !yield(first+int32(i), x) {
				return
			}
		}
	}
}

// all calls yield with every item that has ended, in order. Values alias what r holds.
func (r *results) all(yield func(i int32, x itemEnd) bool) {
	r.records(func(i int32, record []byte) bool { return yield(i, decodeEnd(record)) })
}

func decodeEnd(record []byte) itemEnd {
	d := decoder{b: record}
	x := itemEnd{State: at(stepStates, d.uint()), Caught: d.bool()}
	x.Err = d.stepError()
	x.Outputs = d.values()
	return x
}

func sizeOf(v Values) (n int64) {
	for k, x := range v {
		n += int64(len(k) + len(x))
	}
	return n
}

// endOf is what of a node's end others read.
func endOf(n *node) itemEnd {
	x := itemEnd{State: n.state, Caught: n.caught, Err: n.err}
	if len(n.outputs) > 0 {
		x.Outputs = n.outputs[0]
	}
	return x
}

// condense lets go of an item that has ended, but for its end, in a state that is lean. What can
// be taken back stays, since that is done in the order of the ends.
func (s *State) condense(n *node) {
	p := n.parent
	if !n.item || p.kind != looping || s.Lean == 0 || s.nodes < s.Lean || s.Plan.Nodes[n.step].Undo >= 0 {
		return
	}
	if p.results == nil {
		p.results = newResults(len(p.children))
	}
	i := n.path[len(n.path)-1]
	p.results.put(i, endOf(n))
	p.children[i] = nil
}

// places hands every child of n, in order, to one of the two, until one of them says no. Children that
// are not begun are nil.
func (n *node) places(whole func(i int32, c *node) bool, condensed func(i int32, x itemEnd) bool) {
	next, going := int32(0), true
	until := func(i int32) bool {
		for ; going && next < i; next++ {
			going = whole(next, n.children[next])
		}
		return going
	}
	n.results.all(func(i int32, x itemEnd) bool {
		going = until(i) && condensed(i, x)
		next = i + 1
		return going
	})
	until(int32(len(n.children)))
}

// ends calls yield with every child of n that has ended, in order, until it says no.
func (n *node) ends(yield func(i int32, x itemEnd) bool) {
	n.places(func(i int32, c *node) bool { return c == nil || !c.hasEnded() || yield(i, endOf(c)) }, yield)
}

// resultSize is about how large the ordered results of a forEach are, in bytes.
func (n *node) resultSize() int64 {
	size := int64(0)
	if n.results != nil {
		size = n.results.size
	}
	for _, c := range n.children {
		if c != nil && len(c.outputs) > 0 {
			size += sizeOf(c.outputs[0])
		}
	}
	return size
}
