// Package postgres keeps the studio's state in PostgreSQL.
package postgres

import (
	"context"
	"embed"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	studiov1 "github.com/pelton-run/pelton/platform/studio/contracts/studio/v1"
	"github.com/pelton-run/pelton/platform/studio/internal/app"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// Migrations of the database.
//
//go:embed migrations/*.sql
var Migrations embed.FS

//go:embed sql/*.sql
var files embed.FS

// Statements are the SQL texts, for the test that prepares them.
func Statements() pg.Statements { return pg.Load(files, "sql") }

const exchange = "studio.v1"

// Store implements app.Store.
type Store struct {
	pool   *pg.Pool
	sql    pg.Statements
	notify func()
}

// New makes a Store; notify is called after a commit that wrote messages.
func New(pool *pg.Pool, notify func()) *Store { return &Store{pool, Statements(), notify} }

var _ app.Store = (*Store)(nil)

// PutBuild implements app.Store. It is idempotent by itself: the message's id is not needed.
func (s *Store) PutBuild(ctx context.Context, _ string, b domain.Build) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("build_put"), b.Project, b.Build, b.Action, b.Version, b.ActionJSON, b.Artifact, b.RepositoryID, b.Repository, b.Commit, b.Path, b.OfferedAt)
	return pg.Translate(err, "build")
}

func (s *Store) builds(ctx context.Context, query string, args ...any) ([]domain.Build, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get(query), args...)
	if err != nil {
		return nil, pg.Translate(err, "builds")
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[domain.Build])
	return out, pg.Translate(err, "builds")
}

// Builds implements app.Store.
func (s *Store) Builds(ctx context.Context, project, action string) ([]domain.Build, error) {
	return s.builds(ctx, "build_list", project, action)
}

// NewestBuilds implements app.Store.
func (s *Store) NewestBuilds(ctx context.Context, project string) ([]domain.Build, error) {
	return s.builds(ctx, "build_newest", project)
}

// Build implements app.Store.
func (s *Store) Build(ctx context.Context, project, digest string) (domain.Build, error) {
	found, err := s.builds(ctx, "build_get", project, digest)
	if err == nil && len(found) == 0 {
		return domain.Build{}, fault.New(fault.NotFound, "there is no such build")
	}
	if err != nil {
		return domain.Build{}, err
	}
	return found[0], nil
}

func (s *Store) workflows(ctx context.Context, query string, args ...any) ([]domain.Workflow, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get(query), args...)
	if err != nil {
		return nil, pg.Translate(err, "workflows")
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[domain.Workflow])
	return out, pg.Translate(err, "workflows")
}

// Workflow implements app.Store.
func (s *Store) Workflow(ctx context.Context, project, name string) (domain.Workflow, error) {
	found, err := s.workflows(ctx, "workflow_get", project, name)
	if err == nil && len(found) == 0 {
		return domain.Workflow{}, fault.New(fault.NotFound, "there is no workflow %q", name)
	}
	if err != nil {
		return domain.Workflow{}, err
	}
	return found[0], nil
}

// Workflows implements app.Store.
func (s *Store) Workflows(ctx context.Context, project string) ([]domain.Workflow, error) {
	return s.workflows(ctx, "workflow_list", project)
}

// WorkflowsOf implements app.Store.
func (s *Store) WorkflowsOf(ctx context.Context, project, source string) ([]domain.Workflow, error) {
	return s.workflows(ctx, "workflow_of_source", project, source)
}

// UpdateWorkflow implements app.Store.
func (s *Store) UpdateWorkflow(ctx context.Context, project, name string, create bool, now time.Time, f func(w *domain.Workflow) error) error {
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if create {
			if _, err := tx.Exec(ctx, s.sql.Get("workflow_add"), project, name, now); err != nil {
				return err
			}
		}
		rows, err := tx.Query(ctx, s.sql.Get("workflow_lock"), project, name)
		if err != nil {
			return err
		}
		w, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[domain.Workflow])
		if err != nil {
			return err
		}
		if err := f(&w); err != nil {
			return err
		}
		if w.Problems == nil {
			w.Problems = []domain.Problem{}
		}
		if w.Builds == nil {
			w.Builds = map[string]string{}
		}
		if w.Broken == nil {
			w.Broken = map[string]string{}
		}
		_, err = tx.Exec(ctx, s.sql.Get("workflow_update"), project, name, w.Source, w.Path, w.WantedYAML, w.Builds, w.Broken, w.AutoDeploy, w.Problems)
		return err
	})
	return pg.Translate(err, "workflow")
}

