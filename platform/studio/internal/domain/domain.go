// Package domain holds the action library, workflows, revisions and deployments.
package domain

import (
	"path"
	"strings"
	"time"
)

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

// MayUse tells whether the workflow may have waited for a build: its text names the build's folder or the
// action. It may be wrong in saying so, never in denying it. A scan offers every action of a repository again, and
// compiling each of its workflows for each of them would take the square of their number.
func (w *Workflow) MayUse(b Build) bool {
	if strings.Contains(w.WantedYAML, "\\") { // a name may be written with escapes
		return true
	}
	for dir, digest := range w.Builds {
		// By its folder's name alone nobody finds it; that has to be told, too, once it is built.
		if digest == b.Build && (mentions(w.WantedYAML, "./"+dir) || mentions(w.WantedYAML, path.Base(dir))) {
			return true
		}
	}
	return mentions(w.WantedYAML, b.Action)
}

// mentions tells whether a word is in a text and is not a part of another one, nor of a path.
func mentions(text, word string) bool {
	for at := 0; word != ""; at++ {
		i := strings.Index(text[at:], word)
		if i < 0 {
			break
		}
		at += i
		end := at + len(word)
		if (at == 0 || !inName(text[at-1]) && text[at-1] != '/') && (end == len(text) || !inName(text[end])) {
			return true
		}
	}
	return false
}

func inName(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
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
