package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Retentions are the projects' own settings. See app.History.
func (s *Store) Retentions(ctx context.Context) (map[string]time.Duration, error) {
	type row struct {
		Project string
		Ms      int64
	}
	rows, err := collect[row](ctx, s, "retention", "retentions")
	out := make(map[string]time.Duration, len(rows))
	for _, r := range rows {
		out[r.Project] = time.Duration(r.Ms) * time.Millisecond
	}
	return out, err
}

// PutRetention sets a project's own, or removes it. See app.History.
func (s *Store) PutRetention(ctx context.Context, project string, keep time.Duration) error {
	var err error
	if keep == 0 {
		_, err = s.pool.Exec(ctx, s.q["delete_retention"], project)
	} else {
		_, err = s.pool.Exec(ctx, s.q["put_retention"], project, keep.Milliseconds())
	}
	return pg.Translate(err, "retention")
}

// WorkflowRetentions lists workflows. See app.History.
func (s *Store) WorkflowRetentions(ctx context.Context, project string) ([]app.WorkflowRetention, error) {
	type row struct {
		Project, Workflow string
		Ms                int64
	}
	rows, err := collect[row](ctx, s, "retention", "workflow_retentions", project)
	out := make([]app.WorkflowRetention, len(rows))
	for i, r := range rows {
		out[i] = app.WorkflowRetention{Project: r.Project, Workflow: r.Workflow, Keep: time.Duration(r.Ms) * time.Millisecond}
	}
	return out, err
}

// Alone runs do while no other process does so on this database. See app.History.
func (s *Store) Alone(ctx context.Context, what string, do func(ctx context.Context) error) (bool, error) {
	var derr error
	mine, err := s.locked(ctx, what, func(*pgxpool.Conn) error { derr = do(ctx); return nil })
	if err != nil {
		return false, pg.Translate(err, "lock")
	}
	return mine, derr
}

// locked holds an advisory lock of a session while do works, unless somebody else has it. The lock
// goes with the connection, whatever becomes of the process.
func (s *Store) locked(ctx context.Context, what string, do func(c *pgxpool.Conn) error) (mine bool, err error) {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer c.Release()
	if err := c.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", what).Scan(&mine); err != nil || !mine {
		return false, err
	}
	err = do(c)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, uerr := c.Exec(late, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", what); uerr != nil {
		_ = c.Conn().Close(late) // the lock goes with it
	}
	return true, err
}

// RemoveExpired removes ended runs of a project. See app.History.
func (s *Store) RemoveExpired(ctx context.Context, x app.Expired, limit int) (n int, err error) {
	name, flows := "expired_runs", x.Except
	if len(x.Workflows) > 0 {
		name, flows = "expired_runs_of", x.Workflows
	}
	if flows == nil {
		flows = []string{}
	}
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.q[name], x.Project, firstID(x.Before), x.Before, flows, limit)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(ids) == 0 {
			n = 0
			return err
		}
		n = len(ids)
		return s.remove(ctx, tx, ids)
	})
	return n, pg.Translate(err, "run")
}

// remove removes runs with everything that is kept of them.
func (s *Store) remove(ctx context.Context, tx pgx.Tx, ids []string) error {
	for _, name := range []string{"delete_runs", "delete_rows", "delete_logs", "delete_refs", "put_removed"} {
		if _, err := tx.Exec(ctx, s.q[name], ids); err != nil {
			return err
		}
	}
	return nil
}

// RemoveRun removes one ended run. See app.History.
func (s *Store) RemoveRun(ctx context.Context, project, run string) error {
	if err := isID(run, "run"); err != nil {
		return err
	}
	return pg.Translate(pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		var ended, needed bool
		var parent string
		// The row may have been waited for while the run ended: the first answer to whether it is needed is then of before.
		for range 2 {
			if err := tx.QueryRow(ctx, s.q["removable_run"], run, project).Scan(&ended, &needed, &parent); err != nil {
				return err
			}
			if !needed {
				break
			}
		}
		switch {
		case !ended:
			return fault.New(fault.Conflict, "the run has not ended: cancel it first, or wait").WithCode("run_not_ended")
		case needed && parent != "":
			return fault.New(fault.Conflict, "run %s, which started it, has not ended and may need it: delete it after that one has", parent).WithCode("run_needed")
		case needed:
			return fault.New(fault.Conflict, "a run that has not ended may have started it and need it: delete it after that one has").WithCode("run_needed")
		}
		return s.remove(ctx, tx, []string{run})
	}), "run")
}