func revision(rows pgx.Rows, err error) (domain.Revision, error) {
	if err != nil {
		return domain.Revision{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[domain.Revision])
}

// SaveRevision implements app.Store. The workflow's row is locked, so numbers have no gaps.
func (s *Store) SaveRevision(ctx context.Context, r domain.Revision, encode func(n int) ([]byte, error)) (out domain.Revision, made bool, err error) {
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.sql.Get("workflow_lock"), r.Project, r.Workflow)
		if err != nil {
			return err
		}
		if _, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[domain.Workflow]); err != nil {
			return err
		}
		rows, err = tx.Query(ctx, s.sql.Get("revision_by_digest"), r.Project, r.Workflow, r.Digest)
		if out, err = revision(rows, err); err == nil {
			return nil
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		var last int
		if err := tx.QueryRow(ctx, s.sql.Get("revision_max"), r.Project, r.Workflow).Scan(&last); err != nil {
			return err
		}
		r.Number = last + 1
		if r.Definition, err = encode(r.Number); err != nil {
			return err
		}
		out, made = r, true
		_, err = tx.Exec(ctx, s.sql.Get("revision_add"), r.ID, r.Project, r.Workflow, r.Number, r.YAML, r.Definition, r.Digest, r.CreatedAt)
		return err
	})
	return out, made, pg.Translate(err, "revision")
}

// Revision implements app.Store.
func (s *Store) Revision(ctx context.Context, project, workflow string, number int) (domain.Revision, error) {
	r, err := revision(s.pool.Query(ctx, s.sql.Get("revision_get"), project, workflow, number))
	return r, pg.Translate(err, "revision")
}

// Revisions implements app.Store.
func (s *Store) Revisions(ctx context.Context, project, workflow string, before, limit int) ([]domain.Revision, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("revision_list"), project, workflow, before, limit)
	if err != nil {
		return nil, pg.Translate(err, "revisions")
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[domain.Revision])
	return out, pg.Translate(err, "revisions")
}

// Deploy implements app.Store.
func (s *Store) Deploy(ctx context.Context, d domain.Deployment, definitions [][]byte, now time.Time) error {
	order := &studiov1.WorkflowDeployed{DeploymentId: d.ID, Project: d.Project, AtUnixMs: now.UnixMilli()}
	for i, part := range d.Split() {
		def := &studiov1.Definition{}
		if err := proto.Unmarshal(definitions[i], def); err != nil {
			return err
		}
		if part.Deployment == d.ID {
			order.Definition, order.Weight = def, int32(part.Weight)
			continue
		}
		order.Shares = append(order.Shares, &studiov1.Share{DeploymentId: part.Deployment, Weight: int32(part.Weight), Definition: def})
	}
	traffic := d.Traffic
	if traffic == nil {
		traffic = domain.Traffic{}
	}
	return s.send(ctx, now, []proto.Message{order}, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.sql.Get("deployment_add"), d.ID, d.Project, d.Workflow, d.RevisionID, d.Number, d.CreatedAt, traffic)
		return err
	})
}

// Undeploy implements app.Store.
func (s *Store) Undeploy(ctx context.Context, ds []domain.Deployment, now time.Time) error {
	var orders []proto.Message
	for _, d := range ds {
		orders = append(orders, &studiov1.WorkflowUndeployed{DeploymentId: d.ID, Project: d.Project, Workflow: d.Workflow, AtUnixMs: now.UnixMilli()})
	}
	return s.send(ctx, now, orders, func(tx pgx.Tx) error {
		for _, d := range ds {
			if _, err := tx.Exec(ctx, s.sql.Get("deployment_update"), d.ID, "stopped", "", []domain.Endpoint{}, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// send does f, and sends messages if f is committed.
func (s *Store) send(ctx context.Context, now time.Time, ms []proto.Message, f func(tx pgx.Tx) error) error {
	var msgs []bus.Message
	for _, m := range ms {
		msg, err := outbox.NewMessage(exchange, m, now)
		if err != nil {
			return err
		}
		msgs = append(msgs, msg)
	}
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return outbox.Append(ctx, tx, msgs...)
	})
	s.notify()
	return pg.Translate(err, "deployment")
}

func (s *Store) deployments(ctx context.Context, query string, args ...any) ([]domain.Deployment, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get(query), args...)
	if err != nil {
		return nil, pg.Translate(err, "deployments")
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[domain.Deployment])
	return out, pg.Translate(err, "deployments")
}

// Deployments implements app.Store.
func (s *Store) Deployments(ctx context.Context, project, workflow string, limit int) ([]domain.Deployment, error) {
	return s.deployments(ctx, "deployment_list", project, workflow, limit)
}

// NewestDeployments implements app.Store.
func (s *Store) NewestDeployments(ctx context.Context, project string) (map[string]domain.Deployment, error) {
	list, err := s.deployments(ctx, "deployment_newest", project)
	out := map[string]domain.Deployment{}
	for _, d := range list {
		out[d.Workflow] = d
	}
	return out, err
}

// DeploymentChanged implements app.Store.
func (s *Store) DeploymentChanged(ctx context.Context, messageID string, d domain.Deployment) (project, workflow string, number int, err error) {
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		first, err := outbox.First(ctx, tx, "studio.DeploymentChanged", messageID)
		if err != nil {
			return err
		}
		if !first { // a later change may have come since
			return fault.New(fault.NotFound, "the change is known")
		}
		if d.Endpoints == nil {
			d.Endpoints = []domain.Endpoint{}
		}
		return tx.QueryRow(ctx, s.sql.Get("deployment_update"), d.ID, d.State, d.Reason, d.Endpoints, d.ChangedAt).Scan(&project, &workflow, &number)
	})
	return project, workflow, number, pg.Translate(err, "deployment")
}
