package host

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
	"github.com/pelton-run/pelton/wrapper/internal/frame"
	"github.com/pelton-run/pelton/wrapper/internal/worker"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// lanes run the brief executions of an action that reuses its processes: without a goroutine, a timer or
// a hand-over for each. An execution that turns out not to be brief, is cancelled, fails to
// leave its process in order or loses it goes on as any other does (job.goOn); those that wait
// behind it are taken back and go elsewhere. Only executions that need nothing special come here (light).
type lanes struct {
	h     *Host
	plain bool // the action reuses its processes and has neither files nor dynamic outputs

	mu      sync.Mutex
	waiting []*execution
	open    []*lane
	watch   *time.Timer // set while a lane has work
}

// lane is one process and the executions that it has, in order; the first is under way.
type lane struct {
	s      *lanes
	w      *worker.Lane
	flight []*job
	since  time.Time // when the first became the first
	head   atomic.Pointer[job]
	gone   bool // it takes no more
	closed bool
}

const (
	// stuck is how long an execution may take before it is no longer brief.
	stuck = 50 * time.Millisecond
	// laneIdle is how long a lane without work keeps its process.
	laneIdle = 5 * time.Millisecond
	// lightInputs is how many bytes the inputs of an execution for a lane have at most.
	lightInputs = 8 << 10
	// longestID is how many bytes an execution's id may have to be told from others by the start of its message.
	longestID = 256
)

// most is how many lanes there are at most: more processes than processors would only be switched between.
var most = runtime.NumCPU()

func newLanes(h *Host) *lanes {
	b := h.cfg.Bundle
	files := func(it bundle.Item) bool { return it.Type == "file" || it.Type == "directory" }
	return &lanes{h: h, plain: b.Kind != "Source" && b.Isolation == "reuse" && !b.DynamicOutputs && !slices.ContainsFunc(b.Inputs, files) && !slices.ContainsFunc(b.Outputs, files)}
}

// light tells whether an execution may go by a lane.
func (s *lanes) light(start *pb.Start) bool {
	if !s.plain || len(start.GetSecrets()) > 0 || len(start.GetCursor()) > 0 {
		return false
	}
	if d := start.GetDeadlineUnixMs(); d > 0 && time.Until(time.UnixMilli(d)) < 10*stuck {
		return false
	}
	size := 0
	for _, raw := range start.GetInputs() {
		if size += len(raw); size > lightInputs || strings.Contains(string(raw), `"$ref"`) {
			return false
		}
	}
	return true
}

// put takes executions; each is run and its end told.
func (s *lanes) put(xs ...*execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, xs...)
	s.fill()
}

// fill gives executions that wait to lanes that have room, or lets them run the usual way, as many at a
// time as the instance runs; needs s.mu.
func (s *lanes) fill() {
	brief := len(s.waiting) > 0 && s.h.cfg.Pool.Brief()
	for brief && len(s.waiting) > 0 {
		l := s.room()
		if l == nil {
			break
		}
		x := s.waiting[0]
		s.waiting = s.waiting[1:]
		l.start(x)
	}
	// Where executions are brief and no process is idle, one goes the usual way, which starts a process.
	for len(s.waiting) > 0 && (!brief || len(s.open) < most) {
		select {
		case s.h.slots <- struct{}{}:
		default:
			s.arm()
			return
		}
		x := s.waiting[0]
		s.waiting = s.waiting[1:]
		x.slot = true
		go x.run()
		if brief && len(s.open) > 0 {
			break
		}
	}
	if len(s.waiting) == 0 {
		s.waiting = nil
		return
	}
	s.arm()
}

// more is told when an execution that ran the usual way has ended.
func (s *lanes) more() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) > 0 {
		s.fill()
	}
}

