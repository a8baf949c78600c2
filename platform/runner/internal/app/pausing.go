package app

import (
	"context"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// PausedWorkflow is a workflow that starts no runs for now. Those under way go on; schedules and
// sources rest, and HTTP triggers tell their callers to come again.
type PausedWorkflow struct {
	Project  string
	Workflow string
	Reason   string
	Since    time.Time
}

// PauseWorkflow lets a deployed workflow start no runs, whatever revision is live, until
// ResumeWorkflow. See UseCases.
func (s *Service) PauseWorkflow(ctx context.Context, project, workflow, reason string) error {
	if err := s.isReady(); err != nil {
		return err
	}
	if _, err := s.deploymentFor(ctx, StartRun{Project: project, Workflow: workflow}); err != nil {
		return err
	}
	p := PausedWorkflow{Project: project, Workflow: workflow, Reason: reason, Since: s.now().UTC()}
	if err := s.deps.Store.PutPaused(ctx, p); err != nil {
		return err
	}
	s.mu.Lock()
	s.rests[project+"/"+workflow] = p
	s.mu.Unlock()
	s.tellLive()
	s.signal(0, signalSettings)
	return nil
}

// ResumeWorkflow ends a pause; a workflow that is not paused is left as it is. See UseCases.
func (s *Service) ResumeWorkflow(ctx context.Context, project, workflow string) error {
	if err := s.isReady(); err != nil {
		return err
	}
	if err := s.deps.Store.DeletePaused(ctx, project, workflow); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.rests, project+"/"+workflow)
	s.mu.Unlock()
	s.tellLive()
	s.signal(0, signalSettings)
	return nil
}

// Paused tells whether a workflow starts no runs for now, and why. It never blocks. See UseCases.
func (s *Service) Paused(project, workflow string) (PausedWorkflow, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.rests[project+"/"+workflow]
	return p, ok
}

// loadPaused reads what is paused.
func (s *Service) loadPaused(ctx context.Context) error {
	list, err := s.deps.Store.Paused(ctx)
	if err != nil {
		return err
	}
	rests := make(map[string]PausedWorkflow, len(list))
	for _, p := range list {
		rests[p.Project+"/"+p.Workflow] = p
	}
	s.mu.Lock()
	changed := len(rests) != len(s.rests)
	for k := range rests {
		_, known := s.rests[k]
		changed = changed || !known
	}
	s.rests = rests
	s.mu.Unlock()
	if changed {
		s.tellLive()
	}
	return nil
}

// codePaused is the code of the fault that a workflow starts no runs for now.
const codePaused = "workflow_paused"

// checkPaused tells callers that a workflow is paused.
func (s *Service) checkPaused(project, workflow string) error {
	p, ok := s.Paused(project, workflow)
	if !ok {
		return nil
	}
	why := ""
	if p.Reason != "" {
		why = " (" + p.Reason + ")"
	}
	return fault.New(fault.Unavailable, "workflow %s is paused since %s%s: `pelton workflow resume %s` lets it start runs again",
		workflow, p.Since.Format(time.RFC3339), why, workflow).WithCode(codePaused)
}
