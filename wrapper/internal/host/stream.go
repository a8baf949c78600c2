package host

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// stream is one call of Execute or Session: several executions share it, taking turns, so that a
// flood of one never blocks another.
type stream struct {
	h    *Host
	wake chan struct{}

	mu      sync.Mutex
	runs    []*execution
	last    *execution       // that ended last on this stream
	heard   time.Time        // when the runner last told that it listens; zero = it does not tell
	extra   []*pb.FromAction // answers without an execution
	batched bool             // the runner takes batches: it has sent one
	whole   bool             // the runner takes executions told in one message
	light   []*execution     // of the receiving goroutine: those of the message for lanes

	out []*pb.FromAction // of the sending goroutine: what the next message carries
	top int              // their size
}

// batchBytes is about how much one message carries; none exceeds 256 KiB.
const batchBytes = 128 << 10

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *stream) add(x *execution, from uint64) {
	s.mu.Lock()
	known := false
	for _, r := range s.runs {
		known = known || r == x
	}
	if !known {
		s.runs = append(s.runs, x)
	}
	s.mu.Unlock()
	x.attach(s, from)
}

func (s *stream) say(m *pb.FromAction) {
	s.mu.Lock()
	s.extra = append(s.extra, m)
	s.mu.Unlock()
	s.signal()
}

// Session carries many executions over one call.
func (h *Host) Session(call grpc.BidiStreamingServer[pb.ToAction, pb.FromAction]) error {
	return h.serve(call, false)
}

// Execute carries one execution; the call ends with it.
func (h *Host) Execute(call grpc.BidiStreamingServer[pb.ToAction, pb.FromAction]) error {
	return h.serve(call, true)
}

// caller is the other end of a stream: a gRPC call, or a plain connection.
type caller interface {
	Send(m *pb.FromAction) error
	Recv() (*pb.ToAction, error)
	Context() context.Context
}

func (h *Host) serve(call caller, single bool) error {
	s := &stream{h: h, wake: make(chan struct{}, 1), whole: plainly(call)}
	h.connected(1)
	defer h.connected(-1)
	received := make(chan error, 1)
	go func() { received <- s.receive(call) }()
	defer func() {
		s.mu.Lock()
		runs := s.runs
		s.mu.Unlock()
		for _, x := range runs {
			x.detach(s)
		}
	}()
	beat := time.NewTicker(h.cfg.Beat)
	defer beat.Stop()
	var over error
	closed := false
	for {
		ended, err := s.flush(call)
		if err != nil {
			return err
		}
		if ended && single && !closed {
			return s.parting(call, received)
		}
		if ended && closed {
			s.hear()
			return over
		}
		select {
		case <-s.wake:
		case <-beat.C:
			if s.silent(time.Now()) {
				return status.Error(codes.DeadlineExceeded, "the runner has not been heard for the detach lease")
			}
			if err := s.beat(call); err != nil {
				return err
			}
		case over = <-received:
			if over != nil {
				return over
			}
			closed, received = true, nil // half-closed: what is under way goes on
		case <-call.Context().Done():
			return nil
		}
	}
}

// partingWait is how long the call of an execution that has ended waits for its caller to half-close:
// proxies on the way pass the end of a call on only to callers that have.
const partingWait = time.Second

// parting waits for the caller's last word.
func (s *stream) parting(call caller, received <-chan error) error {
	t := time.NewTimer(partingWait)
	defer t.Stop()
	select {
	case err := <-received:
		if err == nil {
			s.hear()
		}
		return err
	case <-t.C:
		return nil
	case <-call.Context().Done():
		return nil
	}
}

// hear notes that the caller has the last messages of what was told on this stream.
func (s *stream) hear() {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	if last != nil {
		last.hear()
	}
}

// silent tells whether a runner that tells that it listens has not done so for the lease.
func (s *stream) silent(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.heard.IsZero() && now.Sub(s.heard) > s.h.cfg.Lease
}

// beat tells that the executions of the stream go on, also when they say nothing for long: proxies
// on the way cut what is silent.
func (s *stream) beat(call caller) error {
	s.mu.Lock()
	runs := append([]*execution(nil), s.runs...)
	s.mu.Unlock()
	for _, x := range runs {
		if err := call.Send(&pb.FromAction{ExecutionId: x.id, Body: &pb.FromAction_Heartbeat{Heartbeat: &pb.Heartbeat{}}}); err != nil {
			return err
		}
	}
	return nil
}

// receive deals with what the runner sends.
func (s *stream) receive(call caller) error {
	for {
		m, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b := m.GetBatch()
		if b == nil {
			b = &pb.ToActionBatch{Messages: []*pb.ToAction{m}}
		} else {
			s.mu.Lock()
			s.batched = true
			s.mu.Unlock()
		}
		for _, m := range b.Messages {
			if err = s.take(m); err != nil {
				break
			}
		}
		if len(s.light) > 0 {
			s.h.lanes.put(s.light...)
			clear(s.light)
			s.light = s.light[:0]
		}
		if err != nil {
			return err
		}
	}
}

