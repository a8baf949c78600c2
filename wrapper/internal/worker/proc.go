// Package worker starts, supervises and reuses the language processes that run user code.
package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
	"github.com/pelton-run/pelton/wrapper/internal/frame"
)

// Config of a Pool.
type Config struct {
	Bundle   *bundle.Bundle
	ShimDir  string // where the shims were extracted
	UID, GID int    // of user code, -1 = ours
	MaxFile  uint64 // bytes a single file may have, 0 = no limit
	Env      []string
}

// LoadError tells why user code could not be loaded.
type LoadError struct{ Message, Stack string }

func (e *LoadError) Error() string { return e.Message }

// Exit is how a process ended.
type Exit struct {
	Status    int // exit code, negative = signal
	CPUMicros int64
	RSSBytes  int64
}

// RawLine receives a line that user code wrote past the language's own streams.
type RawLine func(stream, line string)

// proc is one language process of ours.
type proc struct {
	cmd     *exec.Cmd
	conn    *os.File
	w       *frame.Writer
	queue   *queue                                    // of executions, nil = they go the way of all frames
	polls   bool                                      // it looks into the queue between executions, and waits for frames
	deliver atomic.Pointer[func(*frame.Message) bool] // of a lane, nil = frames
	spoke   atomic.Bool                               // user code has written past the language's streams
	frames  chan *frame.Message                       // closed when the process is gone
	readErr atomic.Pointer[error]
	out     *tap
	err     *tap
	exited  chan struct{}
	exit    Exit
	booted  time.Time
	loaded  time.Time
	ready   chan struct{} // closed once loaded or failed
	loadErr error
	kept    map[int]bool // what its imports started, which lives as long as it does
	kin     kin
	threads int
	loadUS  int64
}

// start starts a process of the bundle in a mode of the shim (reuse | fork).
func (c Config) start(mode string) (*proc, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	_ = syscall.SetNonblock(pair[0], true)
	ours, theirs := os.NewFile(uintptr(pair[0]), "frames"), os.NewFile(uintptr(pair[1]), "frames")
	defer theirs.Close()
	p := &proc{conn: ours, w: frame.NewWriter(ours), frames: make(chan *frame.Message, 256), exited: make(chan struct{}), ready: make(chan struct{})}
	outW, err := p.openTaps()
	if err != nil {
		ours.Close()
		return nil, err
	}
	p.cmd = c.command(mode)
	p.cmd.ExtraFiles = []*os.File{theirs}
	if (c.Bundle.Runtime == "python3" || c.Bundle.Runtime == "nodejs") && mode == "reuse" && c.Bundle.Kind != "Source" {
		var inherited *os.File
		if p.queue, inherited, err = openQueue(); err == nil {
			defer inherited.Close()
			p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, inherited)
			p.cmd.Args = append(p.cmd.Args, "queue")
			p.polls = c.Bundle.Runtime == "nodejs"
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = outW[0], outW[1]
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.UID >= 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID), NoSetGroups: os.Geteuid() != 0}
	}
	started.Lock()
	if err = p.cmd.Start(); err == nil {
		if p.polls {
			p.queue.dontWait() // starting a process makes what it inherits wait
		}
		started.pids[p.cmd.Process.Pid] = true
	}
	started.Unlock()
	outW[0].Close()
	outW[1].Close()
	if err != nil {
		ours.Close()
		p.closeQueue()
		p.out.close()
		p.err.close()
		return nil, fmt.Errorf("start %s: %w", p.cmd.Path, err)
	}
	p.booted = time.Now()
	limit(p.cmd.Process.Pid, c.MaxFile)
	p.kin.open(p.cmd.Process.Pid)
	go p.out.read()
	go p.err.read()
	go p.read()
	go p.wait()
	return p, nil
}

func (p *proc) openTaps() (writers [2]*os.File, err error) {
	r1, w1, err := os.Pipe()
	if err != nil {
		return writers, err
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		r1.Close()
		w1.Close()
		return writers, err
	}
	p.out, p.err = newTap("stdout", r1, &p.spoke), newTap("stderr", r2, &p.spoke)
	return [2]*os.File{w1, w2}, nil
}

// command is the language's interpreter on its shim, or the compiled action itself.
func (c Config) command(mode string) *exec.Cmd {
	b := c.Bundle
	var cmd *exec.Cmd
	switch b.Runtime {
	case "python3":
		cmd = exec.Command(b.Interpreter, "-B", "-u", "-E", "-s", filepath.Join(c.ShimDir, "pelton_shim.py"), b.Dir, mode)
	case "nodejs":
		cmd = exec.Command(b.Interpreter, "--enable-source-maps", filepath.Join(c.ShimDir, "pelton_shim.mjs"), b.Dir, mode)
	default:
		cmd = exec.Command(filepath.Join(b.Dir, b.Handler), b.Dir, mode)
	}
	cmd.Dir = "/"
	cmd.Env = c.Env
	return cmd
}

