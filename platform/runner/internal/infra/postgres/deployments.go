package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// deploymentRow is a row of the deployment table.
type deploymentRow struct {
	ID         string
	Project    string
	State      string
	Reason     string
	Definition []byte
	CreatedAt  time.Time
	ChangedAt  time.Time
	Weight     int
	Leader     string
	Listener   string
}

func (r deploymentRow) deployment() (app.Deployment, error) {
	d := app.Deployment{ID: r.ID, Project: r.Project, State: r.State, Reason: r.Reason, CreatedAt: r.CreatedAt.UTC(), ChangedAt: r.ChangedAt.UTC(),
		Weight: r.Weight, Leader: r.Leader, Listener: r.Listener}
	if err := json.Unmarshal(r.Definition, &d.Definition); err != nil {
		return d, fault.Wrap(err, fault.Internal, "read the definition of deployment %s", r.ID)
	}
	return d, nil
}

func deployments(rows []deploymentRow, err error) ([]app.Deployment, error) {
	out := make([]app.Deployment, 0, len(rows))
	for _, r := range rows {
		d, derr := r.deployment()
		if derr != nil {
			return nil, derr
		}
		out = append(out, d)
	}
	return out, err
}

// SaveDeployment inserts a deployment. See app.Store.
func (s *Store) SaveDeployment(ctx context.Context, d app.Deployment) (bool, error) {
	if _, err := uuid.Parse(d.ID); err != nil {
		return false, fault.InvalidField("deployment_id", "this is no UUID", "give the deployment a UUIDv7")
	}
	def, err := json.Marshal(d.Definition)
	if err != nil {
		return false, fault.Wrap(err, fault.Invalid, "the definition cannot be stored")
	}
	inserted := false
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.q["insert_deployment"], d.ID, d.Project, d.Definition.Workflow, d.State, text(d.Reason), def, d.CreatedAt, d.ChangedAt,
			d.Definition.Retention.Milliseconds(), d.Weight, nil)
		if inserted = err == nil && tag.RowsAffected() == 1; !inserted {
			return err
		}
		return s.saveShares(ctx, tx, d)
	})
	return inserted, pg.Translate(err, "deployment")
}

// UpdateDeployments changes deployments of a workflow by what is live now. See app.Store.
func (s *Store) UpdateDeployments(ctx context.Context, project, workflow string, change func(live []app.Deployment) ([]app.Deployment, []app.Message, error)) error {
	told := false
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.q["lock_workflow"], project+"/"+workflow); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, s.q["live_of_workflow"], project, workflow)
		if err != nil {
			return err
		}
		live, err := deployments(pgx.CollectRows(rows, pgx.RowToStructByNameLax[deploymentRow]))
		if err != nil {
			return err
		}
		ds, msgs, err := change(live)
		if err != nil {
			return err
		}
		for _, d := range ds {
			if _, err := tx.Exec(ctx, s.q["set_deployment"], d.ID, d.State, text(d.Reason), d.ChangedAt, d.Listener); err != nil {
				return err
			}
		}
		for _, m := range msgs {
			if _, err := tx.Exec(ctx, s.q["insert_outbox"], m.ID, m.Key, m.Payload, bus.Headers(ctx)); err != nil {
				return err
			}
		}
		told = len(msgs) > 0
		return nil
	})
	if err == nil && told {
		s.notify()
	}
	return pg.Translate(err, "deployment")
}

// Deployment gives one deployment.
func (s *Store) Deployment(ctx context.Context, id string) (app.Deployment, error) {
	if err := isID(id, "deployment"); err != nil {
		return app.Deployment{}, err
	}
	r, err := one[deploymentRow](ctx, s, "deployment", "deployment", id)
	if err != nil {
		return app.Deployment{}, err
	}
	list, err := s.withShares(ctx, []deploymentRow{r}, nil)
	if err != nil {
		return app.Deployment{}, err
	}
	return list[0], nil
}

// Deployments lists a project's deployments, newest first.
func (s *Store) Deployments(ctx context.Context, project string, all bool) ([]app.Deployment, error) {
	rows, err := collect[deploymentRow](ctx, s, "deployment", "deployments", project, all)
	return s.withShares(ctx, rows, err)
}

// Standing lists what is deploying or live.
func (s *Store) Standing(ctx context.Context) ([]app.Deployment, error) {
	rows, err := collect[deploymentRow](ctx, s, "deployment", "standing")
	return s.withShares(ctx, rows, err)
}

// Needed lists the deployments that are deploying or live, those that share with one, and those that have runs that
// have not ended.
func (s *Store) Needed(ctx context.Context) ([]app.Deployment, error) {
	return deployments(collect[deploymentRow](ctx, s, "deployment", "needed"))
}

// saveShares inserts those that share with a deployment. They never change: what they are is said by the state of
// the one that they share with.
func (s *Store) saveShares(ctx context.Context, tx pgx.Tx, d app.Deployment) error {
	for _, sh := range d.Shares {
		def, err := json.Marshal(sh.Definition)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the definition of revision %d cannot be stored", sh.Definition.Revision)
		}
		if _, err := tx.Exec(ctx, s.q["insert_deployment"], sh.Deployment, d.Project, d.Definition.Workflow, "shared", "", def, d.CreatedAt, d.ChangedAt,
			sh.Definition.Retention.Milliseconds(), sh.Weight, d.ID); err != nil {
			return err
		}
	}
	return nil
}

// withShares reads who shares with the deployments of the rows.
func (s *Store) withShares(ctx context.Context, rows []deploymentRow, err error) ([]app.Deployment, error) {
	list, err := deployments(rows, err)
	if err != nil {
		return list, err
	}
	at := map[string]int{}
	var leaders []string
	for i, d := range list {
		if d.Leader == "" && d.Weight > 0 {
			at[d.ID], leaders = i, append(leaders, d.ID)
		}
	}
	if leaders == nil {
		return list, nil
	}
	shares, err := collect[deploymentRow](ctx, s, "deployment", "shares_of", leaders)
	if err != nil {
		return nil, err
	}
	for _, r := range shares {
		sh, err := r.deployment()
		if err != nil {
			return nil, err
		}
		d := &list[at[r.Leader]]
		d.Shares = append(d.Shares, app.Share{Deployment: sh.ID, Weight: sh.Weight, Definition: sh.Definition})
	}
	return list, nil
}
