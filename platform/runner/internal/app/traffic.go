package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Share is a revision that takes some of the new runs of a deployment which listens for it.
type Share struct {
	Deployment string // UUIDv7 that its runs name
	Weight     int    // how many of 100
	Definition domain.Definition
}

// Listens is the deployment under whose id is kept what the triggers have taken: cursors of sources, keys of
// events. A deployment that another of the same revision takes over from passes it on.
func (d *Deployment) Listens() string {
	if d.Listener != "" {
		return d.Listener
	}
	return d.ID
}

// checkShares tells whether a deployment's weights make sense.
func (d *DeployWorkflow) checkShares() error {
	if len(d.Shares) == 0 {
		if d.Weight != 0 && d.Weight != 100 {
			return fault.InvalidField("weight", fmt.Sprintf("is %d and no other revision takes the rest", d.Weight), "give 100, or who takes the rest")
		}
		return nil
	}
	sum := d.Weight
	for i, sh := range d.Shares {
		if sh.Weight < 1 || sh.Weight > 99 {
			return fault.InvalidField(fmt.Sprintf("shares[%d].weight", i), fmt.Sprintf("is %d", sh.Weight), "give a whole number from 1 to 99")
		}
		if sh.Definition.Workflow != d.Definition.Workflow {
			return fault.InvalidField(fmt.Sprintf("shares[%d].definition", i), fmt.Sprintf("is of the workflow %s and not of %s", sh.Definition.Workflow, d.Definition.Workflow), "give a revision of the same workflow")
		}
		sum += sh.Weight
	}
	if d.Weight < 1 || sum != 100 {
		return fault.InvalidField("weight", fmt.Sprintf("leads to a sum of %d", sum), "give whole numbers that sum to 100")
	}
	return nil
}

// names tells whether runs of a deployment or of those that share with it have this id.
func (d *Deployment) names(id string) bool {
	return d.ID == id || slices.ContainsFunc(d.Shares, func(sh Share) bool { return sh.Deployment == id })
}

// Parts are the revisions that share a deployment's new runs, its own among them, the lowest number first.
func (d *Deployment) Parts() []Share {
	own := Share{Deployment: d.ID, Weight: d.Weight, Definition: d.Definition}
	if len(d.Shares) == 0 {
		own.Weight = 100
	}
	parts := append([]Share{own}, d.Shares...)
	slices.SortStableFunc(parts, func(a, b Share) int { return cmp.Compare(a.Definition.Revision, b.Definition.Revision) })
	return parts
}

// liveHome is the live deployment that has this id, or with which the one of this id shares.
func (s *Service) liveHome(id string) (d Deployment, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.live, func(d Deployment) bool { return d.names(id) })
	if i < 0 {
		return Deployment{}, false
	}
	return s.live[i], true
}

// listener is what a deployment listens as.
func (s *Service) listener(ctx context.Context, id string) (string, error) {
	d, ok := s.liveHome(id)
	if !ok {
		var err error
		if d, err = s.deps.Store.Deployment(ctx, id); err != nil {
			return "", err
		}
	}
	return d.Listens(), nil
}

// choose says which deployment a new run belongs to: home itself, or one that shares with it. The choice depends on
// the run's key alone: the idempotency key, the event's, else that of its concurrency, else its own id. Where
// the chosen revision does not take what the run is started with, it stays at home.
func (s *Service) choose(ctx context.Context, o *StartRun, home, runID string) (string, error) {
	if o.exact {
		return home, nil
	}
	s.mu.Lock()
	d, ok := s.shared[home]
	s.mu.Unlock()
	if !ok {
		return home, nil
	}
	parts := d.Parts()
	if i := slices.IndexFunc(parts, func(p Share) bool { return o.beside != "" && p.Definition.RevisionID == o.beside }); i >= 0 {
		return parts[i].Deployment, nil
	}
	plan, err := s.plan(ctx, home)
	if err != nil {
		return "", err
	}
	key := cmp.Or(o.IdempotencyKey, o.EventKey)
	if key == "" {
		vars := s.engine.secrets.variables(o.Project)
		if inputs, err := s.startInputs(*o, plan, vars); err == nil {
			keys, own, _ := keysOf(plan, inputs, vars, o.event())
			key = cmp.Or(own, keys.slot, runID)
		}
	}
	weights := make([]int, len(parts))
	for i, p := range parts {
		weights[i] = p.Weight
	}
	part := parts[domain.PartOf(o.Project+"/"+plan.Workflow+"/"+cmp.Or(key, runID), weights)]
	if part.Deployment == home {
		return home, nil
	}
	if fits, err := s.fits(ctx, o, plan, part.Deployment); err != nil || !fits {
		return home, err
	}
	return part.Deployment, nil
}

// fits tells whether another revision takes what a run is started with: it has the trigger, and the inputs suit it.
func (s *Service) fits(ctx context.Context, o *StartRun, home *domain.Plan, dep string) (bool, error) {
	plan, err := s.plan(ctx, dep)
	if err != nil {
		return false, err
	}
	if t, ok := trigger(home, o.Trigger); ok {
		other, there := trigger(plan, o.Trigger)
		if !there || t.Uses != other.Uses && (t.Build == "" || other.Build == "") {
			return false, nil
		}
	}
	_, err = s.startInputs(*o, plan, s.engine.secrets.variables(o.Project))
	return err == nil, nil
}

// trigger is the trigger of a plan that started a run; what the engine itself starts runs by is none.
func trigger(p *domain.Plan, t Trigger) (domain.TriggerSpec, bool) {
	if t.ID == "" || t.Kind == triggerWorkflow || t.Kind == triggerFailure {
		return domain.TriggerSpec{}, false
	}
	i := slices.IndexFunc(p.Triggers, func(x domain.TriggerSpec) bool { return x.ID == t.ID })
	if i < 0 {
		return domain.TriggerSpec{}, false
	}
	return p.Triggers[i], true
}

// newest is the deployment of the highest revision among those that share with home.
func (s *Service) newest(home string) string {
	d, ok := s.liveHome(home)
	if !ok {
		return home
	}
	parts := d.Parts()
	return parts[len(parts)-1].Deployment
}

// digestOf tells apart what runs are ordered with.
func digestOf(inputs domain.Values) []byte {
	b, _ := json.Marshal(inputs) // keys are sorted
	h := sha256.Sum256(b)
	return h[:]
}

// sameOrder tells whether an order is that of an earlier run after all: its revision may make other inputs of it
// than the one that takes new runs by now.
func (s *Service) sameOrder(ctx context.Context, o StartRun, sum RunSummary, body []byte) bool {
	plan, err := s.plan(ctx, sum.Deployment)
	if err != nil {
		return false
	}
	inputs, err := s.startInputs(o, plan, s.engine.secrets.variables(o.Project))
	return err == nil && string(digestOf(inputs)) == string(body)
}
