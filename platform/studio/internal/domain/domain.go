// Package domain holds the action library, workflows, revisions and deployments.
package domain

import "time"

// Build is one build of an action that was offered.
type Build struct {
	Project      string
	Build        string
	Action       string // id
	Version      string
	ActionJSON   string
	Artifact     string
	RepositoryID string
	Repository   string
	Commit       string
	Path         string
	OfferedAt    time.Time
}

// Problem is what is wrong with a workflow.
type Problem struct {
	File     string `json:"file,omitempty"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Path     string `json:"path,omitempty"`
	Message  string `json:"message"`
	Proposal string `json:"proposal,omitempty"`
	Severity string `json:"severity"` // error | warning
}

// Workflow is a named workflow; the fields from Source on are what the newest scan wants of it.
type Workflow struct {
	Project    string
	Name       string
	Source     string
	Path       string
	WantedYAML string
	Builds     map[string]string
	Broken     map[string]string
	AutoDeploy bool
	Problems   []Problem
	CreatedAt  time.Time
}

// Revision is one immutable state of a workflow with pinned builds.
type Revision struct {
	ID         string
	Project    string
	Workflow   string
	Number     int
	YAML       string
	Definition []byte // studio.v1.Definition
	Digest     []byte
	CreatedAt  time.Time
}

// Endpoint is an address that a deployment listens on.
type Endpoint struct {
	Trigger string `json:"trigger"`
	Method  string `json:"method"`
	Path    string `json:"path"`
}

// Deployment is a revision made live.
type Deployment struct {
	ID         string
	Project    string
	Workflow   string
	RevisionID string
	Number     int
	State      string // deploying | live | failed | stopped
	Reason     string
	Endpoints  []Endpoint
	CreatedAt  time.Time
	ChangedAt  time.Time
	Traffic    Traffic // who share its new runs, itself among them; empty = its revision takes all
}

// Split is how new runs are shared while the deployment is live.
func (d Deployment) Split() Traffic {
	if len(d.Traffic) > 0 {
		return d.Traffic
	}
	return Traffic{{Revision: d.Number, Weight: 100, Deployment: d.ID}}
}
