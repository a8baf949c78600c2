package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// Deploy makes a revision live; number 0 is the newest. It takes that many of 100 new runs, and the revision that takes
// them so far keeps the others.
func (s *Service) Deploy(ctx context.Context, project, name string, number, weight int) (domain.Deployment, error) {
	r, err := s.revision(ctx, project, name, number)
	if err != nil {
		return domain.Deployment{}, err
	}
	if weight == 100 {
		return s.deploy(ctx, r)
	}
	current, err := s.current(ctx, project, name)
	if err != nil {
		return domain.Deployment{}, err
	}
	var split domain.Traffic
	if current != nil {
		split = current.Split()
	}
	if split, err = split.Give(r.Number, weight); err != nil {
		return domain.Deployment{}, err
	}
	return s.share(ctx, project, name, split)
}

// revision is the revision of that number, or the newest for 0.
func (s *Service) revision(ctx context.Context, project, name string, number int) (domain.Revision, error) {
	if number == 0 {
		if err := s.takeScan(ctx, project, name); err != nil {
			return domain.Revision{}, err
		}
	}
	newest, err := s.Store.Revisions(ctx, project, name, 0, 1)
	switch {
	case err != nil:
		return domain.Revision{}, err
	case len(newest) == 0:
		return domain.Revision{}, fault.New(fault.NotFound, "there is no workflow %q, or it has no revision yet", name)
	case number == 0 || number == newest[0].Number:
		return newest[0], nil
	}
	r, err := s.Store.Revision(ctx, project, name, number)
	if fault.Is(err, fault.NotFound) {
		return r, fault.New(fault.NotFound, "workflow %s has no revision %d: its newest is %d", name, number, newest[0].Number)
	}
	return r, err
}

// current is the deployment that takes new runs, or is about to; nil = none does.
func (s *Service) current(ctx context.Context, project, name string) (*domain.Deployment, error) {
	standing, err := s.standing(ctx, project, name)
	if err != nil || len(standing) == 0 {
		return nil, err
	}
	return &standing[0], nil
}

// standing are the deployments that take new runs or are about to, the newest first: the one before is live until a new
// one is, and stays so when that fails.
func (s *Service) standing(ctx context.Context, project, name string) (standing []domain.Deployment, err error) {
	past, err := s.Store.Deployments(ctx, project, name, 100)
	for _, d := range past {
		switch d.State {
		case "deploying", "live":
			standing = append(standing, d)
		case "stopped":
			return standing, err // what came before was superseded
		}
	}
	return standing, err
}

// SetTraffic shares the new runs of a workflow between revisions: those with a weight are made live, the others
// end. The same traffic again changes nothing.
func (s *Service) SetTraffic(ctx context.Context, project, name string, asked []domain.Share) (domain.Deployment, error) {
	split, err := domain.NewTraffic(asked)
	if err != nil {
		return domain.Deployment{}, err
	}
	var bad []fault.Field
	for i, a := range asked {
		if _, err := s.revision(ctx, project, name, a.Revision); fault.Is(err, fault.NotFound) {
			newest, lerr := s.Store.Revisions(ctx, project, name, 0, 1)
			if lerr != nil || len(newest) == 0 {
				return domain.Deployment{}, errors.Join(lerr, err)
			}
			bad = append(bad, fault.Field{Path: fmt.Sprintf("weights[%d].revision", i), Message: fmt.Sprintf("is %d, and workflow %s has no such revision", a.Revision, name),
				Remedy: fmt.Sprintf("its newest is %d", newest[0].Number)})
		} else if err != nil {
			return domain.Deployment{}, err
		}
	}
	if bad != nil {
		return domain.Deployment{}, fault.InvalidFields(bad...)
	}
	current, err := s.current(ctx, project, name)
	if err != nil {
		return domain.Deployment{}, err
	}
	if current != nil && current.Split().Same(split) {
		return *current, nil
	}
	return s.share(ctx, project, name, split)
}

