// Package pg opens and migrates PostgreSQL databases and runs transactions; driver errors
// become faults here.
package pg

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Pool is a pool of connections to one service's database.
type Pool = pgxpool.Pool

// Options of Open.
type Options struct {
	MaxConns int32 // Defaults to 10
}

// Open makes a pool for a postgres:// URL and checks that the database answers.
func Open(ctx context.Context, url string, o Options) (*Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "store: not a PostgreSQL URL")
	}
	cfg.MaxConns = o.MaxConns
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 10
	}
	cfg.MinConns = 1
	cfg.MaxConnIdleTime = 5 * time.Minute
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "open the database")
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fault.Wrap(err, fault.Unavailable, "%s", unanswered(err, cfg.ConnConfig))
	}
	return pool, nil
}

// unanswered says why a database does not answer, as far as the server tells; the codes are those of
// https://www.postgresql.org/docs/current/errcodes-appendix.html.
func unanswered(err error, c *pgx.ConnConfig) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "28P01", "28000":
			return fmt.Sprintf("the database server at %s does not let %s in: see user, password and sslmode of its URL", c.Host, c.User)
		case "3D000":
			return fmt.Sprintf("the database server at %s has no database %s", c.Host, c.Database)
		case "42501":
			return fmt.Sprintf("the database server at %s does not let %s into the database %s", c.Host, c.User, c.Database)
		case "53300":
			return fmt.Sprintf("the database server at %s has no connection left: see its max_connections", c.Host)
		}
	}
	return "the database does not answer"
}

// Migrate brings the database to the newest migration in dir of fsys. Several processes may
// call it at once: a session lock lets one migrate.
func Migrate(ctx context.Context, pool *Pool, fsys embed.FS, dir string) error {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	// Numbers are handed out before files are merged: a lower one may come later.
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithAllowOutofOrder(true),
		goose.WithSessionLocker(locker), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// Migrated lists the migrations that a database has had, in their order; nil for one without any.
func Migrated(ctx context.Context, tx pgx.Tx) ([]int64, error) {
	there := false
	if err := tx.QueryRow(ctx, "SELECT to_regclass('goose_db_version') IS NOT NULL").Scan(&there); err != nil || !there {
		return nil, Translate(err, "migration")
	}
	rows, err := tx.Query(ctx, "SELECT DISTINCT version_id FROM goose_db_version WHERE is_applied AND version_id > 0 ORDER BY 1")
	if err != nil {
		return nil, Translate(err, "migration")
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return out, Translate(err, "migration")
}

// MigrateTo gives an empty database exactly these migrations. One that fsys does not have is an invalid fault:
// they are of a newer version.
func MigrateTo(ctx context.Context, pool *Pool, fsys embed.FS, dir string, versions []int64) error {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithAllowOutofOrder(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	for _, v := range versions {
		_, err := provider.ApplyVersion(ctx, v, true)
		switch {
		case errors.Is(err, goose.ErrVersionNotFound):
			return fault.New(fault.Invalid, "this version does not know migration %d of the database: use the version that made the backup, or a newer one", v)
		case err != nil && !errors.Is(err, goose.ErrAlreadyApplied):
			return fmt.Errorf("migrate: %w", err)
		}
	}
	return nil
}

// InTx runs f in a transaction: committed when f returns nil, else rolled back. A serialization
// failure or deadlock runs f again, up to five times, so f has no effects outside of tx.
func InTx(ctx context.Context, pool *Pool, f func(tx pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, pool, f)
		var pgErr *pgconn.PgError
		if try < 5 && errors.As(err, &pgErr) && (pgErr.Code == "40001" || pgErr.Code == "40P01") {
			continue
		}
		return err
	}
}

// Translate makes faults of driver errors: no row is not_found naming what, a unique violation
// a conflict, a lost connection unavailable. Faults pass unchanged.
func Translate(err error, what string) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.NotFound, "there is no such %s", what)
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch {
		case pgErr.Code == "23505":
			return fault.Wrap(err, fault.Conflict, "such a %s exists already", what)
		case strings.HasPrefix(pgErr.Code, "23"):
			return fault.Wrap(err, fault.Conflict, "the %s refers to something that is not there", what)
		case strings.HasPrefix(pgErr.Code, "57P"), strings.HasPrefix(pgErr.Code, "53"), strings.HasPrefix(pgErr.Code, "08"):
			return fault.Wrap(err, fault.Unavailable, "the database is not available just now")
		}
		return fault.Wrap(err, fault.Internal, "%s", what)
	}
	if errors.Is(err, context.Canceled) {
		return fault.Wrap(err, fault.Cancelled, "the request was cancelled")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Timeout, "the database took too long")
	}
	var connErr *pgconn.ConnectError
	if errors.As(err, &connErr) || pgconn.SafeToRetry(err) {
		return fault.Wrap(err, fault.Unavailable, "the database is not available just now")
	}
	return fault.Wrap(err, fault.Internal, "%s", what)
}

// Statements are SQL texts by name: the file name without .sql.
type Statements map[string]string

// Load reads every .sql file of dir, one statement each. It panics on an unreadable embedded
// folder, which no running program can have.
func Load(fsys embed.FS, dir string) Statements {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	out := Statements{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".sql")
		if !ok {
			continue
		}
		text, err := fsys.ReadFile(path.Join(dir, e.Name()))
		if err != nil {
			panic(err)
		}
		out[name] = string(text)
	}
	return out
}

// Get is a statement by name; an unknown name panics, since it is a misprint in the program.
func (s Statements) Get(name string) string {
	text, ok := s[name]
	if !ok {
		panic("no SQL statement " + name)
	}
	return text
}

// Check prepares every statement against the schema and returns all that fail.
func Check(ctx context.Context, pool *Pool, s Statements) error {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	sort.Strings(names)
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var failed []error
	for _, name := range names {
		if _, err := conn.Conn().Prepare(ctx, "check_"+name, s[name]); err != nil {
			failed = append(failed, fmt.Errorf("%s.sql: %w", name, err))
		}
	}
	return errors.Join(failed...)
}
