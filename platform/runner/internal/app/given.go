package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// GivenQuery names one attempt of a step run.
type GivenQuery struct {
	Project  string
	Run      string
	Step     string
	ItemPath []int32
	Attempt  int32  // 0 = the newest
	Secrets  bool   // give secret inputs as they are, as of now
	By       string // who asks, for the log
}

// GivenInputs are what one attempt of a step run was started with.
type GivenInputs struct {
	Step           string
	ItemPath       []int32
	Attempt        int32
	Execution      string
	IdempotencyKey string
	Workflow       string // of a sub-workflow
	Build          *domain.Build
	Inputs         domain.Values
	Secret         []string // inputs that hold secrets, masked unless they were asked for
}

// Given tells what an attempt was started with. See UseCases.
func (s *Service) Given(ctx context.Context, q GivenQuery) (GivenInputs, error) {
	if err := s.isReady(); err != nil {
		return GivenInputs{}, err
	}
	sum, err := s.deps.Store.RunSummary(ctx, q.Project, q.Run)
	if err != nil {
		return GivenInputs{}, err
	}
	st, err := s.replay(ctx, sum)
	if err != nil {
		return GivenInputs{}, err
	}
	step := slices.IndexFunc(st.Plan.Nodes, func(p domain.PlanStep) bool { return p.Spec.ID == q.Step })
	if step < 0 {
		return GivenInputs{}, fault.New(fault.NotFound, "the workflow %s has no step %q", sum.Workflow, q.Step)
	}
	var secrets domain.SecretSource
	if q.Secrets {
		secrets = s.engine.secrets.of(q.Project)
	}
	g, err := s.givenTo(ctx, st, int32(step), q, secrets)
	if err != nil {
		return GivenInputs{}, err
	}
	if q.Secrets && len(g.Secret) > 0 {
		s.deps.Log.Info("secret inputs of an attempt were read", "by", q.By, "project", q.Project, "run", q.Run, "step", q.Step, "attempt", g.Attempt, "inputs", g.Secret)
	}
	return GivenInputs{Step: q.Step, ItemPath: g.Path, Attempt: g.Attempt, Execution: g.Execution, IdempotencyKey: g.IdempotencyKey,
		Workflow: g.Workflow, Build: g.Build, Inputs: g.Inputs, Secret: g.Secret}, nil
}

// givenTo loads what expressions over secrets read from the filestore. st is a copy of the run's
// state, which may change.
func (s *Service) givenTo(ctx context.Context, st *domain.State, step int32, q GivenQuery, secrets domain.SecretSource) (domain.Given, error) {
	for range 100 {
		g, found, err := st.GivenTo(step, q.ItemPath, q.Attempt, secrets)
		var need *domain.NeedRefsError
		switch {
		case !found:
			return g, notTried(st, q)
		case err == nil:
			return g, nil
		case !errors.As(err, &need):
			return g, fault.New(fault.Unprocessable, "the inputs cannot be made again: %s", err)
		}
		for _, ref := range need.Refs {
			v, serr := readBlob(ctx, s.engine.files, q.Project, ref)
			if _, err := st.Handle(domain.EventLoaded{Digest: ref.Digest, Value: v, Err: serr}, s.now(), 0); err != nil {
				return g, fault.Wrap(err, fault.Internal, "load a value")
			}
		}
	}
	return domain.Given{}, fault.New(fault.Unprocessable, "the inputs read too many values that lie in the filestore")
}

// notTried tells which attempts there are instead.
func notTried(st *domain.State, q GivenQuery) error {
	var items []string
	tries := 0
	st.StepRuns(func(v domain.StepRunView) {
		if st.Plan.Nodes[v.Step].Spec.ID != q.Step || len(v.Attempts) == 0 {
			return
		}
		if slices.Equal(v.Path, q.ItemPath) {
			tries = len(v.Attempts)
		}
		if len(items) < 5 {
			items = append(items, pathText(v.Path))
		}
	})
	switch {
	case tries > 0:
		return fault.New(fault.NotFound, "the step %s had %d attempts here, not %d", q.Step, tries, q.Attempt)
	case len(items) > 0:
		return fault.New(fault.NotFound, "the step %s was not tried for the item %q; it was for %q", q.Step, pathText(q.ItemPath), items)
	}
	return fault.New(fault.NotFound, "the step %s was not tried in this run", q.Step)
}

func pathText(path []int32) string {
	text := ""
	for i, p := range path {
		if i > 0 {
			text += "."
		}
		text += fmt.Sprint(p)
	}
	return text
}
