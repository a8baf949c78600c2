package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pelton-run/pelton/wrapper/internal/blob"
	"github.com/pelton-run/pelton/wrapper/internal/bundle"
	"github.com/pelton-run/pelton/wrapper/internal/frame"
	"github.com/pelton-run/pelton/wrapper/internal/mask"
	"github.com/pelton-run/pelton/wrapper/internal/worker"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

const (
	refAbove   = 64 << 10 // a value larger than this travels by reference
	jsonLimit  = 64 << 20 // of all values of an execution together
	graceUsual = 5 * time.Second
)

// failure is how an execution ends badly.
type failure struct {
	kind, message, code, stack, field string
	retryable                         bool
	details                           []byte
}

func (f *failure) Error() string { return f.message }

func failf(kind, format string, args ...any) *failure {
	return &failure{kind: kind, message: fmt.Sprintf(format, args...)}
}

// job is the state of one run of an execution.
type job struct {
	*execution
	store   *blob.Store
	dir     string // holds work/ and tmp/
	work    string
	began   time.Time
	outputs uint64
	list    bool
	proc    *worker.Process
	clean   bool // the process may run another execution
	usage   pb.Usage
	dynamic []bundle.Item // outputs that the start asks for beside the metadata's

	// of executions in lanes
	light    bool // nothing was told yet: if all goes well, the end tells everything
	called   time.Time
	returned time.Time
	result   map[string][]byte
}

// run carries the execution out and tells its end. It is called once, in its own goroutine.
func (x *execution) run() {
	defer x.host.busy.Done()
	j := &job{execution: x, began: time.Now()}
	x.mask = mask.New(x.start.GetSecrets())
	if n := x.mask.Short(); n > 0 {
		x.tell(&pb.FromAction{Body: &pb.FromAction_Log{Log: &pb.Log{Stream: pb.Log_SYSTEM, Level: "warning", AtUnixMicros: time.Now().UnixMicro(),
			Line: fmt.Sprintf("%d of the secrets are shorter than 4 characters and are not hidden in what this step prints", n)}}})
	}
	err := j.carryOut()
	// The process, its group and its files are gone before the end is told, or ended and gone before another execution
	// begins here: nothing of an ended attempt runs beside the next one.
	j.cleanUp()
	j.usage.WallMicros = time.Since(j.began).Microseconds()
	j.tellEnd(err)
	x.host.lanes.more()
}

// tellEnd tells how the execution ended.
func (j *job) tellEnd(err error) {
	if err == nil && j.result != nil {
		j.tell(&pb.FromAction{Body: &pb.FromAction_Result{Result: &pb.Result{Values: j.result, Usage: &j.usage, Phases: []*pb.Phase{
			{Kind: pb.Phase_STARTED, AtUnixMicros: j.called.UnixMicro()}, {Kind: pb.Phase_RETURNED, AtUnixMicros: j.returned.UnixMicro()},
		}}}})
		return
	}
	j.introduce()
	if err == nil {
		j.tell(&pb.FromAction{Body: &pb.FromAction_Done{Done: &pb.Done{Usage: &j.usage, Outputs: j.outputs, List: j.list}}})
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		f = failf("internal", "%s", err)
	}
	m := j.mask
	j.tell(&pb.FromAction{Body: &pb.FromAction_Failed{Failed: &pb.Failed{
		Kind: f.kind, Message: m.String(f.message), Code: m.String(f.code), Stack: m.String(f.stack), Retryable: f.retryable,
		Details: m.JSON(f.details), Field: f.field, Usage: &j.usage,
	}}})
}

// introduce tells what was kept back of an execution that was to be told in one message.
func (j *job) introduce() {
	if !j.light {
		return
	}
	j.light = false
	j.tell(&pb.FromAction{Body: &pb.FromAction_Instance{Instance: &pb.Instance{Name: j.host.cfg.Instance, Address: j.host.cfg.Address}}})
	if !j.called.IsZero() {
		j.phase(pb.Phase_STARTED, j.called)
	}
}

