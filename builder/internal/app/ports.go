// Package app holds what every backend of the builder has in common: the order, what comes of it,
// and the port.
package app

import (
	"context"
	"errors"
	"time"

	"github.com/pelton-run/pelton/functions/formats/action"
)

// ErrCancelled is the cause of a build's context that a person ended. A context that ends for any
// other reason means that this process stops: what runs elsewhere goes on, and is found again when
// the order is delivered again.
var ErrCancelled = errors.New("the build was cancelled")

// Order asks for one action's artifact.
type Order struct {
	ID         string // of the order; the same when it is delivered again
	Project    string
	Build      string // digest of metadata, code and lock: "sha256:<hex>"
	Action     action.Action
	Source     string // digest of the action's folder as a tar, in the filestore of the project
	Path       string // the folder inside its repository, for messages
	Repository string // its name, for messages
	Commit     string // that it was first ordered from, "" for a watched folder
	Force      bool   // build although the artifact is there, and install its dependencies anew
	Log        func(line string)
}

// Result of a build.
type Result struct {
	Artifact string // where it is: file://DIR, or image://REGISTRY/REPOSITORY@sha256:<hex>
	Cached   bool   // it was there
	Phases   map[string]time.Duration
	Notes    []string
}

// Backend builds. Both methods may be called at any time from many goroutines; those that concern
// the same build wait for each other.
type Backend interface {
	// Build makes the artifact, or finds it made; it is complete and durable on return. What an author
	// can mend comes back as *Error. The caller's context ends it: see ErrCancelled.
	Build(ctx context.Context, o Order) (Result, error)
	// Drop removes an artifact that was made, and found, before a time, and the dependencies that no
	// other artifact of the project uses. It reports whether the artifact is gone.
	Drop(ctx context.Context, project, build string, before time.Time) (bool, error)
	// Abandon ends whatever an order that was cancelled before it was delivered again left running.
	Abandon(ctx context.Context, order string) error
}

// Error is a build that failed, in words.
type Error struct {
	Kind    string // dependency | compile | network | timeout | cancelled | limit | runtime_missing | internal
	Message string
	Host    string // network
	Setting string // network
	File    string
	Line    int
}

func (e *Error) Error() string { return e.Message }

// TimedOut and Cancelled are the two ends that no backend needs words of its own for.
func TimedOut() *Error {
	return &Error{Kind: "timeout", Message: "the build took longer than its limit: install less, or raise builder.timeout"}
}

// Cancelled is a build that a person ended.
func Cancelled() *Error { return &Error{Kind: "cancelled", Message: "the build was cancelled"} }
