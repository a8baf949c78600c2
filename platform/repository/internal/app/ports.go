// Package app holds the repository service's use cases and the ports they need.
package app

import (
	"context"
	"io/fs"
	"time"

	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// Checkout is a repository's tree at one commit. Close frees it.
type Checkout struct {
	FS     fs.FS
	Commit string // "" for a watched folder
	Close  func()
}

// Source gives the tree of a repository, within limits of size, depth and time.
type Source interface {
	Checkout(ctx context.Context, r domain.Repository) (Checkout, error)
}

// Watcher tells of changes below a folder until ctx ends; one call stands for all changes of a
// moment. It calls changed once as soon as it watches, so that nothing is missed between a first
// look and the watching.
type Watcher interface {
	Watch(ctx context.Context, dir string, changed func()) error
}

// Files keeps source snapshots. Put is durable when it returns.
type Files interface {
	PutTree(ctx context.Context, project string, fsys fs.FS, dir string) (digest string, size int64, err error)
}

// Order is a build to be ordered with its source.
type Order struct {
	Build        domain.Build
	SourceDigest string
	SourceSize   int64
	Dev          bool
	Force        bool // although the bundle is there
}

// Found is a workflow that a scan read.
type Found struct {
	Path, YAML     string
	Builds, Broken map[string]string
}

// Outcome is everything that a scan changes, in one transaction.
type Outcome struct {
	Repository domain.Repository
	Scan       domain.Scan
	Orders     []Order        // new ones
	Offers     []domain.Build // succeeded before, offered again for this place
	Workflows  []Found
	KeepScans  int // of the repository, this one included
}

// Store keeps everything and, in the same transactions, hands messages to the outbox.
type Store interface {
	AddRepository(ctx context.Context, r domain.Repository) error
	Repositories(ctx context.Context, project string) ([]domain.Repository, error) // project "" = all
	Repository(ctx context.Context, project, id string) (domain.Repository, error)
	RemoveRepository(ctx context.Context, project, id string) error

	SaveScan(ctx context.Context, o Outcome) error
	Scans(ctx context.Context, project, repository string, limit int, before string) ([]domain.Scan, error)
	Scan(ctx context.Context, project, id string) (domain.Scan, error)

	// PruneScans forgets all but the newest scans of every repository.
	PruneScans(ctx context.Context, keep int) error

	OrderBuild(ctx context.Context, o Order) error
	// CollectBuilds forgets up to limit builds that failed or were cancelled before a time, with their
	// logs, unless they are the newest of their place, and has the builder drop the digests that no
	// build is left to name. It returns how many are forgotten.
	CollectBuilds(ctx context.Context, before time.Time, limit int) (int, error)

	// LatestBuilds are the newest orders of the given digests.
	LatestBuilds(ctx context.Context, project string, digests []string) (map[string]domain.Build, error)
	Builds(ctx context.Context, project, state, action string, limit int, before string) ([]domain.Build, error)
	Build(ctx context.Context, project, id string) (domain.Build, error)
	// UpdateBuild changes one order through f, in the transaction that notes the message as seen;
	// a message that was seen before changes nothing. f tells whether to offer the action.
	UpdateBuild(ctx context.Context, messageID, orderID string, f func(b *domain.Build) (offer bool, err error)) (domain.Build, error)
	CancelBuild(ctx context.Context, project, id string, now time.Time) (domain.Build, error)
	AppendLog(ctx context.Context, messageID, orderID string, seq uint64, lines []string) error
	Log(ctx context.Context, orderID string, after int64) (lines []string, next int64, err error)
}

// Event is something that live views show.
type Event struct {
	Type       string            `json:"type"`
	Repository string            `json:"repository,omitempty"`
	Scan       string            `json:"scan,omitempty"`
	Build      string            `json:"build,omitempty"`
	Order      string            `json:"order,omitempty"`
	Path       string            `json:"path,omitempty"`
	Action     string            `json:"action,omitempty"`
	Message    string            `json:"message,omitempty"`
	Cached     bool              `json:"cached,omitempty"`
	PhasesMS   map[string]int64  `json:"phases_ms,omitempty"`
	Notes      []string          `json:"notes,omitempty"`
	Errors     []domain.Location `json:"errors,omitempty"`
	Lines      []string          `json:"lines,omitempty"`
}

// Events hands events to live views.
type Events interface {
	Publish(project string, e Event)
}
