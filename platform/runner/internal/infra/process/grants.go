package process

import (
	"github.com/pelton-run/pelton/platform/runner/internal/infra/actiongrpc"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

// question is the id of one within its execution.
type question struct {
	execution string
	id        uint64
}

// filestore is where the wrappers of a project find blobs.
func (r *Runner) filestore(project string) string {
	if r.cfg.Transfers != nil {
		return "grant:"
	}
	return "file://" + r.cfg.FilesDir + "/" + project
}

// grant answers a question about the filestore, for the project of the execution and no other.
func (i *instance) grant(execution string, ask *pb.FileAsk) {
	p, q := i.pool, question{execution, ask.GetId()}
	p.mu.Lock()
	run := i.runs[execution]
	if run == nil || i.asks[q] || len(i.asks) >= actiongrpc.MaxAsks || p.r.cfg.Transfers == nil {
		p.mu.Unlock()
		return
	}
	if i.asks == nil {
		i.asks = map[question]bool{}
	}
	i.asks[q] = true
	project := run.x.Project
	p.mu.Unlock()
	go func() {
		g := actiongrpc.Grant(p.r.cfg.Transfers, p.r.cfg.Files, project, ask)
		p.mu.Lock()
		delete(i.asks, q)
		p.mu.Unlock()
		i.send(&pb.ToAction{ExecutionId: execution, Body: &pb.ToAction_FileGrant{FileGrant: g}})
	}()
}