func (p *proc) read() {
	defer close(p.frames)
	r := frame.NewReader(p.conn)
	first := true
	for {
		m, err := r.Read()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.readErr.Store(&err)
			}
			break
		}
		if first && (m.T == "ready" || m.T == "load_error") {
			first = false
			p.loaded = time.Now()
			p.threads, p.loadUS = m.Threads, m.LoadUS
			if m.T == "load_error" {
				p.loadErr = &LoadError{m.Text, m.Stack}
			}
			close(p.ready)
			continue
		}
		if d := p.deliver.Load(); d == nil || !(*d)(m) {
			p.frames <- m
		}
	}
	if d := p.deliver.Load(); d != nil {
		(*d)(nil)
	}
	if first {
		p.loadErr = &LoadError{Message: "the language process ended while it loaded the handler"}
		close(p.ready)
	}
}

func (p *proc) wait() {
	_ = p.cmd.Wait()
	started.Lock()
	delete(started.pids, p.cmd.Process.Pid)
	started.Unlock()
	st := p.cmd.ProcessState
	p.exit = Exit{Status: st.ExitCode()}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.exit.Status = -int(ws.Signal())
	}
	p.exit.CPUMicros = (st.UserTime() + st.SystemTime()).Microseconds()
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		p.exit.RSSBytes = maxRSS(ru)
	}
	close(p.exited)
	_ = p.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what was sent is read, then it ends
}

// bigAhead tells a process that its execution comes the way of all frames, since it is large.
var bigAhead = []byte("!")

// send hands an execution to the process, behind tells whether another one is before it.
func (p *proc) send(text []byte, behind bool) error {
	if p.queue == nil || p.polls && !behind {
		return p.w.Write(text)
	}
	if len(text) <= queueMax {
		return p.queue.put(text)
	}
	if err := p.queue.put(bigAhead); err != nil {
		return err
	}
	return p.w.Write(text)
}

func (p *proc) closeQueue() {
	if p.queue != nil {
		p.queue.close()
	}
}

// kill ends the process with everything in its session.
func (p *proc) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
}

// close frees what a process that is gone leaves.
func (p *proc) close() {
	p.kill()
	go func() {
		for range p.frames { //nolint:revive // lets the reader end
		}
		<-p.exited
		p.conn.Close()
		p.closeQueue()
		p.kin.close()
		p.out.drain(200 * time.Millisecond)
		p.err.drain(0)
		p.out.close()
		p.err.close()
	}()
}

// tap reads what user code writes to a descriptor, line by line, into the execution of the moment.
type tap struct {
	name  string
	r     *os.File
	fd    int // of r; not to be used once it is closed
	eof   chan struct{}
	spoke *atomic.Bool

	mu   sync.Mutex // held while a line is dealt with
	to   RawLine
	rest []byte
}

func newTap(name string, r *os.File, spoke *atomic.Bool) *tap {
	t := &tap{name: name, r: r, fd: -1, eof: make(chan struct{}), spoke: spoke}
	if raw, err := r.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { t.fd = int(fd) })
	}
	return t
}

// read deals with what comes until the pipe's end. A read and what it brought are one step under mu: whoever holds that and
// finds the pipe dry knows that all of it has been dealt with.
func (t *tap) read() {
	defer close(t.eof)
	buf := make([]byte, 32<<10)
	raw, err := t.r.SyscallConn()
	for over := false; err == nil && !over; {
		err = raw.Read(func(fd uintptr) bool {
			t.mu.Lock()
			defer t.mu.Unlock()
			n, err := unix.Read(int(fd), buf)
			if n > 0 {
				t.spoke.Store(true)
				t.feed(buf[:n])
				return true
			}
			over = !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
			return !errors.Is(err, unix.EAGAIN)
		})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
}

func (t *tap) feed(b []byte) {
	for len(b) > 0 {
		i := indexByte(b, '\n')
		if i < 0 {
			t.rest = append(t.rest, b...)
			if len(t.rest) > 64<<10 {
				t.flush()
			}
			return
		}
		t.rest = append(t.rest, b[:i]...)
		b = b[i+1:]
		if t.to != nil {
			t.to(t.name, string(t.rest))
		}
		t.rest = t.rest[:0]
	}
}

func indexByte(b []byte, c byte) int {
	for i, x := range b {
		if x == c {
			return i
		}
	}
	return -1
}

func (t *tap) flush() {
	if len(t.rest) > 0 && t.to != nil {
		t.to(t.name, string(t.rest))
	}
	t.rest = t.rest[:0]
}

// direct sends lines from now on to another execution.
func (t *tap) direct(to RawLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	t.to = to
}

// empty waits until what is in the pipe now has been dealt with: nothing is left to read and the
// reader is not at work.
func (t *tap) empty() {
	for range 200 {
		t.mu.Lock()
		done := t.dry()
		t.mu.Unlock()
		if done {
			return
		}
		select {
		case <-t.eof:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// drain waits for the end of the pipe, at most for patience: a stray grandchild may hold it.
func (t *tap) drain(patience time.Duration) {
	select {
	case <-t.eof:
	case <-time.After(patience):
	}
}

func (t *tap) close() { t.r.Close() }
