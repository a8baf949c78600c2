package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// LiveRun gives one run that has not ended. See app.Store.
func (s *Store) LiveRun(ctx context.Context, id string) (app.LiveRun, error) {
	type row struct {
		summaryRow
		Owner  int64
		Asleep bool
	}
	r, err := one[row](ctx, s, "run", "live_run", id)
	if fault.Is(err, fault.NotFound) {
		return app.LiveRun{}, app.ErrNoLiveRun
	}
	if err != nil {
		return app.LiveRun{}, err
	}
	l := &app.LiveRun{RunSummary: r.summary(), Owner: r.Owner, Asleep: r.Asleep, Held: r.Held}
	err = s.addRows(ctx, []string{l.ID}, map[string]*app.LiveRun{l.ID: l})
	return *l, err
}

// Release lets a held run go on. See app.Store.
func (s *Store) Release(ctx context.Context, project, run string) (deployment string, err error) {
	if err := isID(run, "run"); err != nil {
		return "", err
	}
	err = s.pool.QueryRow(ctx, s.q["release_run"], run, project).Scan(&deployment)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return deployment, pg.Translate(err, "run")
}

// Sleeping lists runs that only wait and are due. See app.Store.
func (s *Store) Sleeping(ctx context.Context, owner int64, before time.Time, limit int) ([]string, error) {
	rows, err := s.pool.Query(ctx, s.q["sleeping"], before, limit, owner)
	if err != nil {
		return nil, pg.Translate(err, "run")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, pg.Translate(err, "run")
}

// SpentRates tells what has been taken of a project's rates. See app.Store.
func (s *Store) SpentRates(ctx context.Context, project string) (map[string]time.Duration, error) {
	type row struct {
		Key  string
		Left time.Duration
	}
	rows, err := collect[row](ctx, s, "rate", "spent_rates", project)
	out := make(map[string]time.Duration, len(rows))
	for _, r := range rows {
		out[r.Key] = r.Left
	}
	return out, err
}

// Waits lists what is waited for. See app.Store.
func (s *Store) Waits(ctx context.Context, q app.WaitQuery) ([]app.Wait, error) {
	after := app.Wait{Run: uuid.Nil.String()}
	if q.After != "" {
		var err error
		if after, err = app.WaitAt(q.After); err != nil {
			return nil, err
		}
	}
	type row struct {
		Run, Step               string
		Path                    []int32
		Project, Workflow, Kind string
		Text                    string
		Since                   time.Time
		Due                     *time.Time
	}
	kinds := q.Kinds
	if kinds == nil {
		kinds = []string{}
	}
	rows, err := collect[row](ctx, s, "wait", "awaiting", q.Project, q.Run, kinds, after.Since, after.Run, q.Limit, after.Step, nonNilPath(after.Path))
	out := make([]app.Wait, len(rows))
	for i, r := range rows {
		out[i] = app.Wait{Project: r.Project, Workflow: r.Workflow, Run: r.Run, Step: r.Step, Path: r.Path, Kind: r.Kind, Text: r.Text, Since: r.Since.UTC()}
		if len(r.Path) == 0 {
			out[i].Path = nil
		}
		if r.Due != nil {
			out[i].Due = r.Due.UTC()
		}
	}
	return out, err
}

// Cached gives outputs that were kept. See app.Store.
func (s *Store) Cached(ctx context.Context, project, build, key string, now time.Time) ([]byte, bool, error) {
	var outputs []byte
	err := s.pool.QueryRow(ctx, s.q["cached"], project, build, cacheKey(key), now).Scan(&outputs)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return outputs, err == nil, pg.Translate(err, "cached outputs")
}

// PutCached keeps outputs. See app.Store.
func (s *Store) PutCached(ctx context.Context, project, build, key string, outputs []byte, expires time.Time) error {
	_, err := s.pool.Exec(ctx, s.q["put_cached"], project, build, cacheKey(key), outputs, expires)
	return pg.Translate(err, "cached outputs")
}

// cacheKey bounds the size of a key.
func cacheKey(key string) []byte { h := sha256.Sum256([]byte(key)); return h[:] }

// waitColumns gathers what a batch tells of runs that wait.
type waitColumns struct {
	states   []string
	stateIDs []pgtype.UUID
	restIDs  []pgtype.UUID
	rests    []*app.Sleep // nil = it does not only wait any more
	waits    []app.Wait
}

func (c *waitColumns) add(id uuid.UUID, e *app.Entry) {
	u := pgtype.UUID{Bytes: id, Valid: true}
	if e.State != "" {
		c.stateIDs, c.states = append(c.stateIDs, u), append(c.states, string(e.State))
	}
	if e.Sleep != nil || e.Wake {
		c.restIDs, c.rests = append(c.restIDs, u), append(c.rests, e.Sleep)
	}
	c.waits = append(c.waits, e.Waits...)
}

func (c *waitColumns) empty() bool {
	return len(c.stateIDs)+len(c.restIDs)+len(c.waits) == 0
}

// queue adds the statements. A run can occur several times in a batch: what comes last counts,
// so that the columns are made unique first.
func (c *waitColumns) queue(b *pgx.Batch, q map[string]string) {
	if len(c.stateIDs) > 0 {
		ids, states := lastOf(c.stateIDs, c.states)
		b.Queue(q["set_states"], pgtype.FlatArray[pgtype.UUID](ids), states)
	}
	var waking, sleeping []pgtype.UUID
	var dues []time.Time
	var holds [][]byte
	ids, rests := lastOf(c.restIDs, c.rests)
	for i, r := range rests {
		if r == nil {
			waking = append(waking, ids[i])
		} else {
			sleeping, dues = append(sleeping, ids[i]), append(dues, r.Due)
			holds = append(holds, nonNil(r.Holds))
		}
	}
	if len(waking) > 0 {
		b.Queue(q["wake"], pgtype.FlatArray[pgtype.UUID](waking))
	}
	if len(sleeping) > 0 {
		b.Queue(q["put_sleeping"], pgtype.FlatArray[pgtype.UUID](sleeping), dues, holds)
	}
	for _, w := range c.waits {
		path := nonNilPath(w.Path)
		if w.Over {
			b.Queue(q["delete_awaiting"], w.Run, w.Step, path)
			continue
		}
		var due *time.Time
		if !w.Due.IsZero() {
			due = &w.Due
		}
		b.Queue(q["put_awaiting"], w.Run, w.Step, path, w.Project, w.Workflow, w.Kind, text(w.Text), w.Since, due)
	}
}

// snapshotColumns gathers the snapshots of a batch.
type snapshotColumns struct {
	ids     []pgtype.UUID
	entries []*app.Entry
}

func (c *snapshotColumns) add(id uuid.UUID, e *app.Entry) {
	c.ids, c.entries = append(c.ids, pgtype.UUID{Bytes: id, Valid: true}), append(c.entries, e)
}

func (c *snapshotColumns) queue(b *pgx.Batch, q map[string]string) {
	if len(c.ids) == 0 {
		return
	}
	ids, entries := lastOf(c.ids, c.entries)
	seqs, states := make([]int64, len(ids)), make([][]byte, len(ids))
	for i, e := range entries {
		seqs[i], states[i] = e.Seq, e.Snapshot
	}
	b.Queue(q["put_snapshots"], pgtype.FlatArray[pgtype.UUID](ids), seqs, states)
}

func nonNilPath(p []int32) []int32 {
	if p == nil {
		return []int32{}
	}
	return p
}

// lastOf keeps the last value of each id.
func lastOf[T any](ids []pgtype.UUID, values []T) ([]pgtype.UUID, []T) {
	at := make(map[pgtype.UUID]int, len(ids))
	outIDs, out := ids[:0:0], values[:0:0]
	for i, id := range ids {
		if j, ok := at[id]; ok {
			out[j] = values[i]
			continue
		}
		at[id] = len(outIDs)
		outIDs, out = append(outIDs, id), append(out, values[i])
	}
	return outIDs, out
}

// Caps gives the caps of every project. See app.Store.
func (s *Store) Caps(ctx context.Context) (map[string]app.Caps, error) {
	type row struct {
		Project, Kind, Name string
		Value               int
	}
	rows, err := collect[row](ctx, s, "cap", "caps")
	out := map[string]app.Caps{}
	for _, r := range rows {
		c := out[r.Project]
		switch r.Kind {
		case "project":
			c.Project = r.Value
		case "workflow":
			c.Workflows = with(c.Workflows, r.Name, r.Value)
		case "action":
			c.Actions = with(c.Actions, r.Name, r.Value)
		}
		out[r.Project] = c
	}
	return out, err
}

func with(m map[string]int, name string, v int) map[string]int {
	if m == nil {
		m = map[string]int{}
	}
	m[name] = v
	return m
}

// PutCaps replaces a project's caps. See app.Store.
func (s *Store) PutCaps(ctx context.Context, project string, c app.Caps) error {
	var kinds, names []string
	var values []int32
	add := func(kind, name string, v int) {
		if v > 0 {
			kinds, names, values = append(kinds, kind), append(names, name), append(values, int32(v))
		}
	}
	add("project", "", c.Project)
	for name, v := range c.Workflows {
		add("workflow", name, v)
	}
	for name, v := range c.Actions {
		add("action", name, v)
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.q["delete_caps"], project); err != nil || len(kinds) == 0 {
			return err
		}
		_, err := tx.Exec(ctx, s.q["put_caps"], project, kinds, names, values)
		return err
	})
	return pg.Translate(err, "cap")
}

// Paused lists the paused workflows. See app.Store.
func (s *Store) Paused(ctx context.Context) ([]app.PausedWorkflow, error) {
	return collect[app.PausedWorkflow](ctx, s, "paused workflow", "paused")
}

// PutPaused pauses a workflow. See app.Store.
func (s *Store) PutPaused(ctx context.Context, p app.PausedWorkflow) error {
	_, err := s.pool.Exec(ctx, s.q["put_paused"], p.Project, p.Workflow, text(p.Reason), p.Since)
	return pg.Translate(err, "paused workflow")
}

// DeletePaused ends a pause. See app.Store.
func (s *Store) DeletePaused(ctx context.Context, project, workflow string) error {
	_, err := s.pool.Exec(ctx, s.q["delete_paused"], project, workflow)
	return pg.Translate(err, "paused workflow")
}
