package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pelton-run/pelton/wrapper/internal/frame"
)

// zygote is the warm Python parent and its children.
type zygote struct {
	p         *proc
	listening sync.Once

	mu       sync.Mutex
	next     int
	waiting  int  // executions that wait until it is loaded
	left     bool // nobody waited any more: it is ended
	children map[string]*child
}

// child is a forked process of one execution.
type child struct {
	z       *zygote
	pid     int
	conn    *os.File
	w       *frame.Writer
	frames  chan *frame.Message
	readErr atomic.Pointer[error]
	out     *tap
	err     *tap
	forked  chan struct{}
	exited  chan struct{}
	exit    Exit
	gone    *ending // tells of its end before its parent does, nil = nobody does
}

// parent is the warm parent, loaded or not yet, started when there is none.
func (p *Pool) parent() (*zygote, error) {
	p.warming.Lock()
	defer p.warming.Unlock()
	p.mu.Lock()
	z := p.zygote
	p.mu.Unlock()
	if z != nil {
		select {
		case <-z.p.exited:
		default:
			return z, nil
		}
	}
	pr, err := p.launch("fork")
	if err != nil {
		return nil, err
	}
	z = &zygote{p: pr, children: map[string]*child{}}
	p.mu.Lock()
	p.zygote = z
	p.mu.Unlock()
	return z, nil
}

// warm is the loaded parent. nil without an error means that forking is not safe: the parent has
// several threads, and the pool has gone over to fresh processes.
func (p *Pool) warm(ctx context.Context) (*zygote, error) {
	z, err := p.parent()
	if err != nil {
		return nil, err
	}
	err = p.awaitReady(ctx, z)
	if errors.Is(err, errLeft) {
		return p.warm(ctx)
	}
	if err != nil {
		return nil, err
	}
	if p.usable(z) == nil {
		return nil, nil
	}
	z.listening.Do(func() { go z.listen() })
	return z, nil
}

func (p *Pool) awaitReady(ctx context.Context, z *zygote) error {
	z.mu.Lock()
	if z.left {
		z.mu.Unlock()
		return errLeft
	}
	z.waiting++
	z.mu.Unlock()
	var left error
	select {
	case <-z.p.ready:
	case <-ctx.Done():
		left = ctx.Err()
	}
	z.mu.Lock()
	z.waiting--
	alone := z.waiting == 0
	z.left = z.left || (alone && left != nil)
	z.mu.Unlock()
	if left != nil {
		if alone { // nobody else waits for imports that do not end
			p.abandon(z)
		}
		return left
	}
	p.note(z.p)
	if z.p.loadErr != nil {
		p.mu.Lock()
		if p.zygote == z {
			p.zygote = nil
		}
		p.mu.Unlock()
		z.p.close()
		return z.p.loadErr
	}
	return nil
}

// abandon ends a parent that nobody waits for, with everything its imports started.
func (p *Pool) abandon(z *zygote) {
	p.mu.Lock()
	if p.zygote == z {
		p.zygote = nil
	}
	p.mu.Unlock()
	killBelow(z.p.cmd.Process.Pid, nil)
	z.p.close()
}

// errLeft: the parent was given up in the same moment; there will be another.
var errLeft = errors.New("the warm parent was given up")

// usable is z, or nil after the pool has gone over to fresh processes.
func (p *Pool) usable(z *zygote) *zygote {
	if z.p.threads <= 1 {
		return z
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == "fork" {
		p.mode = "fresh"
		p.reason = fmt.Sprintf("the handler's imports started %d threads, which do not survive a fork: each execution has a fresh interpreter", z.p.threads-1)
		p.spare, p.zygote = z.p, nil // its shim has gone over to running one execution
	}
	return nil
}

// fork hands a child to an execution: the one that was forked ahead, or else a new one.
func (p *Pool) fork(z *zygote, line RawLine) (*Process, error) {
	p.awaitLeaves()
	c := p.takeAhead(z)
	if c == nil {
		var err error
		if c, err = z.fork(false); err != nil {
			return nil, err
		}
	}
	c.out.direct(line)
	c.err.direct(line)
	h := &Process{Frames: c.frames, Exited: c.exited, pool: p, child: c}
	p.handed(1)
	if !z.p.booted.IsZero() {
		h.Booted, h.Loaded = z.p.booted, z.p.loaded
		z.p.booted = time.Time{}
	}
	return h, nil
}

// ahead is a child that is forked, or being forked, for whoever takes it first.
type ahead struct {
	done chan struct{} // closed once there is a child, or none can be had
	c    *child
}

// afterwards is when the next child is forked: once the answer of the one before has left, which it would hold up.
const afterwards = 200 * time.Microsecond

// takeAhead takes the child that was forked ahead, nil where there is none of that parent that lives.
func (p *Pool) takeAhead(z *zygote) *child {
	p.mu.Lock()
	a := p.ahead
	p.ahead = nil
	p.mu.Unlock()
	if a == nil {
		return nil
	}
	<-a.done // the parent forks one after the other: another one would come after it
	if a.c == nil {
		return nil
	}
	if a.c.z == z && a.c.lives() {
		return a.c
	}
	go a.c.finish(false)
	return nil
}

// forkAhead forks a child for the execution that is to come, after one has ended: the next then does not wait for that.
// A child is as the parent was when its imports were done, whenever it was forked. It ends with its parent.
func (p *Pool) forkAhead(z *zygote) {
	a := &ahead{done: make(chan struct{})}
	p.mu.Lock()
	mine := p.ahead == nil && !p.closed && p.zygote == z
	if mine {
		p.ahead = a
	}
	p.mu.Unlock()
	if !mine {
		return
	}
	go func() {
		defer close(a.done)
		if c, err := z.fork(true); err == nil {
			a.c = c
		}
	}()
}

// lives tells whether a child that has been told nothing yet waits for that: of one that is gone, its end of the channel
// is closed before its parent knows.
func (c *child) lives() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return false
	}
	gone := true
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		gone = n != 0 || err != nil
	})
	return err == nil && !gone
}

