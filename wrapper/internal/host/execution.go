package host

import (
	"sync"
	"time"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"

	"github.com/pelton-run/pelton/wrapper/internal/mask"
)

// keepBytes is how much of an execution's messages is kept for an Attach. Results always are;
// when logs exceed it, the oldest go.
const keepBytes = 8 << 20

// execution is one execution and the messages that it has told. It lives on when the connection
// breaks, until it is forgotten or nobody has been attached for the detach lease.
type execution struct {
	id    string
	host  *Host
	start *pb.Start
	slot  bool // it has a place among the executions at a time
	mask  *mask.Masker

	cancel chan *pb.Cancel   // the first one counts
	acks   chan *pb.ToAction // sources, nil for others
	stop   chan struct{}     // closed when the lease has run out
	stopIt sync.Once

	mu       sync.Mutex
	seq      uint64
	kept     []*pb.FromAction
	keptSize int
	dropped  uint64 // log lines dropped since the last notice
	ended    bool
	to       *stream // attached, nil = nobody
	was      *stream // attached last
	heard    bool    // the runner has answered the last message by half-closing its call
	sent     uint64  // seq of the last message given to `to`
	alone    time.Time
	soon     *time.Timer // wakes the stream for what can wait a moment

	questions    map[uint64]question // about the filestore, without an answer yet
	asked        uint64              // id of the last one
	endTransfers func()              // nil: the filestore is a folder

	credited bool  // the runner says how much it takes
	logs     int64 // bytes of logs that it takes yet
	outputs  int64 // bytes of outputs
}

// credit lets that many more bytes of logs and outputs through. Before the first credit nothing is
// held back; from then on a log line beyond its budget is dropped and counted, an output waits.
func (x *execution) credit(c *pb.Credit) {
	x.mu.Lock()
	x.credited = true
	x.logs += c.GetLogs()
	x.outputs += c.GetOutputs()
	to := x.to
	x.mu.Unlock()
	if to != nil {
		to.signal()
	}
}

// tell appends a message and wakes the attached stream.
func (x *execution) tell(m *pb.FromAction) {
	m.ExecutionId = x.id
	x.mu.Lock()
	if x.ended {
		x.mu.Unlock()
		return
	}
	switch m.Body.(type) {
	case *pb.FromAction_Done, *pb.FromAction_Failed, *pb.FromAction_Result:
		x.ended = true
		if x.endTransfers != nil {
			x.endTransfers()
		}
		if x.dropped > 0 {
			x.append(dropNotice(x.dropped))
		}
		x.alone = time.Now()
	case *pb.FromAction_Log:
		// A reader that does not keep up loses log lines, counted, and never results.
		size := int64(m.SizeVT())
		if (x.keptSize > keepBytes && (x.to == nil || x.seq-x.sent > 20000)) || (x.credited && x.logs < size) {
			x.dropped++
			x.mu.Unlock()
			return
		}
		x.logs -= size
		if x.dropped > 0 {
			x.append(dropNotice(x.dropped))
			x.dropped = 0
		}
	}
	x.append(m)
	to := x.to
	switch m.Body.(type) {
	case *pb.FromAction_Instance, *pb.FromAction_Phase:
		// These are for people who watch: they wait a moment for the result, which then leaves with
		// them in one piece. Most executions have ended by then.
		if x.soon == nil {
			x.soon = time.AfterFunc(watchable, x.wake)
		}
		to = nil
	case *pb.FromAction_Done, *pb.FromAction_Failed, *pb.FromAction_Result:
		if x.soon != nil {
			x.soon.Stop()
		}
	}
	x.mu.Unlock()
	if to != nil {
		to.signal()
	}
}

// watchable is how long news of phases may wait for something that has to leave at once.
const watchable = 3 * time.Millisecond

func (x *execution) wake() {
	x.mu.Lock()
	to := x.to
	x.soon = nil
	x.mu.Unlock()
	if to != nil {
		to.signal()
	}
}