func (s *stream) take(m *pb.ToAction) error {
	id := m.GetExecutionId()
	switch body := m.Body.(type) {
	case *pb.ToAction_Start:
		if err := s.h.check(m.GetToken(), id); err != nil {
			return err
		}
		if id == "" {
			return status.Error(codes.InvalidArgument, "execution_id is empty")
		}
		x, fresh := s.h.begin(id, body.Start)
		s.add(x, 1)
		switch {
		case !fresh:
		case s.whole && len(id) <= longestID && s.h.lanes.light(body.Start):
			s.light = append(s.light, x)
		default:
			go x.run()
		}
	case *pb.ToAction_Attach:
		if err := s.h.check(m.GetToken(), id); err != nil {
			return err
		}
		if x := s.h.find(id); x != nil {
			s.add(x, body.Attach.GetFromSeq())
		} else {
			s.say(&pb.FromAction{ExecutionId: id, Body: &pb.FromAction_Unknown{Unknown: &pb.Unknown{}}})
		}
	// What follows is for executions that this stream is attached to: its token was checked then.
	case *pb.ToAction_Cancel:
		if x := s.attached(id); x != nil {
			select {
			case x.cancel <- body.Cancel:
			default:
			}
			x.abortTransfers()
			s.h.lanes.poke(x)
		}
	case *pb.ToAction_FileGrant:
		if x := s.attached(id); x != nil {
			x.granted(body.FileGrant)
		}
	case *pb.ToAction_Heartbeat:
		s.mu.Lock()
		s.heard = time.Now()
		s.mu.Unlock()
	case *pb.ToAction_Credit:
		if x := s.attached(id); x != nil {
			x.credit(body.Credit)
		}
	case *pb.ToAction_EventAck, *pb.ToAction_RunResult:
		if x := s.attached(id); x != nil && x.acks != nil {
			if ack := m.GetEventAck(); ack != nil {
				x.settle(ack.GetEventSeq())
			}
			select {
			case x.acks <- m:
			case <-x.stop:
			}
		}
	case *pb.ToAction_Forget:
		// An execution whose last message is sent is attached to nobody any more.
		if x := s.h.find(id); x != nil && x.toldTo(s) {
			s.h.forget(id)
		}
	}
	return nil
}

// attached is an execution that this stream speaks for, nil for any other.
func (s *stream) attached(id string) *execution {
	x := s.h.find(id)
	if x == nil || !x.isTo(s) {
		return nil
	}
	return x
}

// flush sends what the executions have told, some of each in turn, until there is no more.
// ended tells that all of them have ended and everything of theirs is sent.
func (s *stream) flush(call caller) (ended bool, err error) {
	for {
		s.mu.Lock()
		extra, batched := s.extra, s.batched
		s.extra = nil
		runs := append([]*execution(nil), s.runs...)
		s.mu.Unlock()
		for _, m := range extra {
			if err := call.Send(m); err != nil {
				return false, err
			}
		}
		again := false
		var over []*execution
		for _, x := range runs {
			out, more, done := x.next(s, 64)
			for _, m := range out {
				if err := s.put(call, m, batched); err != nil {
					return false, err
				}
			}
			again = again || more
			if done {
				over = append(over, x)
			}
		}
		if err := s.post(call); err != nil {
			return false, err
		}
		s.drop(over)
		if !again {
			s.mu.Lock()
			ended = len(s.runs) == 0 && len(runs) > 0 && len(s.extra) == 0
			s.mu.Unlock()
			return ended, nil
		}
	}
}

// put sends a message, with others where the runner takes batches.
func (s *stream) put(call caller, m *pb.FromAction, batched bool) error {
	if !batched {
		return call.Send(m)
	}
	size := m.SizeVT()
	if s.top+size > batchBytes {
		if err := s.post(call); err != nil {
			return err
		}
	}
	s.out, s.top = append(s.out, m), s.top+size
	return nil
}

// post sends what put has gathered.
func (s *stream) post(call caller) error {
	var err error
	switch len(s.out) {
	case 0:
		return nil
	case 1:
		err = call.Send(s.out[0])
	default:
		err = call.Send(&pb.FromAction{Body: &pb.FromAction_Batch{Batch: &pb.FromActionBatch{Messages: s.out}}})
	}
	clear(s.out)
	s.out, s.top = s.out[:0], 0
	return err
}

// drop lets go of executions whose last message is sent.
func (s *stream) drop(over []*execution) {
	if len(over) == 0 {
		return
	}
	s.mu.Lock()
	s.runs = slices.DeleteFunc(s.runs, func(x *execution) bool { return slices.Contains(over, x) })
	s.last = over[len(over)-1]
	s.mu.Unlock()
	for _, x := range over {
		x.detach(s)
	}
}
