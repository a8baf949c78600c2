package process

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// start is the message of an execution with its inputs, large ones by reference.
func (i *instance) start(run *running) *pb.ToAction {
	x := run.x
	start := &pb.Start{
		IdempotencyKey: x.IdempotencyKey, Attempt: x.Attempt, Inputs: run.inputs, Traceparent: x.Traceparent, Cursor: x.Cursor, Secrets: x.Secrets, DynamicOutputs: x.DynamicOutputs,
		Filestore: i.pool.r.filestore(x.Project),
		Context:   &pb.Context{Project: x.Project, Workflow: x.Workflow, RunId: x.Run, Step: x.Step, ItemPath: x.ItemPath},
	}
	if !x.Deadline.IsZero() {
		start.DeadlineUnixMs = x.Deadline.UnixMilli()
	}
	return &pb.ToAction{ExecutionId: x.ID, Body: &pb.ToAction_Start{Start: start}}
}

// phases are their names in lower case, made once.
var phases = func() map[pb.Phase_Kind]string {
	m := map[pb.Phase_Kind]string{}
	for n, name := range pb.Phase_Kind_name {
		m[pb.Phase_Kind(n)] = strings.ToLower(name)
	}
	return m
}()

// take deals with one message. What ends by it makes room, which receive fills.
func (i *instance) take(m *pb.FromAction) {
	p := i.pool
	if ask := m.GetFileAsk(); ask != nil {
		i.grant(m.ExecutionId, ask)
		return
	}
	p.mu.Lock()
	run := i.runs[m.ExecutionId]
	if run == nil || (m.Seq != 0 && m.Seq <= run.last) {
		p.mu.Unlock()
		return
	}
	if m.Seq != 0 {
		run.last = m.Seq
	}
	p.mu.Unlock()
	switch b := m.Body.(type) {
	case *pb.FromAction_Phase:
		run.phase(phases[b.Phase.Kind], time.UnixMicro(b.Phase.AtUnixMicros))
	case *pb.FromAction_Log:
		run.sink.Log(domain.LogLine{Stream: strings.ToLower(b.Log.Stream.String()), Level: b.Log.Level, AtMicros: b.Log.AtUnixMicros, Line: b.Log.Line, Dropped: b.Log.Dropped})
	case *pb.FromAction_Progress:
		run.sink.Progress(b.Progress.Fraction, b.Progress.Note)
	case *pb.FromAction_Output:
		o := b.Output
		run.sink.Output(app.Output{Index: int(o.Index), Values: values(o.Values), List: o.List, EventSeq: o.EventSeq, EventKey: o.EventKey, Cursor: o.Cursor})
	case *pb.FromAction_Done:
		p.finish(run, app.Ended{Outcome: app.Completed, Usage: usage(b.Done.Usage), List: b.Done.List, Outputs: int(b.Done.Outputs)})
	case *pb.FromAction_Result:
		for _, ph := range b.Result.Phases {
			run.phase(phases[ph.Kind], time.UnixMicro(ph.AtUnixMicros))
		}
		run.sink.Output(app.Output{Values: values(b.Result.Values)})
		run.brief = true
		p.finish(run, app.Ended{Outcome: app.Completed, Usage: usage(b.Result.Usage), Outputs: 1})
	case *pb.FromAction_Failed:
		i.failed(run, b.Failed)
	case *pb.FromAction_Unknown:
		p.unknown(run)
	}
}

func (i *instance) failed(run *running, f *pb.Failed) {
	if f.Kind == "not_started" { // the wrapper was busy: it waits its turn again
		p := i.pool
		p.mu.Lock()
		delete(i.runs, run.x.ID)
		run.sent, run.inst, run.last = false, nil, 0
		p.brief = false
		p.queue = append(p.queue, run)
		p.mu.Unlock()
		i.send(&pb.ToAction{ExecutionId: run.x.ID, Body: &pb.ToAction_Forget{Forget: &pb.Forget{}}})
		p.dispatch()
		return
	}
	e := &domain.StepError{Kind: f.Kind, Message: f.Message, Code: f.Code, Stack: f.Stack, Field: f.Field, Retryable: f.Retryable}
	if json.Valid(f.Details) {
		e.Details = f.Details
	}
	outcome := app.Failed
	if f.Kind == "cancelled" && run.cancel != nil {
		outcome = app.Cancelled
	}
	i.pool.end(run, app.Ended{Outcome: outcome, Error: e, Usage: usage(f.Usage)})
}

func values(in map[string][]byte) domain.Values {
	out := make(domain.Values, len(in))
	for k, v := range in {
		out[k] = domain.Value(v)
	}
	return out
}

func usage(u *pb.Usage) domain.Usage {
	return domain.Usage{CPUMicros: u.GetCpuMicros(), MaxRSS: u.GetMaxRssBytes(), WallMicros: u.GetWallMicros()}
}
