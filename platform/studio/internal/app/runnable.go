package app

import (
	"context"
	"errors"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// The states of a Runnable.
const (
	Ready    = "ready"
	Building = "building" // an action that it uses is being built
	Broken   = "broken"   // it has errors
)

// Runnable is the newest state of a workflow as the runner would get it: what the newest scan
// wants, else the newest revision.
type Runnable struct {
	State      string
	Path       string // its file in the source, empty without one
	YAML       string
	Builds     map[string]string // the scan's actions: folder -> build
	Problems   []domain.Problem
	Definition []byte // studio.v1.Definition, nil unless it is ready
}

// Runnable gives the newest state of a workflow without saving or deploying it.
func (s *Service) Runnable(ctx context.Context, project, name string) (Runnable, error) {
	w, err := s.Store.Workflow(ctx, project, name)
	if err != nil {
		return Runnable{}, err
	}
	if w.WantedYAML == "" {
		newest, err := s.Store.Revisions(ctx, project, name, 0, 1)
		if err != nil {
			return Runnable{}, err
		}
		if len(newest) == 0 {
			return Runnable{}, fault.New(fault.NotFound, "the workflow %q has no revision yet", name)
		}
		r, err := s.Store.Revision(ctx, project, name, newest[0].Number)
		return Runnable{State: Ready, YAML: r.YAML, Problems: []domain.Problem{}, Definition: r.Definition}, err
	}
	out := Runnable{State: Building, Path: w.Path, YAML: w.WantedYAML, Builds: w.Builds, Problems: []domain.Problem{}}
	c, problems, err := s.compile(ctx, project, w.Path, w.WantedYAML, &w)
	if errors.Is(err, errWait) {
		return out, nil
	}
	if err != nil {
		return Runnable{}, err
	}
	out.Problems = problems
	if c == nil {
		out.State = Broken
		return out, nil
	}
	out.State = Ready
	out.Definition, err = c.def.Encode(0)
	return out, err
}
