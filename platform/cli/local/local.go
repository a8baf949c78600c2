// Package local finds the server of a home on this machine, and starts one where there is none.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// State is what a running server leaves in HOME/run/server.json, readable by its owner alone.
type State struct {
	PID       int       `json:"pid"`
	URL       string    `json:"url"`
	Token     string    `json:"token"` // of the local administrator
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// Home is where the data lies; it differs from the asked-for home when that one cannot hold a database.
	Home string `json:"home"`
}

// StatePath is the file that holds the State of a home's server.
func StatePath(home string) string { return filepath.Join(home, "run", "server.json") }

// Find returns the state of the running server of a home; ok is false when none runs.
func Find(ctx context.Context, home string) (s State, ok bool) {
	data, err := os.ReadFile(StatePath(home))
	if err != nil || json.Unmarshal(data, &s) != nil || s.PID == 0 {
		return State{}, false
	}
	if err := syscall.Kill(s.PID, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return State{}, false
	}
	return s, healthy(ctx, s.URL)
}

func healthy(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Server is a peltond that this process started.
type Server struct {
	State
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// StartOptions of Start.
type StartOptions struct {
	Home   string
	Listen string    // address, or empty for 127.0.0.1:8080 and, where another program has it, the next free port up to 8099
	Args   []string  // further arguments of peltond
	Out    io.Writer // what peltond tells people: the first password, warnings
	Log    string    // file of its log
}

// Start starts peltond, from the folder of this program or PATH, and returns once it is ready.
func Start(ctx context.Context, o StartOptions) (*Server, error) {
	program, err := peltond()
	if err != nil {
		return nil, err
	}
	listen := o.Listen
	if listen == "" {
		if listen, err = FreePort(8080, 8099); err != nil {
			return nil, err
		}
		if !strings.HasSuffix(listen, ":8080") {
			fmt.Fprintf(o.Out, "  port 8080 is taken by another program: listening on %s\n", listen)
		}
	}
	if err := os.MkdirAll(filepath.Dir(o.Log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	began := time.Now()
	s := &Server{done: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{"--home", o.Home, "--listen", listen}, o.Args...)...)
	s.cmd.Stdout, s.cmd.Stderr = o.Out, log
	// Its own group: Ctrl-C reaches this program alone, which then stops the server in order.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() { s.err = s.cmd.Wait(); close(s.done) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// A state that lies there is left alone: it may be that of a server which is only slow to answer.
		if data, err := os.ReadFile(StatePath(o.Home)); err == nil {
			var st State
			if json.Unmarshal(data, &st) == nil && st.PID == s.cmd.Process.Pid && !st.StartedAt.Before(began) {
				s.State = st
				return s, nil
			}
		}
		select {
		case <-tick.C:
		case <-s.done:
			return nil, fmt.Errorf("the platform ended before it was ready (%w); the end of %s:\n%s", s.err, o.Log, tail(o.Log, 12))
		case <-ctx.Done():
			s.Stop()
			return nil, ctx.Err()
		}
	}
}

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is how the server ended; valid once Done is closed.
func (s *Server) Err() error { return s.err }

// Stop ends the server in order and waits; after 30 s it is killed.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

func peltond() (string, error) {
	if self, err := os.Executable(); err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			if p := filepath.Join(filepath.Dir(self), "peltond"); exists(p) {
				return p, nil
			}
		}
	}
	if p, err := exec.LookPath("peltond"); err == nil {
		return p, nil
	}
	return "", errors.New("peltond is neither beside this program nor on PATH: run 'make build', or put both into one folder")
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

// FreePort is the first address on 127.0.0.1 between two ports that nothing listens on.
func FreePort(first, last int) (string, error) {
	for port := first; port <= last; port++ {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		l.Close()
		return addr, nil
	}
	return "", fmt.Errorf("every port from %d to %d is taken: name one with --listen 127.0.0.1:PORT", first, last)
}

func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
