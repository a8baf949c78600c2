package worker

import (
	"encoding/json"
	"time"

	"github.com/pelton-run/pelton/wrapper/internal/frame"
)

// Lane is a process that runs brief executions one after the other with nothing in between: its
// frames are delivered by the goroutine that reads them, and the next executions may lie in the
// process's queue already.
type Lane struct {
	pool *Pool
	p    *proc
}

// Ahead is how many executions a process has at most, the one under way and those behind it.
const Ahead = 8

// Brief tells whether executions of late were so short that a lane pays.
func (p *Pool) Brief() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode == "reuse" && !p.loud && p.brief > 0 && p.brief < briefest
}

// briefest is how long executions for lanes hold a process at most, on average. It is longer than
// what they take on a machine that is not crowded.
const briefest = 2 * time.Millisecond

// Lane makes a lane of an idle process, nil where there is none. deliver gets each frame, and
// nil when the process is gone; false sends a frame on to Process.Frames.
func (p *Pool) Lane(deliver func(*frame.Message) bool, line RawLine) *Lane {
	p.mu.Lock()
	if p.mode != "reuse" || p.closed {
		p.mu.Unlock()
		return nil
	}
	pr := p.take()
	p.mu.Unlock()
	if pr == nil {
		return nil
	}
	p.hand(pr, false, line)
	pr.deliver.Store(&deliver)
	select {
	case <-pr.exited: // it may have ended before deliver was there
		pr.deliver.Store(nil)
		p.handed(-1)
		pr.close()
		return nil
	default:
	}
	return &Lane{pool: p, p: pr}
}

// Depth is how many executions the process may have, the one under way included.
func (l *Lane) Depth() int {
	if l.p.queue == nil || l.p.spoke.Load() {
		return 1
	}
	return Ahead
}

// Fits tells whether a message of that many bytes may lie in the queue.
func (l *Lane) Fits(size int) bool { return l.p.queue == nil || size <= queueMax }

// Send hands an execution to the process; behind tells whether it has others.
func (l *Lane) Send(text []byte, behind bool) error { return l.p.send(text, behind) }

// Next sees to it that the process begins the execution of that id, the next in its queue, after it has sent
// m, the end of one. Python waits at its queue. Node.js cannot, since its event loop has to turn: it takes
// the next one before it sends the end of one, and tells that in m; had the queue been empty then, it waits for a word.
func (l *Lane) Next(m *frame.Message, id string) {
	if l.p.polls && !m.Took {
		if text, err := json.Marshal(frame.Message{T: "wake", ID: id}); err == nil {
			_ = l.p.w.Write(text) // the reader tells when the process is gone
		}
	}
}

// Recall takes back the executions that the process has not begun, and gives the first bytes of each
// one's message, at most 1 KiB.
func (l *Lane) Recall() [][]byte {
	if l.p.queue == nil {
		return nil
	}
	return l.p.queue.recall()
}

// Settled tells that an execution has left nothing: no process, and no line past the language's streams.
func (l *Lane) Settled() bool {
	return l.p.childless() && l.p.out.dry() && l.p.err.dry() && !l.p.spoke.Load()
}

// Took notes how long an execution held the process.
func (l *Lane) Took(d time.Duration) {
	p := l.pool
	p.mu.Lock()
	p.brief += (d - p.brief) / 8
	p.mu.Unlock()
}

// Hand ends the lane: the process is in the hands of one execution from now on. begun is when that
// execution began.
func (l *Lane) Hand(line RawLine, begun time.Time) *Process {
	if l.p.spoke.Load() {
		l.pool.mu.Lock()
		l.pool.loud = true
		l.pool.mu.Unlock()
	}
	l.p.deliver.Store(nil)
	l.p.out.direct(line)
	l.p.err.direct(line)
	return &Process{Frames: l.p.frames, Exited: l.p.exited, pool: l.pool, p: l.p, begun: begun}
}