func (j *job) carryOut() error {
	h := j.host
	if h.finishing.Load() {
		f := failf("not_started", "the instance is stopping")
		f.retryable = true
		return f
	}
	if !j.slot {
		select {
		case h.slots <- struct{}{}:
			j.slot = true
		default:
		}
	}
	if !j.slot {
		select {
		case c := <-j.cancel:
			return cancelled(c)
		default:
		}
		f := failf("not_started", "the instance is busy: it runs %d executions at a time", cap(h.slots))
		f.retryable = true
		return f
	}
	defer func() { <-h.slots }()
	j.tell(&pb.FromAction{Body: &pb.FromAction_Instance{Instance: &pb.Instance{Name: h.cfg.Instance, Address: h.cfg.Address}}})
	if !h.cfg.Launched.IsZero() {
		h.launched.Do(func() { j.phase(pb.Phase_LAUNCHED, h.cfg.Launched) })
	}
	ctx := context.Background()
	if d := j.start.GetDeadlineUnixMs(); d > 0 {
		var done context.CancelFunc
		ctx, done = context.WithDeadline(ctx, time.UnixMilli(d))
		defer done()
	}
	start, err := j.prepare()
	if err != nil {
		return err
	}
	if j.proc, err = j.acquire(ctx); err != nil {
		return err
	}
	j.phase(pb.Phase_STARTED, time.Now())
	if err := j.proc.Send(start); err != nil {
		return failf("crashed", "the language process ended before the handler was called")
	}
	return j.follow(ctx)
}

func cancelled(c *pb.Cancel) *failure {
	reason := c.GetReason()
	if reason == "" {
		reason = "the execution was cancelled"
	}
	return failf("cancelled", "%s", reason)
}

func (j *job) phase(kind pb.Phase_Kind, at time.Time) {
	j.tell(&pb.FromAction{Body: &pb.FromAction_Phase{Phase: &pb.Phase{Kind: kind, AtUnixMicros: at.UnixMicro()}}})
}

func (j *job) acquire(ctx context.Context) (*worker.Process, error) {
	if p := j.host.cfg.Pool.TryAcquire(j.rawLine); p != nil {
		return p, nil
	}
	type result struct {
		p   *worker.Process
		err error
	}
	got := make(chan result, 1)
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go func() {
		p, err := j.host.cfg.Pool.Acquire(ctx, j.rawLine)
		got <- result{p, err}
	}()
	var r result
	leave := func(f *failure) (*worker.Process, error) {
		giveUp()
		if r := <-got; r.p != nil { // it was loaded at the same moment
			r.p.Release(false)
		}
		return nil, f
	}
	select {
	case r = <-got:
	case c := <-j.cancel:
		return leave(cancelled(c))
	case <-j.stop:
		return leave(failf("cancelled", "the wrapper is stopping"))
	}
	var load *worker.LoadError
	switch {
	case errors.As(r.err, &load):
		f := failf("load_error", "%s", load.Message)
		f.stack = load.Stack
		return nil, f
	case errors.Is(r.err, context.DeadlineExceeded):
		return nil, failf("timeout", "the time limit passed while the handler was loaded")
	case r.err != nil:
		return nil, failf("internal", "start the language process: %s", r.err)
	}
	if !r.p.Booted.IsZero() {
		j.phase(pb.Phase_BOOTED, r.p.Booted)
		j.phase(pb.Phase_LOADED, r.p.Loaded)
	}
	return r.p, nil
}

// follow deals with what the language process tells until it ends, is cancelled, or its time is over.
func (j *job) follow(ctx context.Context) error {
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	var kill <-chan time.Time
	var ending *failure // decided, waits for user code to end
	end := func(f *failure, grace time.Duration) {
		if ending == nil {
			ending = f
			kill = time.After(grace)
		}
	}
	deadline := ctx.Done()
	for {
		select {
		case m, ok := <-j.proc.Frames:
			if !ok {
				if ending != nil {
					return ending
				}
				return j.died()
			}
			over, err := j.frame(m)
			if ending != nil && over {
				return ending
			}
			if over || err != nil {
				return err
			}
		case <-deadline:
			deadline = nil
			f := failf("timeout", "the time limit of %s passed", limitText(j.start.GetDeadlineUnixMs(), j.began))
			f.retryable = true
			j.proc.Kill()
			end(f, 0)
		case c := <-j.cancel:
			grace := time.Duration(c.GetGraceMs()) * time.Millisecond
			if grace == 0 {
				grace = graceUsual
			}
			j.proc.Terminate()
			end(cancelled(c), grace)
		case <-j.stop:
			j.proc.Kill()
			end(failf("cancelled", "nobody was attached to the execution any more"), 0)
		case <-kill:
			j.proc.Kill()
		case a := <-j.acks:
			j.pass(a)
		case <-watch.C:
			if size := folderSize(j.dir, j.host.cfg.DiskMax); size > j.host.cfg.DiskMax {
				j.proc.Kill()
				end(failf("disk_full", "the execution's files exceed the limit of %d MiB", j.host.cfg.DiskMax>>20), 0)
			}
		}
	}
}

func limitText(deadlineMS int64, began time.Time) string {
	return time.UnixMilli(deadlineMS).Sub(began).Round(10 * time.Millisecond).String()
}