// RemoveLate removes what came late. See app.History.
func (s *Store) RemoveLate(ctx context.Context, before time.Time) error {
	for {
		ids, err := s.texts(ctx, "removed_runs", before)
		if err != nil || len(ids) == 0 {
			return pg.Translate(err, "run")
		}
		err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
			for _, name := range []string{"delete_rows", "delete_logs", "delete_refs", "forget_removed"} {
				if _, err := tx.Exec(ctx, s.q[name], ids); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return pg.Translate(err, "run")
		}
	}
}

func (s *Store) texts(ctx context.Context, name string, args ...any) ([]string, error) {
	rows, err := s.pool.Query(ctx, s.q.Get(name), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// ProjectsWithRuns lists projects. See app.History.
func (s *Store) ProjectsWithRuns(ctx context.Context) ([]string, error) {
	out, err := s.texts(ctx, "projects_with_runs")
	return out, pg.Translate(err, "run")
}

// A day of history is a partition of each of three tables. It goes in steps that a crash may
// interrupt anywhere: the day of the runs is detached under a lock that whoever starts a run in
// the past shares, once nothing of it is needed; from then on nobody finds or starts a run there.
// Then the other two are detached, and all three dropped at once. What is found half done is gone
// on with: a day of runs that is no partition any more was free to go.

// dayLock is held shared by who starts a run in a past day, and alone by who detaches one.
const dayLock = "pelton history day"

// historyTable is a table of a day.
type historyTable struct {
	Name     string
	Attached bool
	Pending  bool // its detachment was begun and not ended
}

// DropDays drops whole days. See app.History.
func (s *Store) DropDays(ctx context.Context, before time.Time) (days, runs int, err error) {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return 0, 0, pg.Translate(err, "history")
	}
	defer c.Release()
	tables, err := historyTables(ctx, s, c)
	if err != nil {
		return 0, 0, pg.Translate(err, "history")
	}
	for _, t := range tables {
		text, ok := strings.CutPrefix(t.Name, "run_")
		day, perr := time.Parse("20060102", text)
		if !ok || perr != nil || day.AddDate(0, 0, 1).After(before) {
			continue
		}
		n, gone, err := s.dropDay(ctx, c, text, before)
		if err != nil {
			return days, runs, pg.Translate(err, "history of "+day.Format(time.DateOnly))
		}
		if gone {
			days++
			runs += n
		}
	}
	return days, runs, nil
}

func historyTables(ctx context.Context, s *Store, c *pgxpool.Conn) (map[string]historyTable, error) {
	rows, err := c.Query(ctx, s.q["history_tables"])
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[historyTable])
	out := make(map[string]historyTable, len(list))
	for _, t := range list {
		out[t.Name] = t
	}
	return out, err
}

// dropDay drops one day unless something of it is needed.
func (s *Store) dropDay(ctx context.Context, c *pgxpool.Conn, day string, before time.Time) (runs int, gone bool, err error) {
	mine, err := s.locked(ctx, dayLock, func(*pgxpool.Conn) error {
		tables, err := historyTables(ctx, s, c)
		if err != nil {
			return err
		}
		t, there := tables["run_"+day]
		if !there {
			return nil
		}
		var needed int
		err = c.QueryRow(ctx, fmt.Sprintf(`SELECT count(*), count(*) FILTER (WHERE finished_at IS NULL OR finished_at >= $1 OR run_needed(id, parent, trigger_kind, created_at)) FROM run_%s`, day), before).
			Scan(&runs, &needed)
		if err != nil || needed > 0 && t.Attached && !t.Pending {
			return err
		}
		gone = true
		return detach(ctx, c, "run", t)
	})
	if err != nil || !mine || !gone {
		return runs, false, err
	}
	tables, err := historyTables(ctx, s, c)
	if err != nil {
		return 0, false, err
	}
	for _, of := range []string{"journal", "log_chunk"} {
		if t, there := tables[of+"_"+day]; there {
			if err := detach(ctx, c, of, t); err != nil {
				return 0, false, err
			}
		}
	}
	from, _ := time.Parse("20060102", day)
	if _, err := c.Exec(ctx, s.q["delete_refs_between"], firstID(from), firstID(from.AddDate(0, 0, 1))); err != nil {
		return 0, false, err
	}
	_, err = c.Exec(ctx, fmt.Sprintf("DROP TABLE IF EXISTS run_%[1]s, journal_%[1]s, log_chunk_%[1]s", day))
	return runs, err == nil, err
}