// room is a lane for one more execution, nil when there is none; needs s.mu.
func (s *lanes) room() *lane {
	var best *lane
	for _, l := range s.open {
		if !l.gone && len(l.flight) < l.w.Depth() && (best == nil || len(l.flight) < len(best.flight)) {
			best = l
		}
	}
	if (best == nil || len(best.flight) > 0) && len(s.open) < most {
		l := &lane{s: s}
		if l.w = s.h.cfg.Pool.Lane(l.deliver, l.line); l.w != nil {
			s.open = append(s.open, l)
			return l
		}
	}
	return best
}

// start sends an execution to the process; needs s.mu.
func (l *lane) start(x *execution) {
	now := time.Now()
	j := &job{execution: x, began: now, light: true}
	text, err := j.prepare()
	if err == nil && !l.w.Fits(len(text)) {
		j.giveFolderBack()
		go x.run()
		return
	}
	if err == nil {
		err = l.w.Send(text, len(l.flight) > 0)
		if err != nil { // the process is gone, which deliver is about to be told
			j.giveFolderBack()
			l.s.waiting = append([]*execution{x}, l.s.waiting...)
			l.gone = true
			return
		}
	}
	if err != nil {
		j.giveFolderBack()
		j.tellEnd(err)
		x.host.busy.Done()
		return
	}
	if l.flight = append(l.flight, j); len(l.flight) == 1 {
		l.first(now)
	}
	l.s.arm()
}

// first notes that another execution is under way now; needs s.mu.
func (l *lane) first(now time.Time) {
	l.since = now
	if len(l.flight) == 0 {
		l.head.Store(nil)
		return
	}
	l.flight[0].called = now
	l.head.Store(l.flight[0])
}

// arm sets the watch; needs s.mu.
func (s *lanes) arm() {
	if s.watch == nil {
		s.watch = time.AfterFunc(stuck, s.look)
	}
}

// look deals with executions that are not brief, and with lanes that have no work.
func (s *lanes) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = nil
	busy := len(s.waiting) > 0
	now := time.Now()
	for _, l := range slices.Clone(s.open) {
		if len(l.flight) == 0 {
			if now.Sub(l.since) > laneIdle {
				l.free(true, nil)
				continue
			}
		} else if now.Sub(l.since) > stuck {
			l.leave()
		}
		busy = true
	}
	s.fill()
	if busy {
		s.arm()
	}
}

// line takes what user code wrote past the language's streams: the execution under way has it.
func (l *lane) line(stream, text string) {
	if j := l.head.Load(); j != nil {
		j.rawLine(stream, text)
	}
}

// deliver deals with a frame of the process, or with its end. False: the lane is closed, the frame is
// for whoever has the process now.
func (l *lane) deliver(m *frame.Message) bool {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.closed {
		return false
	}
	if m == nil { // the process is gone
		l.recall()
		for len(l.flight) > 1 { // it had taken the next one, and not yet told the end of the one before
			j := l.flight[len(l.flight)-1]
			l.flight = l.flight[:len(l.flight)-1]
			j.finish(failf("crashed", "the language process ended while it had several executions"))
		}
		l.leave()
		if !l.closed {
			l.free(false, nil)
		}
		s.fill()
		return true
	}
	if len(l.flight) == 0 {
		return true
	}
	j := l.flight[0]
	if j.mustAsk(m) {
		// Not here: the answer comes on a stream that may just wait for us.
		if l.leave(); l.closed {
			s.fill()
			return false
		}
	}
	if over, err := j.frame(m); over || err != nil {
		if l.ended(j, m, err); !l.closed && len(l.flight) > 0 {
			l.w.Next(m, l.flight[0].id)
		}
		s.fill()
	}
	return true
}

