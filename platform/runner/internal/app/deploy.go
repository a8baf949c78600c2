package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

const reasonSuperseded = "superseded by a later deployment"

// maxPlans bounds the compiled plans kept for deployments that are not live.
const maxPlans = 512

// Deploy makes a revision live. See UseCases.
func (s *Service) Deploy(ctx context.Context, d DeployWorkflow) error {
	if err := s.isReady(); err != nil {
		return err
	}
	at := d.At
	if at.IsZero() {
		at = s.now().UTC()
	}
	if err := d.checkShares(); err != nil {
		return err
	}
	dep := Deployment{ID: d.ID, Project: d.Project, State: DeploymentDeploying, CreatedAt: at, ChangedAt: at, Definition: d.Definition}
	if len(d.Shares) > 0 {
		dep.Weight, dep.Shares = d.Weight, d.Shares
	}
	inserted, err := s.deps.Store.SaveDeployment(ctx, dep)
	if err != nil {
		return err
	}
	if !inserted {
		if dep, err = s.deps.Store.Deployment(ctx, d.ID); err != nil {
			return err
		}
		if dep.State != DeploymentDeploying {
			return nil
		}
	}
	return s.bringUp(ctx, dep)
}

// ensureLive makes the builds of live deployments callable again after a start.
func (s *Service) ensureLive(ctx context.Context) error {
	live, _ := s.Live()
	for _, d := range live {
		reason := s.ensure(ctx, d)
		if err := ctx.Err(); err != nil {
			return err
		}
		if reason != "" {
			if err := s.settleDeployment(ctx, d, DeploymentFailed, reason); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishDeploying goes on with what a crash interrupted.
func (s *Service) finishDeploying(ctx context.Context) {
	standing, err := s.deps.Store.Standing(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.deps.Log.Error("standing deployments could not be read", "error", err)
		}
		return
	}
	for _, d := range standing {
		if d.State != DeploymentDeploying {
			continue
		}
		if err := s.bringUp(ctx, d); err != nil && ctx.Err() == nil {
			s.deps.Log.Error("deployment not brought up", "deployment", d.ID, "error", err)
		}
	}
}

// bringUp compiles, ensures and switches.
func (s *Service) bringUp(ctx context.Context, d Deployment) error {
	parts := d.Parts()
	plans := make([]*domain.Plan, len(parts))
	for i, part := range parts {
		plan, problems := domain.Compile(part.Definition, s.deps.Compiler)
		if len(problems) > 0 {
			words := make([]string, len(problems))
			for i, p := range problems {
				words[i] = p.String()
			}
			return s.settleDeployment(ctx, d, DeploymentFailed, d.about(part)+strings.Join(words, "; "))
		}
		plans[i] = plan
	}
	if reason := s.ensure(ctx, d); reason != "" {
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.settleDeployment(ctx, d, DeploymentFailed, reason)
	}
	s.mu.Lock()
	for i, part := range parts {
		s.keepPlan(part.Deployment, &part.Definition, plans[i])
	}
	s.mu.Unlock()
	return s.settleDeployment(ctx, d, DeploymentLive, "")
}

// ensure makes a deployment's builds callable; it answers why not.
func (s *Service) ensure(ctx context.Context, d Deployment) string {
	for _, part := range d.Parts() {
		for _, b := range part.Definition.Builds {
			if err := s.deps.Deployer.Ensure(ctx, d.Project, b); err != nil {
				if f := fault.As(err); f != nil {
					err = f
				}
				return d.about(part) + b.Action + ": " + err.Error()
			}
		}
	}
	return ""
}

// about begins what is told of one of several revisions.
func (d *Deployment) about(part Share) string {
	if len(d.Shares) == 0 {
		return ""
	}
	return fmt.Sprintf("revision %d: ", part.Definition.Revision)
}

// settleDeployment records the new state and, when it is live, ends the one before.
func (s *Service) settleDeployment(ctx context.Context, d Deployment, state, reason string) error {
	var changes []Deployment
	err := s.deps.Store.UpdateDeployments(ctx, d.Project, d.Definition.Workflow, func(live []Deployment) ([]Deployment, []Message, error) {
		d.State, d.Reason, d.ChangedAt = state, reason, s.now().UTC()
		changes = nil
		if state == DeploymentLive {
			for _, old := range live {
				if old.ID == d.ID {
					continue
				}
				if old.ID > d.ID { // ids are UUIDv7: a later order has overtaken this one
					d.State, d.Reason = DeploymentStopped, reasonSuperseded
					continue
				}
				if old.Definition.RevisionID == d.Definition.RevisionID {
					d.Listener = old.Listens()
				}
				old.State, old.Reason, old.ChangedAt = DeploymentStopped, reasonSuperseded, d.ChangedAt
				changes = append(changes, old)
			}
		}
		changes = append(changes, d)
		msgs, err := s.announce(changes)
		return changes, msgs, err
	})
	if err != nil {
		return err
	}
	s.setLive(func(all map[string]Deployment) []Deployment {
		for _, c := range changes {
			delete(all, c.ID)
			if c.State == DeploymentLive {
				all[c.ID] = c
			}
		}
		return byID(all)
	})
	s.signal(0, signalDeployments)
	return nil
}

func (s *Service) announce(changes []Deployment) ([]Message, error) {
	var msgs []Message
	for _, c := range changes {
		m, err := s.deps.Announce.DeploymentChanged(s.deps.NewID(), c)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "encode DeploymentChanged")
		}
		msgs = append(msgs, m)
	}
	return msgs, nil
}