// detachPatience is how long a detachment waits for readers; what is left then is ended by the next.
const detachPatience = "60s"

// detach takes a table out of the one that it is a part of, beside readers and writers.
func detach(ctx context.Context, c *pgxpool.Conn, of string, t historyTable) error {
	if !t.Attached {
		return nil
	}
	how := "CONCURRENTLY"
	if t.Pending {
		how = "FINALIZE"
	}
	if _, err := c.Exec(ctx, "SET statement_timeout = '"+detachPatience+"'"); err != nil {
		return err
	}
	_, err := c.Exec(ctx, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s %s", of, t.Name, how))
	if _, rerr := c.Exec(ctx, "RESET statement_timeout"); rerr != nil {
		_ = c.Conn().Close(context.WithoutCancel(ctx)) // it is not to go back with that setting
	}
	return err
}

// HoldDay keeps the day of a run's id from going. See app.History.
func (s *Store) HoldDay(ctx context.Context, run string) (release func(), err error) {
	s.days.Lock()
	defer s.days.Unlock()
	if s.days.holders == 0 {
		tx, err := s.pool.Begin(context.WithoutCancel(ctx)) // it is held for those who come later, too
		if err != nil {
			return nil, pg.Translate(err, "history")
		}
		if _, err = tx.Exec(ctx, "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", dayLock); err != nil {
			_ = tx.Rollback(context.WithoutCancel(ctx))
			return nil, pg.Translate(err, "history")
		}
		s.days.tx = tx
	}
	s.days.holders++
	if err := s.ensureDay(ctx, id.Time(run).UTC().Truncate(24*time.Hour), true); err != nil {
		s.days.release(ctx)
		return nil, err
	}
	return sync.OnceFunc(func() {
		s.days.Lock()
		defer s.days.Unlock()
		s.days.release(ctx)
	}), nil
}

// dayHold is this process's share of dayLock: one connection for however many hold it.
type dayHold struct {
	sync.Mutex
	holders int
	tx      pgx.Tx
}

// release needs the mutex.
func (d *dayHold) release(ctx context.Context) {
	if d.holders--; d.holders == 0 {
		_ = d.tx.Rollback(context.WithoutCancel(ctx))
	}
}

// ensureDay makes the partitions of a day that are not there.
func (s *Store) ensureDay(ctx context.Context, day time.Time, past bool) error {
	for _, p := range partitioned {
		name := p.table + day.Format("_20060102")
		var there, attached bool
		err := s.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) AND NOT inhdetachpending)", name).Scan(&there, &attached)
		switch {
		case err != nil:
			return pg.Translate(err, "partition")
		case past && there && !attached:
			return fault.New(fault.Unavailable, "the history of %s is being removed just now: try again in a moment", day.Format(time.DateOnly))
		case there:
			continue
		}
		ddl := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s PARTITION OF %s FOR VALUES FROM ('%s') TO ('%s')%s",
			name, p.table, firstID(day), firstID(day.AddDate(0, 0, 1)), p.with)
		if _, err := s.pool.Exec(ctx, ddl); err != nil {
			return pg.Translate(err, "partition "+name)
		}
	}
	return nil
}

// nullID is the id of a run, NULL for none.
func nullID(text string) (u pgtype.UUID) {
	if text == "" {
		return u
	}
	if p, err := uuid.Parse(text); err == nil {
		u = pgtype.UUID{Bytes: p, Valid: true}
	}
	return u
}
