package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

func (s *Server) launch(ctx context.Context) error {
	args := []string{"-D", s.data}
	settings := s.settings()
	names := make([]string, 0, len(settings))
	for k := range settings {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		args = append(args, "-c", k+"="+settings[k])
	}
	log, err := os.OpenFile(filepath.Join(s.cfg.Dir, "postgres.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command(context.WithoutCancel(ctx), "postgres", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.mu.Lock()
	s.cmd, s.done = cmd, done
	stopping := s.stopping.Err() != nil
	s.mu.Unlock()
	if stopping { // Stop came while we started it
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-done
		return errors.New("the server was stopped")
	}
	return s.awaitReady(ctx, done)
}

func (s *Server) awaitReady(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(s.socketDir, socketName)); err == nil {
			conn, err := pgx.Connect(ctx, s.SuperURL("postgres"))
			if err == nil {
				return conn.Close(ctx)
			}
		}
		select {
		case <-tick.C:
		case <-done:
			return fmt.Errorf("PostgreSQL ended at its start; the end of its log:\n%s", s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w; the end of its log:\n%s", ctx.Err(), s.logTail())
		}
	}
}

func (s *Server) logTail() string {
	f, err := os.Open(filepath.Join(s.cfg.Dir, "postgres.log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		_, _ = f.Seek(-2000, io.SeekEnd)
	}
	data, _ := io.ReadAll(f)
	return strings.TrimSpace(string(data))
}

// stopStale ends a server that a killed process of ours left on this data folder: its settings
// may be those of another version, and a fresh one is there in a moment. The caller holds the
// lock of the home, so the server is nobody's.
func (s *Server) stopStale(ctx context.Context) error {
	data, err := os.ReadFile(filepath.Join(s.data, "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return nil // PostgreSQL itself deals with a stale file
	}
	if !isPostgres(pid, s.data) {
		return s.dropStale(ctx, pid)
	}
	s.cfg.Log.Info("stopping the database server that an earlier process left", "pid", pid)
	return endProcess(ctx, pid, 20*time.Second)
}

// dropStale deals with the file of a server that is gone. PostgreSQL refuses to start as long as
// there is a process of that number, whatever it is: one that was killed and is not reaped yet is
// waited for, and when the number has gone to another program and nothing works on the data, the
// file is removed.
func (s *Server) dropStale(ctx context.Context, pid int) error {
	if !seesProcesses {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil && (isDying(pid) || worksOn(s.data)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // PostgreSQL tells why it cannot start
		}
	}
	if syscall.Kill(pid, 0) != nil || worksOn(s.data) {
		return nil
	}
	return os.Remove(filepath.Join(s.data, "postmaster.pid"))
}

// endProcess asks a server that is not our child to shut down fast, and waits for it.
func endProcess(ctx context.Context, pid int, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = syscall.Kill(pid, syscall.SIGINT)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = syscall.Kill(pid, syscall.SIGQUIT) // immediate shutdown; recovery follows at the next start
			return nil
		}
	}
	return nil
}

// keepRunning starts the server again when it dies while we run.
func (s *Server) keepRunning() {
	defer s.watch.Done()
	wait := 100 * time.Millisecond
	for {
		s.mu.Lock()
		done := s.done
		s.mu.Unlock()
		started := time.Now()
		<-done
		if s.stopping.Err() != nil {
			return
		}
		if time.Since(started) > time.Minute {
			wait = 100 * time.Millisecond
		}
		s.cfg.Log.Error("PostgreSQL has ended by itself; starting it again", "after", wait)
		select {
		case <-s.stopping.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, 10*time.Second)
		ctx, cancel := context.WithTimeout(s.stopping, 2*time.Minute)
		if err := errors.Join(s.stopStale(ctx), s.launch(ctx)); err != nil && s.stopping.Err() == nil {
			s.cfg.Log.Error("start PostgreSQL again", "err", err)
		}
		cancel()
	}
}