// died explains a language process that ended without telling a result.
func (j *job) died() error {
	var large *frame.TooLargeError
	if err := j.proc.ReadError(); errors.As(err, &large) {
		return failf("invalid_output", "the outputs are too large: %d MiB of JSON and the limit is %d; write large data to a file and return that", large.Size>>20, jsonLimit>>20)
	} else if err != nil {
		return failf("invalid_output", "%s", err)
	}
	j.proc.Kill()
	<-j.proc.Exited
	switch status := j.proc.Exit().Status; {
	case status == -9:
		return failf("crashed", "the process of the handler was killed (signal 9): it may have used too much memory")
	case status < 0:
		return failf("crashed", "the process of the handler was ended by signal %d", -status)
	default:
		return failf("crashed", "the process of the handler ended by itself with exit code %d", status)
	}
}

// frame deals with one message; over tells that the handler has ended.
func (j *job) frame(m *frame.Message) (over bool, err error) {
	if m.ID != "" && m.ID != j.id {
		return false, nil
	}
	if m.RSSKiB > 0 { // a last message tells what the execution used
		j.usage.CpuMicros, j.usage.MaxRssBytes = m.CPUMicros, m.RSSKiB<<10
	}
	if m.Micros > 0 && j.proc != nil {
		j.proc.Took(time.Duration(m.Micros) * time.Microsecond)
	}
	switch m.T {
	case "log":
		j.log(m.Stream, m.Level, m.Text)
	case "progress":
		f := min(max(m.Fraction, 0), 1)
		j.tell(&pb.FromAction{Body: &pb.FromAction_Progress{Progress: &pb.Progress{Fraction: f, Note: j.mask.String(m.Text)}}})
	case "out": // one of a list, before the end
		j.introduce()
		return false, j.results(m.Values, true)
	case "event":
		return false, j.event(m)
	case "result":
		j.clean = true
		if j.light && !m.List && len(m.Values) == 1 {
			j.returned = time.Now()
			j.result, err = j.outgoing(m.Values[0])
			return true, err
		}
		j.introduce()
		j.phase(pb.Phase_RETURNED, time.Now())
		return true, j.results(m.Values, m.List)
	case "done":
		j.clean = true
		return true, nil
	case "fail":
		// A handler that failed left its process in order, unless it lost its way out of it.
		j.clean = m.Kind != "cancelled"
		if m.Kind == "" {
			m.Kind = "user_error"
		}
		return true, &failure{kind: m.Kind, message: m.Text, code: m.Code, stack: m.Stack, field: m.Field, retryable: m.Retryable, details: m.Details}
	}
	return false, nil
}

func (j *job) log(stream, level, text string) {
	s := pb.Log_STDOUT
	switch stream {
	case "stderr":
		s = pb.Log_STDERR
	case "logger":
		s = pb.Log_LOGGER
	}
	j.usage.LogBytes += int64(len(text))
	if len(text) > 64<<10 {
		text = text[:64<<10] + " … (cut)"
	}
	j.tell(&pb.FromAction{Body: &pb.FromAction_Log{Log: &pb.Log{
		Stream: s, Level: level, AtUnixMicros: time.Now().UnixMicro(), Line: strings.ToValidUTF8(j.mask.String(text), "�"),
	}}})
}

// rawLine is a line that user code wrote past the language's streams.
func (j *job) rawLine(stream, line string) {
	level := "info"
	if stream == "stderr" {
		level = "error"
	}
	j.log(stream, level, line)
}

// pass hands an acknowledgement or a run's result to a source.
func (j *job) pass(m *pb.ToAction) {
	var v map[string]any
	switch b := m.Body.(type) {
	case *pb.ToAction_EventAck:
		v = map[string]any{"t": "ack", "seq": b.EventAck.GetEventSeq(), "run_id": b.EventAck.GetRunId()}
	case *pb.ToAction_RunResult:
		vals := map[string]json.RawMessage{}
		for k, raw := range b.RunResult.GetValues() {
			vals[k] = raw
		}
		v = map[string]any{"t": "run_result", "seq": b.RunResult.GetEventSeq(), "run_id": b.RunResult.GetRunId(), "state": b.RunResult.GetState(), "values": vals}
	}
	if data, err := json.Marshal(v); err == nil {
		_ = j.proc.Send(data)
	}
}

// cleanUp ends what the execution started and removes its files.
func (j *job) cleanUp() {
	if j.proc != nil {
		j.proc.Release(j.clean)
		select {
		case <-j.proc.Exited:
			e := j.proc.Exit()
			j.usage.CpuMicros, j.usage.MaxRssBytes = e.CPUMicros, e.RSSBytes
		default:
		}
	}
	if j.dir != "" {
		j.host.folders.giveBack(j.dir)
	}
}