// ended deals with the end of the first execution, which m tells; needs s.mu.
func (l *lane) ended(j *job, m *frame.Message, err error) {
	now := time.Now()
	took := now.Sub(l.since)
	if m.Micros > 0 {
		took = time.Duration(m.Micros) * time.Microsecond
	}
	l.w.Took(took)
	settled := j.clean && l.w.Settled()
	if !settled {
		l.recall()
	}
	l.flight = l.flight[1:]
	l.first(now)
	if !settled && len(l.flight) == 0 {
		// The process, or what was left beside it, is ended before the end is told.
		l.free(j.clean, func() { j.finish(err) })
		return
	}
	j.finish(err)
	if !settled {
		// The next one has begun already: what is there may be its own. It goes on by itself, and clears
		// up at its end.
		l.leave()
	}
}

// recall takes back what the process has not begun, which may be everything; needs s.mu.
func (l *lane) recall() {
	heads := l.w.Recall()
	if len(heads) == 0 {
		return
	}
	again := make([]*execution, 0, len(heads)+len(l.s.waiting))
	kept := l.flight[:0:0]
	for _, j := range l.flight {
		if mine := opening(j.id).b; slices.ContainsFunc(heads, func(h []byte) bool { return bytes.HasPrefix(h, mine) }) {
			j.giveFolderBack()
			again = append(again, j.execution)
		} else {
			kept = append(kept, j)
		}
	}
	if l.flight = kept; len(kept) == 0 || kept[0] != l.head.Load() {
		l.first(time.Now())
	}
	l.s.waiting = append(again, l.s.waiting...)
}

// leave ends the lane if one execution is under way, which goes on with the process as any other; needs
// s.mu. It does nothing when none has begun, nor when two have: the result of one is on its way then.
func (l *lane) leave() {
	if l.recall(); len(l.flight) != 1 {
		return
	}
	l.close()
	j := l.flight[0]
	j.proc = l.w.Hand(j.rawLine, l.since)
	go j.goOn()
}

// close takes the lane out; needs s.mu.
func (l *lane) close() {
	l.closed = true
	l.s.open = slices.DeleteFunc(l.s.open, func(o *lane) bool { return o == l })
}

// free ends a lane without executions and gives its process back; then is called after that.
func (l *lane) free(clean bool, then func()) {
	l.close()
	p := l.w.Hand(nil, time.Time{})
	go func() {
		p.Release(clean)
		if then != nil {
			then()
		}
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.s.fill()
	}()
}

// poke sees to an execution that is cancelled, wherever it is in here.
func (s *lanes) poke(x *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, x); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		go x.run() // which sees the cancel
		return
	}
	for _, l := range s.open {
		i := slices.IndexFunc(l.flight, func(j *job) bool { return j.execution == x })
		if i < 0 {
			continue
		}
		if l.leave(); i > 0 {
			if i := slices.Index(s.waiting, x); i >= 0 {
				s.waiting = slices.Delete(s.waiting, i, i+1)
				go x.run()
			}
		}
		s.fill()
		return
	}
}

// giveFolderBack is for an execution that was not begun.
func (j *job) giveFolderBack() {
	if j.dir != "" {
		j.host.folders.giveBack(j.dir)
		j.dir = ""
	}
}

// finish ends an execution whose process is in order.
func (j *job) finish(err error) {
	j.giveFolderBack()
	j.usage.WallMicros = time.Since(j.began).Microseconds()
	j.tellEnd(err)
	j.host.busy.Done()
}

// goOn is the rest of an execution that has left its lane.
func (j *job) goOn() {
	defer j.host.busy.Done()
	defer j.host.lanes.more() // once its place is free
	select {
	case j.host.slots <- struct{}{}:
		defer func() { <-j.host.slots }()
	default: // it is under way, room or not
	}
	ctx := context.Background()
	if d := j.start.GetDeadlineUnixMs(); d > 0 {
		var done context.CancelFunc
		ctx, done = context.WithDeadline(ctx, time.UnixMilli(d))
		defer done()
	}
	j.introduce()
	err := j.follow(ctx)
	j.cleanUp()
	j.usage.WallMicros = time.Since(j.began).Microseconds()
	j.tellEnd(err)
}
