package domain

import "slices"

// Given is what one attempt of a step run was, or would be, started with.
type Given struct {
	Dispatch
	Secret []string // inputs that hold secrets
}

// GivenTo tells what an attempt of a step run was started with; attempt 0 is the newest. With
// secrets nil the inputs that hold secrets are masked, else they are evaluated anew. found is false
// if there was no such attempt. The error is *StepError, or *NeedRefsError if values must be loaded
// first.
func (s *State) GivenTo(step int32, path []int32, attempt int32, secrets SecretSource) (g Given, found bool, err error) {
	n := s.find(step, path)
	if n == nil || len(n.history) == 0 {
		return g, false, nil
	}
	if attempt == 0 {
		attempt = n.history[len(n.history)-1].Number
	}
	if !slices.ContainsFunc(n.history, func(a AttemptView) bool { return a.Number == attempt }) {
		return g, false, nil
	}
	p := &s.Plan.Nodes[step]
	for i := range p.With {
		if p.With[i].Tainted {
			g.Secret = append(g.Secret, p.With[i].Name)
		}
	}
	if secrets == nil {
		g.Dispatch = Dispatch{Execution: ExecutionID(s.ID, p.Spec.ID, n.path, attempt), IdempotencyKey: IdempotencyKey(s.ID, p.Spec.ID, n.path),
			Step: p.Spec.ID, StepIndex: step, Path: n.path, Attempt: attempt, Build: p.Build, Workflow: p.Spec.Workflow, Inputs: s.shownInputs(n)}
		return g, true, nil
	}
	g.Dispatch, err = s.Dispatch(Command{Kind: CommandAttach, Attempt: attempt, node: n}, secrets)
	return g, true, err
}
