package local

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxOutput is how much of a command's output is read, in bytes.
const maxOutput = 64 << 20

// sessions are the sessions of commands under way, by user: what runs as that user outside of them
// was left behind. Starting holds the lock, so that no sweep takes a new command for a stray.
type sessions struct {
	mu   sync.Mutex
	live map[int]bool
}

// command runs a program in dir with its lines in the log: as the project's user, within the
// limits, in a session of its own that ends with ctx, and with it whatever was started in it or
// left it. It returns the output.
func (j *job) command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	mark := "PELTON_BUILD=" + rand.Text()
	cmd, err := j.confined(ctx, name, args)
	if err != nil {
		return "", err
	}
	cmd.Dir, cmd.Env = dir, append(env, mark)
	r, err := j.start(cmd)
	if err != nil {
		return "", err
	}
	defer r.Close()
	out := make(chan string, 1)
	go func() { out <- j.read(r) }()
	guard := j.guard(cmd.Process.Pid)
	err = cmd.Wait()
	over := guard()
	j.sweep(cmd.Process.Pid, mark)
	// Nobody holds the pipe any more, unless a stray was faster than the sweep.
	_ = r.SetReadDeadline(time.Now().Add(2 * time.Second))
	text := <-out
	switch {
	case over:
		j.r.limit = j.b.o.Limits.overMemory()
	case err != nil && ctx.Err() == nil:
		j.r.limit = j.b.o.Limits.limitOf(cmd.ProcessState, lastLines(text, 30))
	}
	if j.r.limit != nil && err == nil {
		err = j.r.limit
	}
	return text, err
}

// confined is the command behind its gate, and as the project's user. It becomes that user behind
// the gate: the limits of another user's process only a very privileged root may set.
func (j *job) confined(ctx context.Context, name string, args []string) (*exec.Cmd, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if confines {
		front := []string{"-c", gate, "sh"}
		if j.user.uid >= 0 {
			setpriv, err := exec.LookPath("setpriv")
			if err != nil {
				return nil, &Error{Kind: "runtime_missing", Message: "setpriv is missing, which builds need where Pelton runs as root: " + remedy("util-linux", "util-linux")}
			}
			front = append(front, setpriv, "--reuid", strconv.Itoa(j.user.uid), "--regid", strconv.Itoa(j.user.gid), "--clear-groups", "--no-new-privs", "--")
		}
		name, args = "/bin/sh", append(append(front, name), args...)
	} else if j.user.uid >= 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(j.user.uid), Gid: uint32(j.user.gid)}
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd, nil
}

// start starts the command with its output in a pipe, and opens its gate once its limits are set.
func (j *job) start(cmd *exec.Cmd) (out *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd.Stdout, cmd.Stderr = w, w
	if confines {
		shut, open, err := os.Pipe()
		if err != nil {
			r.Close()
			return nil, err
		}
		defer shut.Close()
		defer open.Close() // opens the gate
		cmd.ExtraFiles = []*os.File{shut}
	}
	s := &j.b.sessions
	s.mu.Lock()
	if err = cmd.Start(); err == nil {
		s.live[cmd.Process.Pid] = true
	}
	s.mu.Unlock()
	if err != nil {
		r.Close()
		return nil, err
	}
	if err := confine(cmd.Process.Pid, j.b.o.Limits, j.user.uid >= 0); err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		j.sweep(cmd.Process.Pid, "")
		r.Close()
		return nil, err
	}
	return r, nil
}

// read logs lines as they come and returns them.
func (j *job) read(r io.Reader) string {
	var out strings.Builder
	lines := bufio.NewReaderSize(io.LimitReader(r, maxOutput), 64<<10)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			if out.Len() < 1<<20 {
				out.WriteString(line + "\n")
			}
			j.log("%s", line)
		}
		if err != nil {
			break
		}
	}
	if n, _ := io.Copy(io.Discard, r); n > 0 {
		j.log("… and %d bytes more", n)
	}
	return out.String()
}

// guard ends the session when its processes hold more memory than they may; the returned function
// stops the guard and tells whether it did so.
func (j *job) guard(session int) (stop func() bool) {
	quit, done := make(chan struct{}), make(chan bool, 1)
	go func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				done <- false
				return
			case <-tick.C:
			}
			if j.resident(session) > j.b.o.Limits.MemoryBytes {
				_ = syscall.Kill(-session, syscall.SIGKILL)
				done <- true
				return
			}
		}
	}()
	return func() bool { close(quit); return <-done }
}

func (j *job) resident(session int) (total int64) {
	s := &j.b.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range processes(j.user.uid >= 0) {
		if p.session == session || j.user.uid >= 0 && p.uid == j.user.uid && !s.live[p.session] {
			total += p.resident
		}
	}
	return total
}

// sweep ends what a command left behind, in its session or outside of it.
func (j *job) sweep(session int, mark string) {
	s := &j.b.sessions
	_ = syscall.Kill(-session, syscall.SIGKILL)
	for range 500 {
		s.mu.Lock()
		delete(s.live, session)
		left := 0
		for _, p := range processes(j.user.uid >= 0) {
			stray := p.session == session
			if j.user.uid >= 0 {
				stray = stray || p.uid == j.user.uid && !s.live[p.session]
			} else if mark != "" && !stray && !s.live[p.session] {
				stray = bears(p.pid, mark)
			}
			if stray && !errors.Is(syscall.Kill(p.pid, syscall.SIGKILL), syscall.ESRCH) {
				left++
			}
		}
		s.mu.Unlock()
		if left == 0 {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
}