func byID(all map[string]Deployment) []Deployment {
	out := make([]Deployment, 0, len(all))
	for _, id := range sortedNames(all) {
		out = append(out, all[id])
	}
	return out
}

// refresh follows deployments that other replicas have made live or stopped.
func (s *Service) refresh(ctx context.Context) error {
	marks, err := s.deps.Store.StandingMarks(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := slices.Equal(marks, s.marks)
	s.mu.Unlock()
	if known {
		return nil
	}
	standing, err := s.deps.Store.Standing(ctx)
	if err != nil {
		return err
	}
	now := map[string]Deployment{}
	for _, d := range standing {
		if d.State == DeploymentLive {
			now[d.ID] = d
			if reason := s.ensure(ctx, d); reason != "" {
				s.deps.Log.Warn("a deployment's builds are not callable here", "deployment", d.ID, "workflow", d.Definition.Workflow, "why", reason)
			}
		}
	}
	s.setLive(func(map[string]Deployment) []Deployment { return byID(now) })
	s.mu.Lock()
	s.marks = marks
	s.mu.Unlock()
	return nil
}

// tellLive lets those who follow the list of live deployments look again.
func (s *Service) tellLive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// setLive replaces the list of live deployments and tells those who wait for a change.
func (s *Service) setLive(change func(map[string]Deployment) []Deployment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Deployment{}
	for _, d := range s.live {
		all[d.ID] = d
	}
	s.live = change(all)
	s.byName, s.shared = map[string]string{}, map[string]Deployment{}
	for _, d := range s.live {
		s.byName[d.Project+"/"+d.Definition.Workflow] = d.ID
		for _, sh := range d.Shares {
			s.shared[d.ID], s.shared[sh.Deployment] = d, d
		}
	}
	s.arm()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Live is the list of live deployments. See UseCases.
func (s *Service) Live() ([]Deployment, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.live), s.changed
}

// Undeploy stops new runs. See UseCases.
func (s *Service) Undeploy(ctx context.Context, project, deploymentID string) error {
	if err := s.isReady(); err != nil {
		return err
	}
	d, err := s.deps.Store.Deployment(ctx, deploymentID)
	if fault.Is(err, fault.NotFound) || (err == nil && (d.Project != project || d.State == DeploymentStopped)) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.settleDeployment(ctx, d, DeploymentStopped, "undeployed")
}

// Deployments lists a project's deployments. See UseCases.
func (s *Service) Deployments(ctx context.Context, project string, all bool) ([]Deployment, error) {
	list, err := s.deps.Store.Deployments(ctx, project, all)
	for i := range list {
		s.asServed(&list[i])
	}
	return list, err
}

// asServed shows a deployment as live only once calls find it: between the commit that makes it live
// and the moment from which its triggers listen, it is still on its way.
func (s *Service) asServed(d *Deployment) {
	if d.State != DeploymentLive {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.live, func(l Deployment) bool { return l.names(d.ID) }) {
		d.State = DeploymentDeploying
	}
}

// Deployment gives one deployment.
func (s *Service) Deployment(ctx context.Context, project, id string) (Deployment, error) {
	d, err := s.deps.Store.Deployment(ctx, id)
	if err == nil && d.Project != project {
		return Deployment{}, fault.New(fault.NotFound, "there is no deployment %s in project %s", id, project)
	}
	s.asServed(&d)
	return d, err
}

// plan gives a deployment's compiled plan.
func (s *Service) plan(ctx context.Context, deployment string) (*domain.Plan, error) {
	s.mu.Lock()
	p := s.plans[deployment]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	d, err := s.deps.Store.Deployment(ctx, deployment)
	if err != nil {
		return nil, err
	}
	p, problems := domain.Compile(d.Definition, s.deps.Compiler)
	if len(problems) > 0 {
		return nil, fault.New(fault.Unprocessable, "the definition of deployment %s cannot be run by this version: %s", deployment, problems[0])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.plans) >= maxPlans {
		for id := range s.plans {
			if !slices.ContainsFunc(s.live, func(d Deployment) bool { return d.names(id) }) {
				delete(s.plans, id)
				delete(s.briefs, id)
				break
			}
		}
	}
	s.keepPlan(d.ID, &d.Definition, p)
	return p, nil
}

// keepPlan needs s.mu.
func (s *Service) keepPlan(id string, d *domain.Definition, p *domain.Plan) {
	s.plans[id] = p
	if briefly(d) {
		s.briefs[id] = true
	}
}

// brief tells whether a deployment whose plan was made says durability: none.
func (s *Service) brief(deployment string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.briefs[deployment]
}
