// Package app holds the studio's use cases and the ports they need.
package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/problem"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// Store keeps everything; messages are written with the change that they tell.
type Store interface {
	PutBuild(ctx context.Context, messageID string, b domain.Build) error
	Builds(ctx context.Context, project, action string) ([]domain.Build, error)
	NewestBuilds(ctx context.Context, project string) ([]domain.Build, error)
	Build(ctx context.Context, project, digest string) (domain.Build, error)

	Workflow(ctx context.Context, project, name string) (domain.Workflow, error)
	Workflows(ctx context.Context, project string) ([]domain.Workflow, error)
	WorkflowsOf(ctx context.Context, project, source string) ([]domain.Workflow, error)
	// UpdateWorkflow changes a workflow through f, making it first where make is set.
	UpdateWorkflow(ctx context.Context, project, name string, make bool, now time.Time, f func(w *domain.Workflow) error) error

	// SaveRevision saves r under the next number, or finds the one of the same digest.
	SaveRevision(ctx context.Context, r domain.Revision, number func(n int) ([]byte, error)) (domain.Revision, bool, error)
	Revision(ctx context.Context, project, workflow string, number int) (domain.Revision, error)
	Revisions(ctx context.Context, project, workflow string, before, limit int) ([]domain.Revision, error)

	// Deploy records d and orders it from the runner; definitions are those of d.Split().
	Deploy(ctx context.Context, d domain.Deployment, definitions [][]byte, now time.Time) error
	// Undeploy records that they are stopped, and orders it from the runner: all of them or none.
	Undeploy(ctx context.Context, ds []domain.Deployment, now time.Time) error
	Deployments(ctx context.Context, project, workflow string, limit int) ([]domain.Deployment, error)
	NewestDeployments(ctx context.Context, project string) (map[string]domain.Deployment, error)
	DeploymentChanged(ctx context.Context, messageID string, d domain.Deployment) (project, workflow string, number int, err error)
}

// Definitions makes the definition that the runner gets.
type Definitions interface {
	Make(w workflow.Workflow, yaml string, builds map[string]domain.Build, revisionID string) (Definition, error)
}

// Definition is a revision about to be numbered.
type Definition interface {
	Digest() []byte // equal for equal content
	Encode(number int) ([]byte, error)
}

