// Package postgres keeps repositories, scans and builds in PostgreSQL.
package postgres

import (
	"context"
	"embed"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	repositoryv1 "github.com/pelton-run/pelton/platform/repository/contracts/repository/v1"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
)

// Migrations of the database.
//
//go:embed migrations/*.sql
var Migrations embed.FS

//go:embed sql/*.sql
var files embed.FS

// Statements are the SQL texts, for the test that prepares them.
func Statements() pg.Statements { return pg.Load(files, "sql") }

const exchange = "repository.v1"

// Store implements app.Store.
type Store struct {
	pool   *pg.Pool
	sql    pg.Statements
	notify func()
	now    func() time.Time
}

// New makes a Store; notify is called after a commit that wrote messages.
func New(pool *pg.Pool, notify func(), now func() time.Time) *Store {
	return &Store{pool, Statements(), notify, now}
}

var _ app.Store = (*Store)(nil)

type repositoryRow struct {
	ID         string    `db:"id"`
	Project    string    `db:"project"`
	Name       string    `db:"name"`
	URL        string    `db:"url"`
	Branch     string    `db:"branch"`
	Path       string    `db:"path"`
	Watch      bool      `db:"watch"`
	AutoDeploy bool      `db:"auto_deploy"`
	CreatedAt  time.Time `db:"created_at"`
}

// AddRepository implements app.Store.
func (s *Store) AddRepository(ctx context.Context, r domain.Repository) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("repository_add"), r.ID, r.Project, r.Name, r.URL, r.Branch, r.Path, r.Watch, r.AutoDeploy, r.CreatedAt)
	if fault.Is(pg.Translate(err, "repository"), fault.Conflict) {
		return fault.New(fault.Conflict, "there is a repository %q in this project already: give another name", r.Name)
	}
	return pg.Translate(err, "repository")
}

// Repositories implements app.Store.
func (s *Store) Repositories(ctx context.Context, project string) ([]domain.Repository, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("repository_list"), project)
	if err != nil {
		return nil, pg.Translate(err, "repositories")
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[repositoryRow])
	out := make([]domain.Repository, 0, len(found))
	for _, r := range found {
		out = append(out, domain.Repository(r))
	}
	return out, pg.Translate(err, "repositories")
}

// Repository implements app.Store.
func (s *Store) Repository(ctx context.Context, project, id string) (domain.Repository, error) {
	r, err := one[repositoryRow](ctx, s, "repository_get", project, id)
	return domain.Repository(r), pg.Translate(err, "repository")
}

func one[T any](ctx context.Context, s *Store, name string, args ...any) (T, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get(name), args...)
	if err != nil {
		var zero T
		return zero, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
}

// RemoveRepository implements app.Store.
func (s *Store) RemoveRepository(ctx context.Context, project, id string) error {
	tag, err := s.pool.Exec(ctx, s.sql.Get("repository_delete"), project, id)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "there is no such repository")
	}
	return pg.Translate(err, "repository")
}

// SaveScan implements app.Store.
func (s *Store) SaveScan(ctx context.Context, o app.Outcome) error {
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		actions, err := json.Marshal(o.Scan.Actions)
		if err != nil {
			return err
		}
		workflows, err := json.Marshal(o.Scan.Workflows)
		if err != nil {
			return err
		}
		sc := o.Scan
		if _, err := tx.Exec(ctx, s.sql.Get("scan_add"), sc.ID, sc.Project, sc.RepositoryID, sc.Commit, sc.State, sc.Error, actions, workflows, sc.StartedAt, sc.FinishedAt); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, s.sql.Get("scan_prune"), sc.RepositoryID, o.KeepScans); err != nil {
			return err
		}
		for _, order := range o.Orders {
			if err := s.order(ctx, tx, order); err != nil {
				return err
			}
		}
		for _, b := range o.Offers {
			if err := s.offer(ctx, tx, b); err != nil {
				return err
			}
		}
		for _, w := range o.Workflows {
			m, err := outbox.NewMessage(exchange, &repositoryv1.WorkflowFound{
				Project: sc.Project, RepositoryId: sc.RepositoryID, Repository: o.Repository.Name, ScanId: sc.ID, Commit: sc.Commit, Path: w.Path,
				Yaml: w.YAML, Builds: w.Builds, Broken: w.Broken, AutoDeploy: o.Repository.AutoDeploy, AtUnixMs: s.now().UnixMilli(),
			}, s.now())
			if err != nil {
				return err
			}
			if err := outbox.Append(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	})
	s.notify()
	return pg.Translate(err, "scan")
}

