package process

import (
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/actiongrpc"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// start is the message of an execution with its inputs, large ones by reference.
func (i *instance) start(run *running) *pb.ToAction {
	return actiongrpc.Start(&run.x, run.inputs, i.pool.r.filestore(run.x.Project))
}

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
		run.phase(actiongrpc.Phase(b.Phase))
	case *pb.FromAction_Log:
		run.sink.Log(actiongrpc.Log(b.Log))
	case *pb.FromAction_Progress:
		run.sink.Progress(b.Progress.Fraction, b.Progress.Note)
	case *pb.FromAction_Output:
		run.sink.Output(actiongrpc.Output(b.Output))
	case *pb.FromAction_Done:
		p.finish(run, actiongrpc.Done(b.Done))
	case *pb.FromAction_Result:
		for _, ph := range b.Result.Phases {
			run.phase(actiongrpc.Phase(ph))
		}
		run.sink.Output(app.Output{Values: actiongrpc.Values(b.Result.Values)})
		run.brief = true
		p.finish(run, app.Ended{Outcome: app.Completed, Usage: actiongrpc.Usage(b.Result.Usage), Outputs: 1})
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
	outcome := app.Failed
	if f.Kind == "cancelled" && run.cancel != nil {
		outcome = app.Cancelled
	}
	i.pool.end(run, app.Ended{Outcome: outcome, Error: actiongrpc.StepError(f), Usage: actiongrpc.Usage(f.Usage)})
}