func dropNotice(n uint64) *pb.FromAction {
	return &pb.FromAction{Body: &pb.FromAction_Log{Log: &pb.Log{
		Stream: pb.Log_SYSTEM, Level: "warn", AtUnixMicros: time.Now().UnixMicro(), Dropped: n,
		Line: "log lines were dropped here: more came than could be passed on",
	}}}
}

func (x *execution) append(m *pb.FromAction) {
	m.ExecutionId = x.id
	x.seq++
	m.Seq = x.seq
	x.kept = append(x.kept, m)
	x.keptSize += m.SizeVT()
	if x.keptSize <= keepBytes {
		return
	}
	// Sent logs go first: what remains is every result and the newest lines.
	kept := x.kept[:0]
	excess := x.keptSize - keepBytes*3/4
	for _, k := range x.kept {
		if _, isLog := k.Body.(*pb.FromAction_Log); isLog && excess > 0 && k.Seq <= x.sent {
			n := k.SizeVT()
			excess -= n
			x.keptSize -= n
			continue
		}
		kept = append(kept, k)
	}
	clear(x.kept[len(kept):])
	x.kept = kept
}

// next are messages that the attached stream has not got, at most n. ended tells that there will
// be no more after them.
func (x *execution) next(s *stream, n int) (out []*pb.FromAction, more, ended bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.to != s {
		return nil, false, false
	}
	// kept is in ascending order of seq: search from the end, where new messages are.
	i := len(x.kept)
	for i > 0 && x.kept[i-1].Seq > x.sent {
		i--
	}
	out = x.kept[i:min(i+n, len(x.kept))]
	if x.credited {
		for k, m := range out {
			if m.GetOutput() == nil && m.GetResult() == nil {
				continue
			}
			size := int64(m.SizeVT())
			if x.outputs < size { // it and what follows it wait for the next credit
				out = out[:k]
				if k > 0 {
					x.sent = out[k-1].Seq
				}
				return append([]*pb.FromAction(nil), out...), false, false
			}
			x.outputs -= size
		}
	}
	if len(out) > 0 {
		x.sent = out[len(out)-1].Seq
	}
	more = i+len(out) < len(x.kept)
	return append([]*pb.FromAction(nil), out...), more, x.ended && !more
}

// attach gives the messages from seq on to s; an earlier stream gets no more.
func (x *execution) attach(s *stream, from uint64) {
	x.mu.Lock()
	x.to = s
	x.sent = 0
	if from > 0 {
		x.sent = from - 1
	}
	open := x.open()
	x.mu.Unlock()
	for _, q := range open {
		s.say(q)
	}
	s.signal()
}

// detach notes that s is gone.
func (x *execution) detach(s *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.to == s {
		x.to, x.was = nil, s
		x.alone = time.Now()
	}
}

// toldTo tells whether s was the last to be attached.
func (x *execution) toldTo(s *stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.to == s || (x.to == nil && x.was == s)
}

// expired tells whether nobody has been attached for the lease.
func (x *execution) expired(lease time.Duration, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.to == nil && now.Sub(x.alone) > lease
}

// hear notes that the runner has the last message: what is kept of it is kept for its crash alone.
func (x *execution) hear() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.heard = true
}

func (x *execution) wasHeard() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.heard
}

func (x *execution) hasEnded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ended
}

func (x *execution) isTo(s *stream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.to == s
}

// settle lets go of an event that the runner has made durable: a source that lives for months
// keeps no more than what is under way.
func (x *execution) settle(eventSeq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, k := range x.kept {
		if o := k.GetOutput(); o != nil && o.GetEventSeq() == eventSeq && k.Seq <= x.sent {
			x.keptSize -= k.SizeVT()
			x.kept = append(x.kept[:i], x.kept[i+1:]...)
			return
		}
	}
}