func (s *Store) order(ctx context.Context, tx pgx.Tx, o app.Order) error {
	b := o.Build
	if _, err := tx.Exec(ctx, s.sql.Get("build_add"), b.ID, b.Project, b.Build, b.RepositoryID, b.Repository, b.Commit, b.Path, b.Action, b.ActionJSON, b.State, b.CreatedAt); err != nil {
		return err
	}
	m, err := outbox.NewMessage(exchange, &repositoryv1.BuildOrdered{
		OrderId: b.ID, Project: b.Project, Build: b.Build, ActionJson: b.ActionJSON, SourceDigest: o.SourceDigest, SourceSize: o.SourceSize,
		Path: b.Path, Repository: b.Repository, Dev: o.Dev, Force: o.Force, Commit: b.Commit,
	}, s.now())
	if err != nil {
		return err
	}
	return outbox.Append(ctx, tx, m)
}

func (s *Store) offer(ctx context.Context, tx pgx.Tx, b domain.Build) error {
	m, err := outbox.NewMessage(exchange, &repositoryv1.ActionOffered{
		Project: b.Project, Build: b.Build, ActionJson: b.ActionJSON, Artifact: b.Artifact, RepositoryId: b.RepositoryID, Repository: b.Repository,
		Commit: b.Commit, Path: b.Path, AtUnixMs: s.now().UnixMilli(),
	}, s.now())
	if err != nil {
		return err
	}
	return outbox.Append(ctx, tx, m)
}

type scanRow struct {
	ID           string    `db:"id"`
	Project      string    `db:"project"`
	RepositoryID string    `db:"repository_id"`
	Commit       string    `db:"commit"`
	State        string    `db:"state"`
	Error        string    `db:"error"`
	Actions      []byte    `db:"actions"`
	Workflows    []byte    `db:"workflows"`
	StartedAt    time.Time `db:"started_at"`
	FinishedAt   time.Time `db:"finished_at"`
}

func (r scanRow) domain() (domain.Scan, error) {
	s := domain.Scan{ID: r.ID, Project: r.Project, RepositoryID: r.RepositoryID, Commit: r.Commit, State: r.State, Error: r.Error, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt}
	if err := json.Unmarshal(r.Actions, &s.Actions); err != nil {
		return s, err
	}
	return s, json.Unmarshal(r.Workflows, &s.Workflows)
}

// Scans implements app.Store.
func (s *Store) Scans(ctx context.Context, project, repository string, limit int, before string) ([]domain.Scan, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("scan_list"), project, repository, before, limit)
	if err != nil {
		return nil, pg.Translate(err, "scans")
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[scanRow])
	if err != nil {
		return nil, pg.Translate(err, "scans")
	}
	out := make([]domain.Scan, 0, len(found))
	for _, r := range found {
		d, err := r.domain()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// Scan implements app.Store.
func (s *Store) Scan(ctx context.Context, project, id string) (domain.Scan, error) {
	r, err := one[scanRow](ctx, s, "scan_get", project, id)
	if err != nil {
		return domain.Scan{}, pg.Translate(err, "scan")
	}
	return r.domain()
}

type buildRow struct {
	ID           string           `db:"id"`
	Project      string           `db:"project"`
	Build        string           `db:"build"`
	RepositoryID string           `db:"repository_id"`
	Repository   string           `db:"repository"`
	Commit       string           `db:"commit"`
	Path         string           `db:"path"`
	Action       string           `db:"action"`
	ActionJSON   string           `db:"action_json"`
	State        string           `db:"state"`
	Kind         string           `db:"kind"`
	Message      string           `db:"message"`
	Host         string           `db:"host"`
	Setting      string           `db:"setting"`
	File         string           `db:"file"`
	Line         int              `db:"line"`
	Artifact     string           `db:"artifact"`
	PhasesMS     map[string]int64 `db:"phases_ms"`
	Notes        []string         `db:"notes"`
	CreatedAt    time.Time        `db:"created_at"`
	StartedAt    time.Time        `db:"started_at"`
	FinishedAt   time.Time        `db:"finished_at"`
}

// LatestBuilds implements app.Store.
func (s *Store) LatestBuilds(ctx context.Context, project string, digests []string) (map[string]domain.Build, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("build_latest"), project, digests)
	if err != nil {
		return nil, pg.Translate(err, "builds")
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[buildRow])
	out := map[string]domain.Build{}
	for _, r := range found {
		out[r.Build] = domain.Build(r)
	}
	return out, pg.Translate(err, "builds")
}

