package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is one peltond.
type process struct {
	home string
	args []string
	env  []string
	dir  string // of its state, in the home
	log  string // file in the home

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// state is what a ready peltond tells tools of its machine.
type state struct {
	PID        int `json:"pid"`
	URL, Token string
}

func (p *process) stateFile() string { return filepath.Join(p.home, p.dir, "server.json") }

// start starts the process; awaitReady waits.
func (p *process) start(args []string) error {
	bin, err := Bin()
	if err != nil {
		return err
	}
	_ = os.Remove(p.stateFile())
	logFile, err := os.OpenFile(filepath.Join(p.home, p.log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	p.cmd = exec.Command(filepath.Join(bin, "peltond"), append(append([]string{"--home", p.home}, p.args...), args...)...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = logFile, logFile
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() { p.err = cmd.Wait(); close(done) }()
	return nil
}

// awaitReady waits until the process tells tools where it is; one that is not ready in time is killed.
func (p *process) awaitReady(ctx context.Context) (state, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = p.cmd.Process.Kill()
			<-p.done
			return state{}, fmt.Errorf("peltond was not ready in time: %w\n%s", ctx.Err(), p.logTail(40))
		case <-p.done:
			return state{}, fmt.Errorf("peltond ended before it was ready: %w\n%s", p.err, p.logTail(40))
		case <-tick.C:
		}
		data, err := os.ReadFile(p.stateFile())
		if err != nil {
			continue
		}
		var s state
		if json.Unmarshal(data, &s) == nil && s.PID == p.cmd.Process.Pid {
			return s, nil
		}
	}
}

// awaitEnd waits for the end after a signal; what does not end in time is killed.
func (p *process) awaitEnd(patience time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("peltond did not stop within %s of SIGTERM", patience)
	}
}

func (p *process) logTail(lines int) string {
	data, _ := os.ReadFile(filepath.Join(p.home, p.log))
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
