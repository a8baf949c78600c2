// Package postgres keeps the runner's runs, journal, logs, deployments, secrets and
// variables. The journal has one writer (Journal); everything else goes through Store.
package postgres

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Migrations holds the schema, in the folder "migrations".
//
//go:embed migrations/*.sql
var Migrations embed.FS

//go:embed sql/*.sql
var statements embed.FS

// Statements are the package's SQL texts.
func Statements() pg.Statements { return pg.Load(statements, "sql") }

// Store is the runner's database.
type Store struct {
	pool   *pg.Pool
	q      pg.Statements
	log    *slog.Logger
	notify func()
	days   dayHold
}

var _ app.Store = (*Store)(nil)
var _ app.Journal = (*Journal)(nil)

// New makes a store on a migrated database. notify is called after messages were put into
// the outbox (Relay.Notify); it may be nil.
func New(pool *pg.Pool, log *slog.Logger, notify func()) *Store {
	if notify == nil {
		notify = func() {}
	}
	return &Store{pool: pool, q: Statements(), log: log, notify: notify}
}

var partitioned = []struct{ table, with string }{
	{"run", " WITH (fillfactor = 85)"}, {"journal", ""}, {"log_chunk", ""},
}

// EnsurePartitions makes the partitions of yesterday (for ids made just before midnight),
// today and the 7 days after. See app.Store.
func (s *Store) EnsurePartitions(ctx context.Context, now time.Time) error {
	day := now.UTC().Truncate(24 * time.Hour)
	for i := -1; i <= 7; i++ {
		if err := s.ensureDay(ctx, day.AddDate(0, 0, i), false); err != nil {
			return err
		}
	}
	if _, err := s.pool.Exec(ctx, s.q["prune_dedup"]); err != nil {
		return pg.Translate(err, "dedup key")
	}
	if _, err := s.pool.Exec(ctx, s.q["prune_cached"]); err != nil {
		return pg.Translate(err, "cached outputs")
	}
	if _, err := s.pool.Exec(ctx, s.q["prune_rates"]); err != nil {
		return pg.Translate(err, "rate")
	}
	_, err := s.pool.Exec(ctx, s.q["prune_commands"])
	return pg.Translate(err, "command")
}

// firstID is the smallest UUID whose first 48 bits are the time (RFC 9562, version 7).
func firstID(t time.Time) string {
	var id uuid.UUID
	ms := t.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id.String()
}

// summaryRow is a row of the run table.
type summaryRow struct {
	ID           string
	Project      string
	Workflow     string
	Revision     int
	RevisionID   string
	Deployment   string
	State        string
	TriggerKind  string
	TriggerID    string
	CreatedAt    time.Time
	FinishedAt   *time.Time
	ErrorKind    string
	ErrorMessage string
	ErrorStep    string
	Fingerprint  string
	RetryOf      string
	CpuMicros    int64
	GibSeconds   float64
	Held         string
}

func (r summaryRow) summary() app.RunSummary {
	s := app.RunSummary{ID: r.ID, Project: r.Project, Workflow: r.Workflow, Revision: r.Revision, RevisionID: r.RevisionID,
		Deployment: r.Deployment, State: domain.RunState(r.State), Trigger: app.Trigger{Kind: r.TriggerKind, ID: r.TriggerID},
		CreatedAt: r.CreatedAt.UTC(), ErrorKind: r.ErrorKind, Error: r.ErrorMessage, ErrorStep: r.ErrorStep,
		Fingerprint: r.Fingerprint, RetryOf: r.RetryOf, CPUMicros: r.CpuMicros, GiBSeconds: r.GibSeconds}
	if r.FinishedAt != nil {
		s.FinishedAt = r.FinishedAt.UTC()
	}
	return s
}

// collect runs a query and reads its rows into structs.
func collect[T any](ctx context.Context, s *Store, what, name string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, s.q.Get(name), args...)
	if err != nil {
		return nil, pg.Translate(err, what)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[T])
	return out, pg.Translate(err, what)
}

func one[T any](ctx context.Context, s *Store, what, name string, args ...any) (T, error) {
	rows, err := s.pool.Query(ctx, s.q.Get(name), args...)
	if err != nil {
		var zero T
		return zero, pg.Translate(err, what)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByNameLax[T])
	return out, pg.Translate(err, what)
}

