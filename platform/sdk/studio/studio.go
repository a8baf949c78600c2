// Package studio holds the types of the studio's HTTP interface.
package studio

import "github.com/pelton-run/pelton/platform/sdk/repository"

// Location is the problem as the repository service tells of those in files.
func (p WorkflowProblem) Location() repository.Location {
	return repository.Location{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Message: p.Message, Remedy: p.Proposal, Warning: p.Severity == "warning"}
}