// Builds implements app.Store.
func (s *Store) Builds(ctx context.Context, project, state, action string, limit int, before string) ([]domain.Build, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("build_list"), project, state, action, before, limit)
	if err != nil {
		return nil, pg.Translate(err, "builds")
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[buildRow])
	out := make([]domain.Build, 0, len(found))
	for _, r := range found {
		out = append(out, domain.Build(r))
	}
	return out, pg.Translate(err, "builds")
}

// Build implements app.Store.
func (s *Store) Build(ctx context.Context, project, id string) (domain.Build, error) {
	r, err := one[buildRow](ctx, s, "build_get", project, id)
	return domain.Build(r), pg.Translate(err, "build")
}

// UpdateBuild implements app.Store.
func (s *Store) UpdateBuild(ctx context.Context, messageID, orderID string, f func(b *domain.Build) (bool, error)) (domain.Build, error) {
	var b domain.Build
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.sql.Get("build_lock"), orderID)
		if err != nil {
			return err
		}
		r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[buildRow])
		if err != nil {
			return err
		}
		b = domain.Build(r)
		if messageID != "" {
			first, err := outbox.First(ctx, tx, "repository", messageID)
			if err != nil || !first {
				return err
			}
		}
		offer, err := f(&b)
		if err != nil {
			return err
		}
		if err := s.write(ctx, tx, b); err != nil {
			return err
		}
		if offer {
			return s.offer(ctx, tx, b)
		}
		return nil
	})
	s.notify()
	return b, pg.Translate(err, "build")
}

func (s *Store) write(ctx context.Context, tx pgx.Tx, b domain.Build) error {
	if b.PhasesMS == nil {
		b.PhasesMS = map[string]int64{}
	}
	if b.Notes == nil {
		b.Notes = []string{}
	}
	_, err := tx.Exec(ctx, s.sql.Get("build_update"), b.ID, b.State, b.Kind, b.Message, b.Host, b.Setting, b.File, b.Line, b.Artifact, b.PhasesMS, b.Notes, b.StartedAt, b.FinishedAt)
	return err
}

// CancelBuild implements app.Store.
func (s *Store) CancelBuild(ctx context.Context, project, id string, now time.Time) (domain.Build, error) {
	var b domain.Build
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.sql.Get("build_lock"), id)
		if err != nil {
			return err
		}
		r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[buildRow])
		if err != nil {
			return err
		}
		if b = domain.Build(r); b.Project != project {
			return pgx.ErrNoRows
		}
		if b.State != domain.Queued && b.State != domain.Building {
			return fault.New(fault.Conflict, "the build has ended (%s): there is nothing to cancel", b.State)
		}
		b.State, b.Kind, b.Message, b.FinishedAt = domain.Cancelled, "cancelled", "the build was cancelled", now
		if err := s.write(ctx, tx, b); err != nil {
			return err
		}
		m, err := outbox.NewMessage(exchange, &repositoryv1.BuildCancelled{OrderId: b.ID, Project: b.Project}, now)
		if err != nil {
			return err
		}
		return outbox.Append(ctx, tx, m)
	})
	s.notify()
	return b, pg.Translate(err, "build")
}

// AppendLog implements app.Store.
func (s *Store) AppendLog(ctx context.Context, _, orderID string, seq uint64, lines []string) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("log_add"), orderID, int64(seq), lines)
	return pg.Translate(err, "build log")
}

// Log implements app.Store.
func (s *Store) Log(ctx context.Context, orderID string, after int64) ([]string, int64, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("log_get"), orderID, after)
	if err != nil {
		return nil, after, pg.Translate(err, "build log")
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var lines []string
		if err := rows.Scan(&after, &lines); err != nil {
			return nil, after, err
		}
		out = append(out, lines...)
	}
	return out, after, pg.Translate(rows.Err(), "build log")
}
