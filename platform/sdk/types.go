package sdk

import (
	"github.com/pelton-run/pelton/platform/sdk/authorization"
	"github.com/pelton-run/pelton/platform/sdk/repository"
	"github.com/pelton-run/pelton/platform/sdk/runner"
	"github.com/pelton-run/pelton/platform/sdk/studio"
)

// The answers that clients read most, by short names. The packages hold every type of a service,
// made from its OpenAPI document by go generate.
type (
	Login   = authorization.Token   // the answer to a login
	Project = authorization.Project // a tenant
	Key     = authorization.Key     // an API key; Key itself is set only in the answer to its making

	Repository = repository.Repository // a Git repository or a watched folder
	Scan       = repository.Scan       // one look at a repository
	Found      = repository.Found      // an action or a workflow that a scan found
	Location   = repository.Location   // a problem with its place in a file
	Build      = repository.Build      // one build of an action

	Action             = studio.Action      // an entry of the library
	ActionBuild        = studio.ActionBuild // one build of an entry of the library
	Item               = studio.Item        // an input or output
	Workflow           = studio.Workflow    // a workflow with its newest revision
	WorkflowDeployment = studio.Deployment  // what is live of a workflow
	Share              = studio.Share       // a revision that takes some of a workflow's new runs
	Revision           = studio.Revision    // one saved state of a workflow
	CheckResult        = studio.CheckResult // what is wrong with a workflow

	Deployment = runner.Deployment // one revision made live, or on its way there or past it
	Trigger    = runner.RunTrigger // what started a run
	Run        = runner.Run        // one run; Steps only when it was read alone
	StepError  = runner.StepError  // why a step or a run failed
	StepRun    = runner.StepRun    // one passage through a step
	Attempt    = runner.Attempt    // one try of a step run
	Phase      = runner.Phase      // when something of an attempt happened
	LogRecord  = runner.LogRecord  // one line that a step wrote
	Named      = runner.Variable   // a variable, or a secret's name without a value
)

// List is a page of a list.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}