// unfinishedPage is how many runs a take-over reads at a time.
const unfinishedPage = 500

// Unfinished gives the runs among those named that have not ended. See app.Store.
func (s *Store) Unfinished(ctx context.Context, runs []string, yield func(app.LiveRun) error) error {
	for len(runs) > 0 {
		n := min(len(runs), unfinishedPage)
		page, err := collect[summaryRow](ctx, s, "run", "live_runs", runs[:n])
		if err != nil {
			return err
		}
		runs = runs[n:]
		ids := make([]string, len(page))
		live := make(map[string]*app.LiveRun, len(page))
		for i, r := range page {
			ids[i] = r.ID
			live[r.ID] = &app.LiveRun{RunSummary: r.summary(), Held: r.Held}
		}
		if err := s.addRows(ctx, ids, live); err != nil {
			return err
		}
		for _, id := range ids {
			if err := yield(*live[id]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) addRows(ctx context.Context, ids []string, live map[string]*app.LiveRun) error {
	type snapshot struct {
		Run   string
		Seq   int64
		State []byte
	}
	snapshots, err := collect[snapshot](ctx, s, "snapshot", "snapshots_of", ids)
	if err != nil {
		return err
	}
	for _, x := range snapshots {
		live[x.Run].Snapshot, live[x.Run].SnapshotSeq = x.State, x.Seq
	}
	after := make([]int64, len(ids))
	for i, id := range ids {
		after[i] = live[id].SnapshotSeq
	}
	type row struct {
		Run string
		Row []byte
	}
	rows, err := collect[row](ctx, s, "journal", "rows_of_runs", ids, after)
	if err != nil {
		return err
	}
	for _, r := range rows {
		live[r.Run].Rows = append(live[r.Run].Rows, r.Row)
	}
	type count struct {
		Run     string
		Step    string
		Path    []int32
		Attempt int32
		Lines   int64
		Last    int64
	}
	counts, err := collect[count](ctx, s, "log", "logged", ids)
	if err != nil {
		return err
	}
	for _, c := range counts {
		l := live[c.Run]
		l.LastLog = max(l.LastLog, c.Last)
		l.Logged = append(l.Logged, app.LogCount{Step: c.Step, Path: c.Path, Attempt: c.Attempt, Lines: c.Lines})
	}
	return nil
}

// commandRow is a row of the inbox.
type commandRow struct {
	ID        string
	Run       string
	Kind      string
	Reason    string
	Payload   []byte
	CreatedAt time.Time
}

// Commands lists the inbox of some runs.
func (s *Store) Commands(ctx context.Context, runs ...string) ([]app.InboxCommand, error) {
	return commands(collect[commandRow](ctx, s, "command", "commands", runs))
}

func commands(rows []commandRow, err error) ([]app.InboxCommand, error) {
	out := make([]app.InboxCommand, len(rows))
	for i, r := range rows {
		out[i] = app.InboxCommand{ID: r.ID, Run: r.Run, Kind: r.Kind, Reason: r.Reason, Payload: r.Payload, At: r.CreatedAt.UTC()}
	}
	return out, err
}

// AddCommand makes a command durable. See app.Store.
func (s *Store) AddCommand(ctx context.Context, c app.InboxCommand) error {
	_, err := s.pool.Exec(ctx, s.q["add_command"], text(c.ID), c.Run, c.Kind, text(c.Reason), nonNil(c.Payload), c.At)
	return pg.Translate(err, "command")
}

// isID refuses what cannot be an id before the database does.
func isID(id, what string) error {
	if _, err := uuid.Parse(id); err != nil {
		return fault.New(fault.NotFound, "there is no %s %q", what, id)
	}
	return nil
}

// RunSummary gives one run.
func (s *Store) RunSummary(ctx context.Context, project, id string) (app.RunSummary, error) {
	if err := isID(id, "run"); err != nil {
		return app.RunSummary{}, err
	}
	r, err := one[summaryRow](ctx, s, "run", "run_summary", id, project)
	return r.summary(), err
}

// RunRows gives a run's journal.
func (s *Store) RunRows(ctx context.Context, id string) ([][]byte, error) {
	rows, err := s.pool.Query(ctx, s.q["run_rows"], id)
	if err != nil {
		return nil, pg.Translate(err, "run")
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	return out, pg.Translate(err, "run")
}

// LastRow gives the last row of a run's journal.
func (s *Store) LastRow(ctx context.Context, id string) ([]byte, error) {
	var row []byte
	err := s.pool.QueryRow(ctx, s.q["last_row"], id).Scan(&row)
	return row, pg.Translate(err, "run")
}

// lastID sorts after every run.
const lastID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

// Runs lists runs, newest first.
func (s *Store) Runs(ctx context.Context, q app.RunQuery) ([]app.RunSummary, error) {
	before := lastID
	if q.Cursor != "" {
		if _, err := uuid.Parse(q.Cursor); err != nil {
			return nil, fault.InvalidField("cursor", "this is no cursor", "pass next_cursor of the page before as it was given")
		}
		before = q.Cursor
	}
	args := []any{q.Project, before, string(q.State), q.Limit}
	name := "runs"
	switch {
	case !plain(q):
		name, args = "search_runs", append(conditions(q, before), q.Limit)
	case q.Workflow != "":
		name, args = "runs_of_workflow", append(args, q.Workflow)
	}
	rows, err := collect[summaryRow](ctx, s, "run", name, args...)
	out := make([]app.RunSummary, len(rows))
	for i, r := range rows {
		out[i] = r.summary()
	}
	return out, err
}

// FindDedup looks a key up.
func (s *Store) FindDedup(ctx context.Context, scope, key string) (run string, body []byte, found bool, err error) {
	err = s.pool.QueryRow(ctx, s.q["find_dedup"], text(scope), text(key)).Scan(&run, &body)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil, false, nil
	}
	return run, body, err == nil, pg.Translate(err, "key")
}

// SourceCursor is how far a source has come, nil at first.
func (s *Store) SourceCursor(ctx context.Context, deployment, trigger string) ([]byte, error) {
	if err := isID(deployment, "deployment"); err != nil {
		return nil, err
	}
	var c []byte
	err := s.pool.QueryRow(ctx, s.q["source_cursor"], deployment, trigger).Scan(&c)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return c, pg.Translate(err, "source")
}

// Secrets lists all secrets, sealed.
func (s *Store) Secrets(ctx context.Context) ([]app.SealedSecret, error) {
	return collect[app.SealedSecret](ctx, s, "secret", "secrets")
}

// PutSecret sets a secret.
func (s *Store) PutSecret(ctx context.Context, x app.SealedSecret) error {
	_, err := s.pool.Exec(ctx, s.q["put_secret"], x.Project, x.Name, x.Sealed, x.UpdatedAt)
	return pg.Translate(err, "secret")
}

// DeleteSecret removes a secret.
func (s *Store) DeleteSecret(ctx context.Context, project, name string) error {
	tag, err := s.pool.Exec(ctx, s.q["delete_secret"], project, text(name))
	return deleted(tag, err, "secret", name)
}

// Variables lists all variables by project.
func (s *Store) Variables(ctx context.Context) (map[string][]app.Variable, error) {
	type row struct {
		Project   string
		Name      string
		Value     []byte
		UpdatedAt time.Time
	}
	rows, err := collect[row](ctx, s, "variable", "variables")
	out := map[string][]app.Variable{}
	for _, r := range rows {
		out[r.Project] = append(out[r.Project], app.Variable{Name: r.Name, Value: r.Value, UpdatedAt: r.UpdatedAt.UTC()})
	}
	return out, err
}

// PutVariable sets a variable.
func (s *Store) PutVariable(ctx context.Context, project string, v app.Variable) error {
	_, err := s.pool.Exec(ctx, s.q["put_variable"], project, v.Name, []byte(v.Value), v.UpdatedAt)
	return pg.Translate(err, "variable")
}

// DeleteVariable removes a variable.
func (s *Store) DeleteVariable(ctx context.Context, project, name string) error {
	tag, err := s.pool.Exec(ctx, s.q["delete_variable"], project, text(name))
	return deleted(tag, err, "variable", name)
}

type affected interface{ RowsAffected() int64 }

func deleted(tag affected, err error, what, name string) error {
	if err != nil {
		return pg.Translate(err, what)
	}
	if tag.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "there is no %s %q", what, strings.ToValidUTF8(name, "?"))
	}
	return nil
}
