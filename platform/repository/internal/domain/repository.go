// Package domain holds repositories, scans and builds.
package domain

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Repository is a Git repository, or a folder of this machine, that is scanned.
type Repository struct {
	ID         string
	Project    string
	Name       string
	URL        string // of a Git repository, else empty
	Branch     string // "" = the default
	Path       string // of a folder, else empty
	Watch      bool   // scan the folder on every change
	AutoDeploy bool   // deploy what scans find
	CreatedAt  time.Time
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

// NewRepository checks what somebody wants to add.
func NewRepository(r Repository) (Repository, error) {
	var bad []fault.Field
	switch {
	case r.URL == "" && r.Path == "":
		bad = append(bad, fault.Field{Path: "url", Message: "is missing", Remedy: "give url (https://… or file:///…) or path (a folder of the server)"})
	case r.URL != "" && r.Path != "":
		bad = append(bad, fault.Field{Path: "path", Message: "is given beside url", Remedy: "give one of them"})
	case r.URL != "" && !strings.HasPrefix(r.URL, "https://") && !strings.HasPrefix(r.URL, "http://") && !strings.HasPrefix(r.URL, "file:///"):
		bad = append(bad, fault.Field{Path: "url", Message: "is " + r.URL, Remedy: "give https://…, http://… or file:///…"})
	case r.Path != "" && !path.IsAbs(r.Path):
		bad = append(bad, fault.Field{Path: "path", Message: "is not absolute", Remedy: "give the whole path, starting with /"})
	}
	if r.Watch && r.Path == "" {
		bad = append(bad, fault.Field{Path: "watch", Message: "is for folders", Remedy: "give path, or leave out watch"})
	}
	if r.Branch != "" && r.URL == "" {
		bad = append(bad, fault.Field{Path: "branch", Message: "is for Git repositories", Remedy: "give url, or leave out branch"})
	}
	if r.Name == "" {
		r.Name = strings.TrimSuffix(path.Base(r.URL+r.Path), ".git")
	}
	if !namePattern.MatchString(r.Name) {
		bad = append(bad, fault.Field{Path: "name", Message: "is " + r.Name, Remedy: "give 1 to 63 letters, digits, . _ and -"})
	}
	if len(bad) > 0 {
		return Repository{}, fault.InvalidFields(bad...)
	}
	return r, nil
}

// Location is a place in a file with what is wrong there.
type Location struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	Warning bool   `json:"warning,omitempty"`
}

// Entry is one action or workflow that a scan found.
type Entry struct {
	Path    string     `json:"path"`
	ID      string     `json:"id"`
	Version string     `json:"version,omitempty"`
	Build   string     `json:"build,omitempty"`
	State   string     `json:"state"` // ok | error
	Errors  []Location `json:"errors,omitempty"`
}

// Scan is one reading of a repository.
type Scan struct {
	ID           string
	Project      string
	RepositoryID string
	Commit       string
	State        string // finished | failed
	Error        string
	Actions      []Entry
	Workflows    []Entry
	StartedAt    time.Time
	FinishedAt   time.Time
}

// The states of a build.
const (
	Queued    = "queued"
	Building  = "building"
	Succeeded = "succeeded"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// Build is one order to the builder.
type Build struct {
	ID           string // of the order
	Project      string
	Build        string // digest
	RepositoryID string
	Repository   string
	Commit       string
	Path         string
	Action       string // id@version
	ActionJSON   string
	State        string
	Kind         string // of a failure
	Message      string
	Host         string
	Setting      string
	File         string
	Line         int
	Artifact     string
	PhasesMS     map[string]int64
	Notes        []string
	CreatedAt    time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
}

// String is file:line: message (remedy).
func (l Location) String() string {
	s := l.File
	if l.Line > 0 {
		s += ":" + strconv.Itoa(l.Line)
	}
	s += ": " + l.Message
	if l.Remedy != "" {
		s += " (" + l.Remedy + ")"
	}
	return s
}
