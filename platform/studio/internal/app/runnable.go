package app

import (
	"context"
	"errors"

	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// The states of a Runnable.
const (
	Ready    = "ready"
	Building = "building" // an action that it uses is being built
	Broken   = "broken"   // it has errors
)

// Runnable is a workflow as the runner would get it.
type Runnable struct {
	State      string
	Problems   []domain.Problem
	Definition []byte // studio.v1.Definition, nil unless it is ready
}

// Compile makes of a workflow's text what the runner would get, without saving or deploying it.
// builds says what ./folders mean, as a scan found them: folder -> build.
func (s *Service) Compile(ctx context.Context, project, file, yaml string, builds map[string]string) (Runnable, error) {
	c, problems, err := s.compile(ctx, project, file, yaml, &domain.Workflow{Project: project, Path: file, Builds: builds})
	if errors.Is(err, errWait) {
		return Runnable{State: Building, Problems: []domain.Problem{}}, nil
	}
	if err != nil {
		return Runnable{}, err
	}
	out := Runnable{State: Broken, Problems: problems}
	if c == nil {
		return out, nil
	}
	out.State = Ready
	out.Definition, err = c.def.Encode(0)
	return out, err
}
