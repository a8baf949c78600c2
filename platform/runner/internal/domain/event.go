package domain

// CommandKind says what the engine shall do once the transition's row is durable.
type CommandKind uint8

// The kinds of commands.
const (
	CommandStart    CommandKind = iota + 1 // send the attempt
	CommandAttach                          // listen to an attempt that was sent before a crash
	CommandCancel                          // tell the attempt to stop
	CommandForget                          // the end of the attempt is durable
	CommandLoad                            // load values from the filestore, then send EventLoaded
	CommandEnded                           // the run has ended
	CommandContinue                        // send EventContinue: the row was full
	CommandAdmit                           // ask for the run's place, then send EventAdmitted or EventRefused
	CommandAcquire                         // ask for the step run's place, then send EventGranted
	CommandRelease                         // the step run's place is free, or is not waited for any more
	CommandLookUp                          // ask the cache, then send EventLookedUp
	CommandKeep                            // put the step run's outputs into the cache
	CommandHandle                          // start the failure handler's run, then send EventHandled
	CommandAsk                             // a person is asked, or reminded (Reason "reminder")
)

// Command is one order of the state machine.
type Command struct {
	Kind    CommandKind
	Attempt int32
	Reason  string
	Refs    []BlobRef
	node    *node
}

// Transition is what follows from one event.
type Transition struct {
	Row      []byte // nil: nothing to journal
	Commands []Command
	Due      int64 // Unix micros of the earliest new due time, 0 = none; then send EventTick
	Waits    []WaitChange
}

// WaitChange tells that a step run began or ceased to wait for somebody outside.
type WaitChange struct {
	Step  int32
	Path  []int32
	Wait  WaitKind
	Text  string
	Due   int64 // Unix micros, 0 = without end
	Since int64
	Over  bool
}

// Event is something that the state machine reacts to.
type Event interface{ event() }

// The events.
type (
	// EventStarted is the first event of every run.
	EventStarted struct {
		Inputs Values
		Vars   Values
		Event  Value
		Queued bool   // it needs a place first
		Keep   *State // an earlier run whose finished steps are kept, nil = none
		From   string // with Keep: the step from which on everything runs again, "" = from what failed
	}
	// EventAdmitted says that the run may start.
	EventAdmitted struct{}
	// EventRefused says that the run shall not start.
	EventRefused struct{ Reason string }
	// EventGranted gives a step run its place. Ask is the Attempt of the CommandAcquire that it answers:
	// one from before a pause, which gave that place back, does not count.
	EventGranted struct {
		Step int32
		Path []int32
		Ask  int32
	}
	// EventLookedUp is the cache's answer.
	EventLookedUp struct {
		Step    int32
		Path    []int32
		Hit     bool
		Outputs []Values
		IsList  bool
	}
	// EventSignal is a signal to the run.
	EventSignal struct {
		Name    string
		Payload Value
	}
	// EventDecision is what a person decided.
	EventDecision struct {
		Step     int32
		Path     []int32
		Approved bool
		By       string
		Comment  string
		Values   Values // the form's
	}
	// EventPause stops new starts; EventUnpause lets them go on.
	EventPause struct{ Reason string }
	// EventUnpause ends a pause.
	EventUnpause struct{}
	// EventHandled says that the failure handler's run is durable, or why there is none.
	EventHandled struct{ Run, Problem string }
	// EventAttempt is the end of an attempt.
	EventAttempt struct {
		Step     int32
		Path     []int32
		Attempt  int32
		Outcome  Outcome
		Err      *StepError
		Outputs  []Values
		IsList   bool
		Instance string
		Usage    Usage
		Phases   []Phase
	}
	// EventTick says that a due time has come.
	EventTick struct{}
	// EventCancel is a command to end the run.
	EventCancel struct{ Command, Reason string }
	// EventLoaded brings values from the filestore; nil Value with Err tells why not.
	EventLoaded struct {
		Digest string
		Value  Value
		Err    *StepError
	}
	// EventContinue goes on where a full row stopped.
	EventContinue struct{}
	// EventResume follows the replay of the journal after a take-over.
	EventResume struct{}
)

func (EventStarted) event()  {}
func (EventAdmitted) event() {}
func (EventRefused) event()  {}
func (EventGranted) event()  {}
func (EventLookedUp) event() {}
func (EventSignal) event()   {}
func (EventDecision) event() {}
func (EventPause) event()    {}
func (EventUnpause) event()  {}
func (EventHandled) event()  {}
func (EventAttempt) event()  {}
func (EventTick) event()     {}
func (EventCancel) event()   {}
func (EventLoaded) event()   {}
func (EventResume) event()   {}
func (EventContinue) event() {}
