package domain

import "slices"

// nodeKind says what a node of a step's tree is.
type nodeKind uint8

const (
	undecided nodeKind = iota // its needs have not ended
	leaf                      // one step run
	expanded                  // once per item of an opener's list; children by item
	looping                   // forEach; children are its items' step runs
	repeating                 // loop … until; children are its passes
)

// WaitKind says what a step run waits for. Numbers are journalled.
type WaitKind uint8

// What a step run can wait for.
const (
	WaitNone     WaitKind = iota
	WaitRetry             // the next attempt is due
	WaitTime              // a duration or an instant
	WaitSignal            // a signal of the name Reason
	WaitApproval          // a person's decision; the step's work
	WaitConsent           // a person's decision before the first attempt
	WaitLost              // a person's decision: an attempt with an irreversible effect was lost
	WaitSlot              // a place under the limits that the step names
	WaitCache             // whether the cache has its outputs
	WaitPass              // the next pass of a loop is due
)

var waitNames = [...]string{"", "retry", "time", "signal", "approval", "consent", "lost", "slot", "cache", "pass"}

func (w WaitKind) String() string {
	if int(w) < len(waitNames) {
		return waitNames[w]
	}
	return "unknown"
}

// WaitKindOf is the kind of a name that String gave, WaitNone for others.
func WaitKindOf(name string) WaitKind { return WaitKind(max(slices.Index(waitNames[:], name), 0)) }

// person tells that a person decides.
func (w WaitKind) person() bool { return w == WaitApproval || w == WaitConsent || w == WaitLost }

// outside tells that it ends by a signal or a decision.
func (w WaitKind) outside() bool { return w == WaitSignal || w.person() }

// node is one place of a step: the root, or one item of a passage, forEach or loop.
type node struct {
	kind     nodeKind
	state    StepState
	wait     WaitKind
	list     bool  // leaf: the handler returned a list
	item     bool  // a forEach's item or a loop's pass
	undoes   bool  // it takes back what its twin did
	caught   bool  // it failed and that is caught, or catch gave its outputs
	kept     bool  // it was taken over from an earlier run
	approved bool  // a person let it go on
	missed   bool  // the cache was asked and has nothing
	holds    bool  // it holds a place under the limits that it names
	granted  bool  // it got its place, and has not started yet
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
	failed   int32 // children that failed and were not caught
	live     int32 // items and passes that were begun and have not ended
	asks     int32 // how often this incarnation asked for its place
	active   int32 // place in State.active + 1, 0 = not there
	other    int32 // the step that a skip is about
	path     []int32
	parent   *node
	undo     *node   // what takes it back
	children []*node // nil: not begun, or in results
	computed []Computed
	outputs  []Values
	items    *itemList // forEach: not journalled unless computed; made of the list on demand
	results  *results  // forEach: ends of items that are no children any more
	given    Value     // a forEach's item: its value, while it is at hand
	listOf   Value     // forEach: the computed list
	err      *StepError
	reason   string
	text     string // of what it waits: the signal's name, the question, the key
	cacheKey string
	slotKey  string
	due      int64 // deadline of the attempt or the wait, or when the next attempt is due
	reminder int64 // when a person is to be reminded, 0 = never
	started  int64
	ended    int64
	history  []AttemptView
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

// between tells that a step run was begun and can enter its next stage.
func (n *node) between() bool {
	if n.kind != leaf || n.hasEnded() || n.inFlight {
		return false
	}
	return n.wait == WaitNone || n.wait == WaitCache && n.missed || n.wait == WaitSlot && n.granted
}

// passage is the path at which a node's expressions read other steps: a forEach's items
// stand where the forEach stands.
func (n *node) passage() []int32 {
	if n.item {
		return n.path[:len(n.path)-1]
	}
	return n.path
}

// uncaught tells that it failed and nothing caught that.
func (n *node) uncaught() bool { return n.state == StepFailed && !n.caught }
