// Package actiongrpc is what every way to a wrapper shares: its messages as the runner's values, the
// key that signs calls, large inputs by reference, and answers about the filestore.
package actiongrpc

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// Start is the message that begins an execution, with its inputs as EncodeInputs gave them.
func Start(x *app.Execution, inputs map[string][]byte, filestore string) *pb.ToAction {
	start := &pb.Start{
		IdempotencyKey: x.IdempotencyKey, Attempt: x.Attempt, Inputs: inputs, Traceparent: x.Traceparent, Cursor: x.Cursor, Secrets: x.Secrets, DynamicOutputs: x.DynamicOutputs,
		Filestore: filestore,
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

// Phase is a phase as Sink.Phase takes it.
func Phase(p *pb.Phase) (kind string, at time.Time) {
	return phases[p.Kind], time.UnixMicro(p.AtUnixMicros)
}

// Log is a line as Sink.Log takes it.
func Log(l *pb.Log) domain.LogLine {
	return domain.LogLine{Stream: strings.ToLower(l.Stream.String()), Level: l.Level, AtMicros: l.AtUnixMicros, Line: l.Line, Dropped: l.Dropped}
}

// Output is a result or event as Sink.Output takes it.
func Output(o *pb.Output) app.Output {
	return app.Output{Index: int(o.Index), Values: Values(o.Values), List: o.List, EventSeq: o.EventSeq, EventKey: o.EventKey, Cursor: o.Cursor}
}

// Done is the end of an execution that went well.
func Done(d *pb.Done) app.Ended {
	return app.Ended{Outcome: app.Completed, Usage: Usage(d.Usage), List: d.List, Outputs: int(d.Outputs)}
}

// StepError is the error of an execution that failed. Details that are no JSON are left out.
func StepError(f *pb.Failed) *domain.StepError {
	e := &domain.StepError{Kind: f.Kind, Message: f.Message, Code: f.Code, Stack: f.Stack, Field: f.Field, Retryable: f.Retryable}
	if json.Valid(f.Details) {
		e.Details = f.Details
	}
	return e
}

// Values are values of the wire; they share its bytes.
func Values(in map[string][]byte) domain.Values {
	out := make(domain.Values, len(in))
	for k, v := range in {
		out[k] = domain.Value(v)
	}
	return out
}

// Usage is what an execution used.
func Usage(u *pb.Usage) domain.Usage {
	return domain.Usage{CPUMicros: u.GetCpuMicros(), MaxRSS: u.GetMaxRssBytes(), WallMicros: u.GetWallMicros()}
}