// fork makes a child; one that is forked ahead goes the way of an execution once, while nobody waits for it.
func (z *zygote) fork(ahead bool) (*child, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	_ = syscall.SetNonblock(pair[0], true)
	conn := os.NewFile(uintptr(pair[0]), "frames")
	defer syscall.Close(pair[1])
	c := &child{z: z, conn: conn, w: frame.NewWriter(conn), frames: make(chan *frame.Message, 256), forked: make(chan struct{}), exited: make(chan struct{})}
	r1, w1, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer w1.Close()
	r2, w2, err := os.Pipe()
	if err != nil {
		conn.Close()
		r1.Close()
		return nil, err
	}
	defer w2.Close()
	c.out, c.err = newTap("stdout", r1, new(atomic.Bool)), newTap("stderr", r2, new(atomic.Bool))
	z.mu.Lock()
	z.next++
	key := strconv.Itoa(z.next)
	if ahead {
		key += "w"
	}
	z.children[key] = c
	err = forkRequest(z.p.conn, key, pair[1], int(w1.Fd()), int(w2.Fd()))
	z.mu.Unlock()
	if err == nil {
		select {
		case <-c.forked:
		case <-z.p.exited:
			err = errors.New("the warm parent process has ended")
		}
	}
	if err != nil {
		conn.Close()
		r1.Close()
		r2.Close()
		return nil, err
	}
	go c.out.read()
	go c.err.read()
	go c.read()
	return c, nil
}

// listen follows what the parent tells of its children.
func (z *zygote) listen() {
	for m := range z.p.frames {
		z.mu.Lock()
		c := z.children[m.ID]
		z.mu.Unlock()
		if c == nil {
			continue
		}
		switch m.T {
		case "forked":
			z.mu.Lock()
			c.pid = m.PID
			z.mu.Unlock()
			c.gone = watchEnd(m.PID)
			close(c.forked)
		case "exit":
			c.exit = Exit{Status: m.Status, CPUMicros: m.CPUMicros, RSSBytes: m.RSSKiB << 10}
			z.mu.Lock()
			delete(z.children, m.ID)
			z.mu.Unlock()
			close(c.exited)
			_ = c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
	}
	// The parent is gone; its children are ended, since nobody would tell of their end.
	<-z.p.exited
	z.killChildren()
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, c := range z.children {
		select {
		case <-c.forked:
			c.exit = Exit{Status: -9}
			close(c.exited)
		default:
		}
	}
	clear(z.children)
	z.p.close()
}

func (z *zygote) killChildren() {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, c := range z.children {
		if c.pid > 0 {
			_ = syscall.Kill(-c.pid, syscall.SIGKILL)
		}
	}
}

func (c *child) read() {
	defer close(c.frames)
	r := frame.NewReader(c.conn)
	for {
		m, err := r.Read()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.readErr.Store(&err)
			}
			return
		}
		c.frames <- m
	}
}

// leave ends a child whose last frame has come, and lets it go while its end is told: to take a process apart costs the
// system as much as a call. It is false for one that has more than its one thread, which has been in our hands since that
// frame: what it started has to be looked for once it is gone.
func (p *Pool) leave(c *child) bool {
	if !lone(c.pid) {
		return false
	}
	_ = syscall.Kill(-c.pid, syscall.SIGKILL)
	c.out.empty()
	c.err.empty()
	c.out.direct(nil)
	c.err.direct(nil)
	gone := make(chan struct{})
	p.mu.Lock()
	p.leaves[c] = gone
	p.mu.Unlock()
	go func() {
		c.finish(true)
		p.mu.Lock()
		delete(p.leaves, c)
		p.mu.Unlock()
		close(gone)
	}()
	return true
}

// awaitLeaves waits until those are gone whose end has been told: what they hold, such as a port or a lock, is free then.
func (p *Pool) awaitLeaves() {
	p.mu.Lock()
	leaves := slices.Collect(maps.Values(p.leaves))
	p.mu.Unlock()
	for _, gone := range leaves {
		<-gone
	}
}

// finish ends the child's group and waits until it is gone and its lines are told. told says that its last frame has come,
// which tells what it used: then nobody waits for its parent, who tells the same later.
func (c *child) finish(told bool) {
	if !c.awaitEnd(told, 50*time.Millisecond) { // it ends by itself after its last frame
		killBelow(c.pid, nil)
	}
	_ = syscall.Kill(-c.pid, syscall.SIGKILL) // whatever it started, too
	if !c.awaitEnd(told, time.Second) {
		<-c.exited
	}
	c.gone.close()
	for range c.frames { //nolint:revive // lets the reader end
	}
	c.out.drain(200 * time.Millisecond)
	c.err.drain(50 * time.Millisecond)
	c.out.close()
	c.err.close()
	c.conn.Close()
}

// awaitEnd tells whether the child ends within that time; told is as in finish.
func (c *child) awaitEnd(told bool, most time.Duration) bool {
	if told && c.gone != nil {
		return c.gone.wait(most)
	}
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-c.exited:
		return true
	case <-t.C:
		return false
	}
}
