package app

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// RunAgain orders a new run with the inputs of an earlier one.
type RunAgain struct {
	Project string
	Run     string
	Inputs  domain.Values // win over the earlier ones
	Same    bool          // follow the revision of the earlier run instead of the live one
	Key     string        // idempotency key
}

// Again starts a new run with the inputs of an earlier one. See UseCases.
func (s *Service) Again(ctx context.Context, o RunAgain) (StartedRun, error) {
	if err := s.isReady(); err != nil {
		return StartedRun{}, err
	}
	sum, err := s.deps.Store.RunSummary(ctx, o.Project, o.Run)
	if err != nil {
		return StartedRun{}, err
	}
	st, err := s.replay(ctx, sum)
	if err != nil {
		return StartedRun{}, err
	}
	in, err := s.openInputs(o.Project, st)
	if err != nil {
		return StartedRun{}, err
	}
	for k, v := range o.Inputs {
		in[k] = v
	}
	start := StartRun{Project: o.Project, Workflow: sum.Workflow, Inputs: in, Trigger: Trigger{Kind: "manual"}, IdempotencyKey: o.Key, retryOf: sum.ID}
	if o.Same {
		start.Workflow, start.DeploymentID, start.exact = "", sum.Deployment, true
	} else if err := s.dropUnknown(ctx, start, o.Inputs); err != nil {
		return StartedRun{}, err
	}
	return s.StartRun(ctx, start)
}

// openInputs are a run's inputs with passwords opened: they are sealed again for the new run.
func (s *Service) openInputs(project string, st *domain.State) (domain.Values, error) {
	in := domain.Values{}
	for k, v := range st.Inputs {
		open, err := s.engine.secrets.of(project).Unseal(v)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "open the input %s", k)
		}
		in[k] = open
	}
	return in, nil
}

// dropUnknown leaves out earlier inputs that the live revision does not have any more, but not
// what was given now.
func (s *Service) dropUnknown(ctx context.Context, o StartRun, given domain.Values) error {
	dep, err := s.deploymentFor(ctx, o)
	if err != nil {
		return err
	}
	plan, err := s.plan(ctx, dep)
	if err != nil {
		return err
	}
	for k := range o.Inputs {
		_, now := given[k]
		if !now && !slices.ContainsFunc(plan.Inputs, func(it domain.Item) bool { return it.Name == k }) {
			delete(o.Inputs, k)
		}
	}
	return nil
}

// maxTag is the size up to which an input can be searched for.
const maxTag = 200

// tagsOf are the small plain inputs of a run, as name=value, for the search of the history.
// Passwords are never among them.
func tagsOf(p *domain.Plan, inputs domain.Values) []string {
	var tags []string
	for i := range p.Inputs {
		it := &p.Inputs[i]
		v := inputs[it.Name]
		if it.Type == "password" || len(v) == 0 || len(v) > maxTag || v[0] == '{' || v[0] == '[' || string(v) == "null" {
			continue
		}
		tags = append(tags, Tag(it.Name, v))
	}
	return tags
}

// Tag is how an input is searched for.
func Tag(name string, v domain.Value) string {
	var text string
	if json.Unmarshal(v, &text) != nil {
		text = string(v)
	}
	return name + "=" + text
}

// FailureGroup is a group of failed runs of one cause.
type FailureGroup struct {
	Fingerprint string
	Workflow    string
	Step        string
	Kind        string
	Message     string // of the newest
	Count       int
	First, Last time.Time
	Newest      string // the newest run
}

// Failures groups the failed runs of a project since a time, the newest first. See UseCases.
func (s *Service) Failures(ctx context.Context, project, workflow string, since time.Time, limit int) ([]FailureGroup, error) {
	if limit <= 0 || limit > 200 {
		limit = 50
	}
	return s.deps.Store.Failures(ctx, project, workflow, since, limit)
}

// CostRow is what the runs of a workflow have used in a time.
type CostRow struct {
	Workflow   string
	Day        time.Time // zero without days
	Runs       int
	CPUSeconds float64
	GiBSeconds float64
}

// Cost sums what ended runs of a project have used. See UseCases.
func (s *Service) Cost(ctx context.Context, project, workflow string, since, until time.Time, byDay bool) ([]CostRow, error) {
	return s.deps.Store.Cost(ctx, project, workflow, since, until, byDay)
}