// Event is something that live views show.
type Event struct {
	Type     string           `json:"type"`
	Workflow string           `json:"workflow,omitempty"`
	Action   string           `json:"action,omitempty"`
	Build    string           `json:"build,omitempty"`
	Revision int              `json:"revision,omitempty"`
	State    string           `json:"state,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	Path     string           `json:"path,omitempty"`
	Problems []domain.Problem `json:"problems,omitempty"`
}

// Service is the use cases. Safe for concurrent use.
type Service struct {
	Store       Store
	Definitions Definitions
	Publish     func(project string, e Event)
	Now         func() time.Time
	NewID       func() string
	Log         *slog.Logger

	stood standing
}

// Offered takes a build into the library, and deploys the workflows that waited for it.
func (s *Service) Offered(ctx context.Context, messageID string, b domain.Build) error {
	if err := s.Store.PutBuild(ctx, messageID, b); err != nil {
		return err
	}
	s.Publish(b.Project, Event{Type: "action_offered", Action: b.Action + "@" + b.Version, Build: b.Build})
	waiting, err := s.Store.WorkflowsOf(ctx, b.Project, b.RepositoryID)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if !w.MayUse(b) {
			continue
		}
		if err := s.want(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// Found notes what a scan wants of a workflow, and deploys it where asked to.
func (s *Service) Found(ctx context.Context, want domain.Workflow, name string) error {
	err := s.Store.UpdateWorkflow(ctx, want.Project, name, true, s.Now(), func(w *domain.Workflow) error {
		w.Source, w.Path, w.WantedYAML, w.Builds, w.Broken, w.AutoDeploy = want.Source, want.Path, want.WantedYAML, want.Builds, want.Broken, want.AutoDeploy
		want.Problems = w.Problems
		return nil
	})
	if err != nil || !want.AutoDeploy {
		return err
	}
	want.Name = name
	return s.want(ctx, want)
}

// want is tryDeploy for a workflow that may stand as it is wanted. Problems that are kept with it are of something
// else that was wanted meanwhile: tryDeploy takes them away.
func (s *Service) want(ctx context.Context, w domain.Workflow) error {
	if number, ok := s.stood.of(&w); ok && len(w.Problems) == 0 {
		if deployed, err := s.deployed(ctx, w.Project, w.Name, number); err != nil || deployed {
			return err
		}
	}
	return s.tryDeploy(ctx, w)
}

// errWait says that a build is under way.
var errWait = errors.New("a build is under way")

// tryDeploy deploys what the newest scan wants as soon as every build is there. What is wrong is
// kept with the workflow, and the last good deployment stays.
func (s *Service) tryDeploy(ctx context.Context, w domain.Workflow) error {
	r, problems, err := s.compile(ctx, w.Project, w.Path, w.WantedYAML, &w)
	if errors.Is(err, errWait) {
		return nil
	}
	if err != nil {
		return err
	}
	if changed, err := s.note(ctx, w, problems); err != nil {
		return err
	} else if changed && len(problems) > 0 {
		s.Publish(w.Project, Event{Type: "workflow_problem", Workflow: w.Name, Path: w.Path, Problems: problems})
	}
	if r == nil {
		return nil
	}
	saved, made, err := s.save(ctx, *r)
	if err != nil {
		return err
	}
	if made {
		s.Publish(w.Project, Event{Type: "revision_created", Workflow: w.Name, Revision: saved.Number})
	}
	deployed, err := s.deployed(ctx, w.Project, w.Name, saved.Number)
	if err != nil {
		return err
	}
	if !deployed {
		if _, err = s.deploy(ctx, saved); err != nil {
			return err
		}
	}
	if len(problems) == 0 {
		s.stood.note(&w, r.uses, r.calls, saved.Number)
	}
	return nil
}

// deployed tells whether a revision is in the newest deployment of its workflow, and that has not failed.
func (s *Service) deployed(ctx context.Context, project, name string, number int) (bool, error) {
	newest, err := s.Store.Deployments(ctx, project, name, 1)
	return len(newest) == 1 && newest[0].Split().Of(number) > 0 && newest[0].State != "failed", err
}

func (s *Service) note(ctx context.Context, w domain.Workflow, problems []domain.Problem) (changed bool, err error) {
	err = s.Store.UpdateWorkflow(ctx, w.Project, w.Name, false, s.Now(), func(x *domain.Workflow) error {
		before, _ := json.Marshal(x.Problems)
		after, _ := json.Marshal(problems)
		changed = !bytes.Equal(before, after)
		x.Problems = problems
		return nil
	})
	return changed, err
}

// candidate is a checked definition.
type candidate struct {
	revision domain.Revision
	def      Definition
	uses     map[string]domain.Build // by what the workflow calls them
	calls    bool                    // it calls other workflows
}

// compile checks a workflow and pins its builds. scan is what a scan says of ./folders, nil
// without one. errWait: a build that it needs is under way.
func (s *Service) compile(ctx context.Context, project, file, yaml string, scan *domain.Workflow) (*candidate, []domain.Problem, error) {
	w, found := workflow.Parse(file, []byte(yaml))
	builds := map[string]domain.Build{}
	wait := false
	resolve := func(uses string) (action.Action, error) {
		b, err := s.resolve(ctx, project, uses, scan)
		if errors.Is(err, errWait) {
			wait = true
		}
		if err != nil {
			return action.Action{}, err
		}
		builds[uses] = b
		var a action.Action
		return a, json.Unmarshal([]byte(b.ActionJSON), &a)
	}
	var failure error
	calls := false
	siblings := func(name string) (workflow.Workflow, bool) {
		calls = true
		x, ok, err := s.sibling(ctx, project, name)
		failure = errors.Join(failure, err)
		return x, ok
	}
	if !found.Errors() {
		found = append(found, w.CheckUses(file, resolve, siblings)...)
	}
	if failure != nil {
		return nil, nil, failure
	}
	if wait {
		return nil, nil, errWait
	}
	problems := problemsOf(found)
	if found.Errors() {
		return nil, problems, nil
	}
	c := &candidate{uses: builds, calls: calls, revision: domain.Revision{ID: s.NewID(), Project: project, Workflow: w.Name, YAML: yaml, CreatedAt: s.Now()}}
	var err error
	if c.def, err = s.Definitions.Make(w, yaml, builds, c.revision.ID); err != nil {
		return nil, nil, err
	}
	c.revision.Digest = c.def.Digest()
	return c, problems, nil
}

// sibling is the newest revision of another workflow of the project, false where there is none.
func (s *Service) sibling(ctx context.Context, project, name string) (workflow.Workflow, bool, error) {
	newest, err := s.Store.Revisions(ctx, project, name, 0, 1)
	if fault.Is(err, fault.NotFound) {
		return workflow.Workflow{}, false, nil
	}
	if err != nil || len(newest) == 0 {
		return workflow.Workflow{}, false, err
	}
	w, problems := workflow.Parse(name, []byte(newest[0].YAML))
	return w, !problems.Errors(), nil
}

// resolve finds the build that `uses` means.
func (s *Service) resolve(ctx context.Context, project, uses string, scan *domain.Workflow) (domain.Build, error) {
	if dir, ok := folderOf(uses); ok {
		if scan == nil {
			return domain.Build{}, fmt.Errorf("%s names a folder of a repository: give id or id@version for a workflow that is not in one", uses)
		}
		if message, ok := scan.Broken[dir]; ok {
			return domain.Build{}, fmt.Errorf("the action in %s has errors: %s", dir, message)
		}
		digest, ok := scan.Builds[dir]
		if !ok {
			near := doc.Nearest(dir, slices.Sorted(keys(scan.Builds)))
			if near != "" {
				return domain.Build{}, fmt.Errorf("there is no action in %s: did you mean ./%s?", dir, near)
			}
			return domain.Build{}, fmt.Errorf("there is no action in %s: a folder with action.yaml is wanted there", dir)
		}
		b, err := s.Store.Build(ctx, project, digest)
		if fault.Is(err, fault.NotFound) {
			return domain.Build{}, errWait
		}
		return b, err
	}
	id, version, _ := strings.Cut(uses, "@")
	if strings.HasPrefix(version, "sha256:") {
		b, err := s.Store.Build(ctx, project, version)
		if fault.Is(err, fault.NotFound) {
			return domain.Build{}, fmt.Errorf("there is no build %s of %s", version, id)
		}
		return b, err
	}
	all, err := s.Store.Builds(ctx, project, id)
	if err != nil {
		return domain.Build{}, err
	}
	for _, b := range all { // newest first
		if version == "" || b.Version == version {
			return b, nil
		}
	}
	if scan != nil {
		// The action may be of the same scan and not built yet: nothing is wrong then.
		for dir, digest := range scan.Builds {
			if path.Base(dir) != id {
				continue
			}
			if _, err := s.Store.Build(ctx, project, digest); fault.Is(err, fault.NotFound) {
				return domain.Build{}, errWait
			}
		}
	}
	return domain.Build{}, s.unknown(ctx, project, id, version)
}

func (s *Service) unknown(ctx context.Context, project, id, version string) error {
	newest, err := s.Store.NewestBuilds(ctx, project)
	if err != nil {
		return err
	}
	var names []string
	for _, b := range newest {
		if b.Action == id {
			return fmt.Errorf("there is no version %s of %s in the library: the newest is %s", version, id, b.Version)
		}
		names = append(names, b.Action)
	}
	if near := doc.Nearest(id, names); near != "" {
		return fmt.Errorf("there is no action %q in the library: did you mean %s?", id, near)
	}
	return fmt.Errorf("there is no action %q in the library: add its repository, or name its folder as ./actions/%s", id, id)
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func problemsOf(list problem.List) []domain.Problem {
	out := []domain.Problem{}
	for _, p := range list {
		severity := "error"
		if p.Warning {
			severity = "warning"
		}
		out = append(out, domain.Problem{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Proposal: p.Remedy, Severity: severity})
	}
	return out
}

func (s *Service) save(ctx context.Context, c candidate) (domain.Revision, bool, error) {
	return s.Store.SaveRevision(ctx, c.revision, c.def.Encode)
}

// Check tells everything that is wrong with a workflow, without saving it.
func (s *Service) Check(ctx context.Context, project, yaml string) ([]domain.Problem, error) {
	_, problems, err := s.compile(ctx, project, "workflow.yaml", yaml, nil)
	return problems, err
}

// Save makes a revision of a workflow; the same content is the same revision.
func (s *Service) Save(ctx context.Context, project, name, yaml string) (domain.Revision, error) {
	var scan *domain.Workflow
	if w, err := s.Store.Workflow(ctx, project, name); err == nil && w.Source != "" {
		scan = &w
	} else if err != nil && !fault.Is(err, fault.NotFound) {
		return domain.Revision{}, err
	}
	c, problems, err := s.compile(ctx, project, "workflow.yaml", yaml, scan)
	if errors.Is(err, errWait) {
		return domain.Revision{}, fault.New(fault.Conflict, "an action that the workflow uses is being built: save again in a moment").WithCode(Building)
	}
	if err != nil {
		return domain.Revision{}, err
	}
	if c == nil {
		return domain.Revision{}, invalid(problems)
	}
	if c.revision.Workflow != name {
		return domain.Revision{}, fault.InvalidField("metadata.name", fmt.Sprintf("is %q and the address says %q", c.revision.Workflow, name), "make them equal")
	}
	err = s.Store.UpdateWorkflow(ctx, project, name, true, s.Now(), func(*domain.Workflow) error { return nil })
	if err != nil {
		return domain.Revision{}, err
	}
	r, made, err := s.save(ctx, *c)
	if err == nil && made {
		s.Publish(project, Event{Type: "revision_created", Workflow: name, Revision: r.Number})
	}
	return r, err
}

func invalid(problems []domain.Problem) error {
	var fields []fault.Field
	for _, p := range problems {
		if p.Severity == "error" {
			fields = append(fields, fault.Field{Path: p.Path, Message: p.Message, Remedy: p.Proposal, Line: p.Line, Column: p.Column})
		}
	}
	return fault.InvalidFields(fields...)
}

// Changed notes what the runner tells of a deployment.
func (s *Service) Changed(ctx context.Context, messageID string, d domain.Deployment) error {
	project, name, number, err := s.Store.DeploymentChanged(ctx, messageID, d)
	if fault.Is(err, fault.NotFound) {
		return nil // not one of ours
	}
	if err != nil {
		return err
	}
	s.Publish(project, Event{Type: "deployment_changed", Workflow: name, Revision: number, State: d.State, Reason: d.Reason})
	return nil
}
