package process

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/pelton-run/pelton/wrapper/wire"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// record is what the registry keeps of a wrapper.
type record struct {
	Name    string `json:"name"`
	Project string `json:"project"`
	Build   string `json:"build"`
	Socket  string `json:"socket"`
	PID     int    `json:"pid"`
	Life    string `json:"life,omitempty"` // of the runner that has it
	Started string `json:"started"`        // start time of the process as the system tells it: a recycled pid has another
}

// instance is a running wrapper.
type instance struct {
	record
	pool   *pool
	file   string
	conn   *grpc.ClientConn
	client pb.ActionClient
	gone   chan struct{} // closed when the process has ended; nil for adopted ones

	// guarded by pool.mu
	runs   map[string]*running
	broken bool              // the stream is being mended
	asks   map[question]bool // about the filestore, being answered

	sendMu  sync.Mutex
	batch   bool           // the wrapper takes batches
	outbox  []*pb.ToAction // what the next message carries
	soon    *time.Timer    // sends what can wait a moment
	stream  stream
	token   string
	renewAt time.Time
	closing bool
}

// launch starts a wrapper and opens its stream. The registry knows it before it gets any work.
func (p *pool) launch() (*instance, error) {
	r := p.r
	if r.isClosed() {
		return nil, errStopping
	}
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	name := "w" + hex.EncodeToString(b[:])
	inst := &instance{pool: p, runs: map[string]*running{}, gone: make(chan struct{}),
		record: record{Name: name, Life: r.life(), Project: p.project, Build: p.build, Socket: filepath.Join(r.cfg.SocketDir, name)}}
	inst.file = filepath.Join(r.cfg.RunDir, name+".json")
	args := []string{"serve", "--socket", inst.Socket, "--bundle", p.artifact, "--state", filepath.Join(r.cfg.StateDir, name),
		"--instance", name, "--key", r.public, "--audience", p.build, "--parent", strconv.Itoa(os.Getpid()),
		"--detach-lease", r.cfg.Lease.String(), "--preload", "--concurrency", strconv.Itoa(r.cfg.Cap)}
	if r.cfg.UserOf != nil {
		uid, gid, err := r.cfg.UserOf(p.project)
		if err != nil {
			return nil, err
		}
		args = append(args, "--uid", strconv.Itoa(uid), "--gid", strconv.Itoa(gid))
	}
	r.turnLog()
	log, err := os.OpenFile(filepath.Join(r.cfg.LogDir, "wrappers.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(r.cfg.Wrapper, args...)
	cmd.Stderr = log
	// A session of its own: it outlives us when we are killed, and no Ctrl-C reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", r.cfg.Wrapper, err)
	}
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(out, 100)).ReadString('\n')
		ready <- strings.TrimSpace(line)
		_ = cmd.Wait()
		close(inst.gone)
	}()
	inst.PID, inst.Started = cmd.Process.Pid, startTime(cmd.Process.Pid)
	if err := inst.register(); err != nil {
		_ = cmd.Process.Kill()
		return nil, err
	}
	select {
	case line := <-ready:
		inst.batch = line == "ready batch"
		if line != "ready" && !inst.batch {
			inst.unregister()
			return nil, fmt.Errorf("the wrapper ended at its start: see %s", log.Name())
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		inst.unregister()
		return nil, fmt.Errorf("the wrapper was not ready within 20 s: see %s", log.Name())
	}
	if err := inst.dial(); err != nil {
		inst.stop(true)
		return nil, err
	}
	// Whoever has taken over from us looks for entries of our life: one that came too late for that
	// must get no work.
	if inst.Life != r.life() || (r.cfg.Held != nil && !r.cfg.Held()) {
		inst.stop(true)
		return nil, errNotHeld
	}
	return inst, nil
}

// errNotHeld: others may act for our runs by now.
var errNotHeld = errors.New("this replica's lease has run out")

