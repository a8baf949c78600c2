package app

import (
	"context"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// What the engine shares with tests of workflows (package simulation), so that both see the same.

// Detail makes what people see of a run of its state.
func Detail(sum RunSummary, st *domain.State) RunDetail { return detail(sum, st, nil) }

// ReadBlob reads a value that lies in the filestore, of at most domain.MaxLoaded bytes.
func ReadBlob(ctx context.Context, files Files, project string, ref domain.BlobRef) (domain.Value, *domain.StepError) {
	return readBlob(ctx, files, project, ref)
}

// DomainOutcome is what an outcome is to the state machine.
func DomainOutcome(o Outcome) domain.Outcome { return domainOutcome(o) }
