package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// plain tells that a query asks for nothing but workflow and state.
func plain(q app.RunQuery) bool {
	return len(q.States) == 0 && q.From.IsZero() && q.To.IsZero() && q.Error == "" && q.Kind == "" && q.Group == "" && q.Trigger == "" && len(q.Inputs) == 0 && q.RetryOf == ""
}

// conditions are the parameters of a search, in the order of search_runs.sql.
func conditions(q app.RunQuery, before string) []any {
	after := uuid.Nil.String()
	if !q.From.IsZero() {
		after = firstID(q.From)
	}
	if !q.To.IsZero() {
		before = min(before, firstID(q.To))
	}
	states := make([]string, 0, len(q.States)+1)
	for _, s := range q.States {
		states = append(states, string(s))
	}
	if q.State != "" && !slices.Contains(states, string(q.State)) {
		states = append(states, string(q.State))
	}
	tags := q.Inputs
	if tags == nil {
		tags = []string{}
	}
	return []any{q.Project, before, after, q.Workflow, states, strings.ToLower(q.Error), q.Kind, q.Group, q.Trigger, tags, q.RetryOf}
}

// CountRuns counts what a query finds. See app.Store.
func (s *Store) CountRuns(ctx context.Context, q app.RunQuery) (int, error) {
	var n int
	err := s.pool.QueryRow(ctx, s.q["count_runs"], conditions(q, lastID)...).Scan(&n)
	return n, pg.Translate(err, "run")
}

// Failures groups failed runs. See app.Store.
func (s *Store) Failures(ctx context.Context, project, workflow string, since time.Time, limit int) ([]app.FailureGroup, error) {
	list, err := collect[app.FailureGroup](ctx, s, "run", "failures", project, firstID(since), workflow, limit)
	for i := range list {
		list[i].First, list[i].Last = list[i].First.UTC(), list[i].Last.UTC()
	}
	return list, err
}

// Cost sums what runs have used. See app.Store.
func (s *Store) Cost(ctx context.Context, project, workflow string, since, until time.Time, byDay bool) ([]app.CostRow, error) {
	type row struct {
		Workflow   string
		Day        *time.Time
		Runs       int
		CPUSeconds float64
		GibSeconds float64
	}
	to := lastID
	if !until.IsZero() {
		to = firstID(until)
	}
	rows, err := collect[row](ctx, s, "run", "cost", project, firstID(since), to, workflow, byDay)
	out := make([]app.CostRow, len(rows))
	for i, r := range rows {
		out[i] = app.CostRow{Workflow: r.Workflow, Runs: r.Runs, CPUSeconds: r.CPUSeconds, GiBSeconds: r.GibSeconds}
		if r.Day != nil {
			out[i].Day = r.Day.UTC()
		}
	}
	return out, err
}

// bulkWhat is what an order is about, as it is kept.
type bulkWhat struct {
	app.RunQuery
	Backfill *app.Backfill `json:",omitempty"`
}

// PutBulk inserts an order. See app.Store.
func (s *Store) PutBulk(ctx context.Context, b app.Bulk) error {
	query, err := json.Marshal(bulkWhat{b.Query, b.Backfill})
	if err != nil {
		return err
	}
	_, err = s.pool.Exec(ctx, s.q["put_bulk"], b.ID, b.Project, b.Kind, query, b.State, b.Cursor, b.CreatedAt)
	return pg.Translate(err, "bulk order")
}

// BulkProgress writes how far an order is. See app.Store.
func (s *Store) BulkProgress(ctx context.Context, b app.Bulk) (bool, error) {
	var ended *time.Time
	if !b.EndedAt.IsZero() {
		ended = &b.EndedAt
	}
	tag, err := s.pool.Exec(ctx, s.q["bulk_progress"], b.ID, b.State, b.Done, b.Failed, text(b.Problem), b.Cursor, ended)
	return tag.RowsAffected() == 1, pg.Translate(err, "bulk order")
}

// Bulks lists orders. See app.Store.
func (s *Store) Bulks(ctx context.Context, project string, limit int) ([]app.Bulk, error) {
	type row struct {
		ID, Project, Kind, State, Problem, Cursor string
		Query                                     []byte
		Done, Failed                              int
		CreatedAt                                 time.Time
		EndedAt                                   *time.Time
	}
	rows, err := collect[row](ctx, s, "bulk order", "bulks", project, limit)
	out := make([]app.Bulk, len(rows))
	for i, r := range rows {
		out[i] = app.Bulk{ID: r.ID, Project: r.Project, Kind: r.Kind, State: r.State, Done: r.Done, Failed: r.Failed, Problem: r.Problem, Cursor: r.Cursor, CreatedAt: r.CreatedAt.UTC()}
		var what bulkWhat
		jerr := json.Unmarshal(r.Query, &what)
		out[i].Query, out[i].Backfill = what.RunQuery, what.Backfill
		if jerr != nil && err == nil {
			err = fault.Wrap(jerr, fault.Internal, "read bulk order %s", r.ID)
		}
		if r.EndedAt != nil {
			out[i].EndedAt = r.EndedAt.UTC()
		}
	}
	return out, err
}

// StopBulk ends an order. See app.Store.
func (s *Store) StopBulk(ctx context.Context, project, id string) error {
	if err := isID(id, "bulk order"); err != nil {
		return err
	}
	tag, err := s.pool.Exec(ctx, s.q["stop_bulk"], project, id)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "no bulk order %s is under way in project %s", id, project)
	}
	return pg.Translate(err, "bulk order")
}

// tagsText writes tags as PostgreSQL writes a text[]: an array of arrays of different lengths cannot be
// a parameter.
func tagsText(tags []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, t := range tags {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(quoteTag.Replace(text(t)))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var quoteTag = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