// register writes the registry's entry, durable before the wrapper gets work.
func (i *instance) register() error {
	data, err := json.Marshal(i.record)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(i.file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(i.file+".new", i.file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(i.file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (i *instance) unregister() {
	_ = os.Remove(i.file)
	_ = os.Remove(i.Socket)
	_ = os.Remove(i.Socket + wire.Suffix)
	_ = os.RemoveAll(filepath.Join(i.pool.r.cfg.StateDir, i.Name))
}

// dial opens the connection and the stream.
func (i *instance) dial() error {
	conn, err := grpc.NewClient("unix:"+i.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(4<<20), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(4<<20)))
	if err != nil {
		return err
	}
	i.conn, i.client = conn, pb.NewActionClient(conn)
	return i.open()
}

// stream carries the messages of all executions of an instance.
type stream interface {
	Send(m *pb.ToAction) error
	Recv() (*pb.FromAction, error)
}

// plain is a stream of plain frames.
type plain struct{ *wire.Conn }

func (p plain) Send(m *pb.ToAction) error { return p.Post(m) }

func (p plain) Recv() (*pb.FromAction, error) {
	m := &pb.FromAction{}
	return m, p.Read(m)
}

// open opens the stream: of plain frames, or a gRPC call where the wrapper is of a version that knows
// no other.
func (i *instance) open() error {
	var s stream
	conn, err := wire.Dial(i.Socket)
	switch {
	case err == nil:
		s = plain{conn}
	case errors.Is(err, os.ErrNotExist):
		if s, err = i.client.Session(context.Background(), grpc.WaitForReady(false)); err != nil {
			return err
		}
	default:
		return err
	}
	i.sendMu.Lock()
	i.stream = s
	i.sendMu.Unlock()
	return nil
}

// hangUp ends the stream, if it is of plain frames: a gRPC call ends with its connection.
func (i *instance) hangUp() {
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	if p, ok := i.stream.(plain); ok {
		_ = p.Close()
	}
}

func (i *instance) alive() bool {
	if i.gone != nil {
		select {
		case <-i.gone:
			return false
		default:
		}
	}
	return sameProcess(i.PID, i.Started)
}

// send sends messages, with what waits; an error shows on the receiving side, which mends the stream.
func (i *instance) send(ms ...*pb.ToAction) {
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	for _, m := range ms {
		switch m.Body.(type) {
		case *pb.ToAction_Start, *pb.ToAction_Attach:
			if now := time.Now(); now.After(i.renewAt) {
				i.token, i.renewAt, _ = i.pool.r.token(i.Build, now)
			}
			m.Token = i.token
		}
	}
	i.outbox = append(i.outbox, ms...)
	i.flush()
}

// later sends a message that can wait with the next one, or in a moment.
func (i *instance) later(m *pb.ToAction) {
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	i.outbox = append(i.outbox, m)
	switch {
	case !i.batch || len(i.outbox) >= 256:
		i.flush()
	case i.soon == nil:
		i.soon = time.AfterFunc(lateness, i.overdue)
	case len(i.outbox) == 1:
		i.soon.Reset(lateness)
	}
}

// lateness is how long a message may wait for one that has to leave at once.
const lateness = 20 * time.Millisecond

func (i *instance) overdue() {
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	i.flush()
}

// batchBytes is about how much one message carries; none exceeds 256 KiB.
const batchBytes = 128 << 10

// flush sends the outbox; it needs sendMu.
func (i *instance) flush() {
	if !i.batch {
		for _, m := range i.outbox {
			_ = i.stream.Send(m)
		}
	}
	for from := 0; i.batch && from < len(i.outbox); {
		to, size := from+1, i.outbox[from].SizeVT()
		for to < len(i.outbox) {
			if size += i.outbox[to].SizeVT(); size > batchBytes {
				break
			}
			to++
		}
		_ = i.stream.Send(&pb.ToAction{Body: &pb.ToAction_Batch{Batch: &pb.ToActionBatch{Messages: i.outbox[from:to]}}})
		from = to
	}
	clear(i.outbox)
	i.outbox = i.outbox[:0]
}

func (i *instance) sendAttach(run *running, from uint64) {
	i.send(&pb.ToAction{ExecutionId: run.x.ID, Body: &pb.ToAction_Attach{Attach: &pb.Attach{FromSeq: from}}})
}

// receive deals with the wrapper's messages until it is gone. A stream that breaks while the
// process lives is opened again, and its executions are attached to where they were.
func (i *instance) receive() {
	for {
		i.sendMu.Lock()
		stream := i.stream
		i.sendMu.Unlock()
		for {
			m, err := stream.Recv()
			if err != nil {
				break
			}
			if b := m.GetBatch(); b != nil {
				for _, m := range b.Messages {
					i.take(m)
				}
			} else {
				i.take(m)
			}
			i.pool.dispatch()
		}
		i.sendMu.Lock()
		closing := i.closing
		i.sendMu.Unlock()
		if closing {
			return
		}
		if !i.mend() {
			i.pool.r.cfg.Log.Warn("a wrapper is gone", "action", i.pool.r.describe(i.pool), "instance", i.Name)
			i.pool.lost(i)
			return
		}
	}
}

// mend opens the stream again; false when the process is gone.
func (i *instance) mend() bool {
	p := i.pool
	p.mu.Lock()
	i.broken = true
	p.mu.Unlock()
	i.hangUp()
	for wait := 5 * time.Millisecond; i.alive(); wait = min(2*wait, time.Second) {
		if err := i.open(); err == nil {
			if i.answers() {
				break
			}
		}
		timer := time.NewTimer(wait)
		if i.gone != nil {
			select {
			case <-i.gone:
			case <-timer.C:
			}
		} else {
			<-timer.C
		}
		timer.Stop()
	}
	if !i.alive() {
		return false
	}
	p.mu.Lock()
	i.broken = false
	again := map[*running]uint64{}
	for _, run := range i.runs {
		again[run] = run.last + 1
	}
	p.mu.Unlock()
	for run, from := range again {
		i.sendAttach(run, from)
		p.recancel(i, run)
	}
	p.dispatch()
	return true
}

// stop ends the wrapper; forget tells whether the registry may forget it, which it may not while
// executions were under way.
func (i *instance) stop(forget bool) {
	i.sendMu.Lock()
	i.closing = true
	i.sendMu.Unlock()
	if sameProcess(i.PID, i.Started) {
		_ = syscall.Kill(i.PID, syscall.SIGTERM)
	}
	deadline := time.Now().Add(5 * time.Second)
	for i.alive() && time.Now().Before(deadline) {
		if i.gone != nil {
			select {
			case <-i.gone:
			case <-time.After(time.Until(deadline)):
			}
			continue
		}
		<-time.After(10 * time.Millisecond)
	}
	i.sweep()
	i.hangUp()
	if i.conn != nil {
		i.conn.Close()
	}
	if forget {
		i.unregister()
	}
}

// sweep makes sure that the wrapper and everything it had started is gone.
func (i *instance) sweep() {
	if sameProcess(i.PID, i.Started) {
		_ = syscall.Kill(i.PID, syscall.SIGKILL)
	}
	for range 100 {
		strays := marked(i.Name)
		if len(strays) == 0 {
			return
		}
		for _, pid := range strays {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// answerLimit is how long a wrapper that lives may take to say so. One that is not taken over loses
// what it runs: on a crowded machine patience is cheaper.
const answerLimit = 10 * time.Second

func (i *instance) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	token, _, err := i.pool.r.token(i.Build, time.Now())
	if err != nil {
		return false
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	d, err := i.client.Describe(ctx, &pb.DescribeRequest{Needs: []string{"session", "attach"}})
	i.sendMu.Lock()
	defer i.sendMu.Unlock()
	i.batch = slices.Contains(d.GetFeatures(), "batch")
	return err == nil
}

// logLimit is when the wrappers' log is put aside; one before it is kept.
const logLimit = 16 << 20

// turnLog puts a log aside that has grown large. Wrappers that run go on writing into the old one.
func (r *Runner) turnLog() {
	file := filepath.Join(r.cfg.LogDir, "wrappers.log")
	if info, err := os.Stat(file); err == nil && info.Size() > logLimit {
		_ = os.Rename(file, file+".1")
	}
}