// share orders a split. Its deployment is that of the leader; the others get ids for their runs to name.
func (s *Service) share(ctx context.Context, project, name string, split domain.Traffic) (domain.Deployment, error) {
	now, leader := s.Now(), split.Leader()
	d := domain.Deployment{ID: s.NewID(), Project: project, Workflow: name, Number: leader.Revision, State: "deploying", CreatedAt: now, ChangedAt: now}
	definitions := make([][]byte, len(split))
	for i := range split {
		r, err := s.Store.Revision(ctx, project, name, split[i].Revision)
		if err != nil {
			return domain.Deployment{}, err
		}
		definitions[i] = r.Definition
		if split[i].Deployment = s.NewID(); split[i].Revision == leader.Revision {
			split[i].Deployment, d.RevisionID = d.ID, r.ID
		}
	}
	if len(split) > 1 {
		d.Traffic = split
	}
	if err := s.Store.Deploy(ctx, d, definitions, now); err != nil {
		return domain.Deployment{}, err
	}
	s.Publish(project, Event{Type: "deployment_changed", Workflow: name, Revision: d.Number, State: d.State})
	return d, nil
}

// takeScan makes a revision of what the newest scan found, where a scan is the workflow's source.
func (s *Service) takeScan(ctx context.Context, project, name string) error {
	w, err := s.Store.Workflow(ctx, project, name)
	if fault.Is(err, fault.NotFound) || (err == nil && w.WantedYAML == "") {
		return nil
	}
	if err != nil {
		return err
	}
	c, problems, err := s.compile(ctx, project, w.Path, w.WantedYAML, &w)
	if errors.Is(err, errWait) {
		return fault.New(fault.Conflict, "an action that the workflow uses is being built: deploy again in a moment").WithCode(Building)
	}
	if err != nil {
		return err
	}
	if c == nil {
		return invalid(problems)
	}
	_, _, err = s.save(ctx, *c)
	return err
}

func (s *Service) deploy(ctx context.Context, r domain.Revision) (domain.Deployment, error) {
	now := s.Now()
	d := domain.Deployment{ID: s.NewID(), Project: r.Project, Workflow: r.Workflow, RevisionID: r.ID, Number: r.Number, State: "deploying", CreatedAt: now, ChangedAt: now}
	if err := s.Store.Deploy(ctx, d, [][]byte{r.Definition}, now); err != nil {
		return domain.Deployment{}, err
	}
	s.Publish(r.Project, Event{Type: "deployment_changed", Workflow: r.Workflow, Revision: r.Number, State: d.State})
	return d, nil
}

// Rollback deploys the revision that was live before, or the given one.
func (s *Service) Rollback(ctx context.Context, project, name string, number int) (domain.Deployment, error) {
	if number != 0 {
		return s.Deploy(ctx, project, name, number, 100)
	}
	past, err := s.Store.Deployments(ctx, project, name, 100)
	if err != nil {
		return domain.Deployment{}, err
	}
	if len(past) == 0 {
		return domain.Deployment{}, fault.New(fault.NotFound, "there is no workflow %q, or it was never deployed", name)
	}
	for _, d := range past[1:] {
		// The one before a split took all runs, as its revision is to do again.
		if (d.Number != past[0].Number || len(past[0].Traffic) > 0) && len(d.Traffic) == 0 && d.State != "failed" {
			return s.Deploy(ctx, project, name, d.Number, 100)
		}
	}
	return domain.Deployment{}, fault.New(fault.Conflict, "no other revision of %s was deployed before: give the number of one", name)
}

// Undeploy stops a workflow's triggers; runs under way go on.
func (s *Service) Undeploy(ctx context.Context, project, name string) (domain.Deployment, error) {
	standing, err := s.standing(ctx, project, name)
	if err != nil {
		return domain.Deployment{}, err
	}
	if len(standing) == 0 {
		return domain.Deployment{}, fault.New(fault.Conflict, "the workflow %q is not deployed", name)
	}
	// A watched folder would deploy it again at its next save.
	err = s.Store.UpdateWorkflow(ctx, project, name, false, s.Now(), func(w *domain.Workflow) error { w.AutoDeploy = false; return nil })
	if err != nil {
		return domain.Deployment{}, err
	}
	now := s.Now()
	d := standing[0]
	d.State, d.ChangedAt = "stopped", now
	return d, s.Store.Undeploy(ctx, standing, now)
}
