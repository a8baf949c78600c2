// Package postgres keeps accounts, projects and keys in PostgreSQL.
package postgres

import (
	"context"
	"embed"
	"time"

	"github.com/jackc/pgx/v5"

	authorizationv1 "github.com/pelton-run/pelton/platform/authorization/contracts/authorization/v1"
	"github.com/pelton-run/pelton/platform/authorization/internal/app"
	"github.com/pelton-run/pelton/platform/authorization/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// Migrations of the database.
//
//go:embed migrations/*.sql
var Migrations embed.FS

//go:embed sql/*.sql
var files embed.FS

// Statements are the SQL texts, for the test that prepares them.
func Statements() pg.Statements { return pg.Load(files, "sql") }

const exchange = "authorization.v1"

// Store implements app.Store.
type Store struct {
	pool   *pg.Pool
	sql    pg.Statements
	notify func()
}

// New makes a Store; notify is called after a commit that wrote messages.
func New(pool *pg.Pool, notify func()) *Store { return &Store{pool, Statements(), notify} }

var _ app.Store = (*Store)(nil)

type accountRow struct {
	ID        string    `db:"id"`
	Name      string    `db:"name"`
	Password  string    `db:"password"`
	Admin     bool      `db:"admin"`
	CreatedAt time.Time `db:"created_at"`
}

// AccountByName implements app.Store.
func (s *Store) AccountByName(ctx context.Context, name string) (domain.Account, error) {
	return s.account(ctx, "account_by_name", name)
}

// Account implements app.Store.
func (s *Store) Account(ctx context.Context, id string) (domain.Account, error) {
	return s.account(ctx, "account_get", id)
}

func (s *Store) account(ctx context.Context, query, arg string) (domain.Account, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get(query), arg)
	if err != nil {
		return domain.Account{}, pg.Translate(err, "account")
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[accountRow])
	if err != nil {
		return domain.Account{}, pg.Translate(err, "account")
	}
	a := domain.Account{ID: r.ID, Name: r.Name, Password: r.Password, Admin: r.Admin, CreatedAt: r.CreatedAt, Roles: map[string]string{}}
	if rows, err = s.pool.Query(ctx, s.sql.Get("member_list"), a.ID); err != nil {
		return domain.Account{}, pg.Translate(err, "account")
	}
	var project, role string
	_, err = pgx.ForEachRow(rows, []any{&project, &role}, func() error { a.Roles[project] = role; return nil })
	return a, pg.Translate(err, "account")
}

// Bootstrap implements app.Store.
func (s *Store) Bootstrap(ctx context.Context, a domain.Account, p domain.Project) (made bool, err error) {
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		made = false
		var n int
		if err := tx.QueryRow(ctx, s.sql.Get("account_count")).Scan(&n); err != nil || n > 0 {
			return err
		}
		tag, err := tx.Exec(ctx, s.sql.Get("account_add"), a.ID, a.Name, a.Password, a.Admin, a.CreatedAt)
		if err != nil {
			return err
		}
		made = tag.RowsAffected() == 1
		if _, err := tx.Exec(ctx, s.sql.Get("project_add"), p.Name, p.CreatedAt); err != nil {
			return err
		}
		m, err := outbox.NewMessage(exchange, &authorizationv1.ProjectCreated{Project: p.Name, AtUnixMs: p.CreatedAt.UnixMilli()}, p.CreatedAt)
		if err != nil {
			return err
		}
		return outbox.Append(ctx, tx, m)
	})
	s.notify()
	return made, pg.Translate(err, "account")
}

// Projects implements app.Store.
func (s *Store) Projects(ctx context.Context) ([]domain.Project, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("project_list"))
	if err != nil {
		return nil, pg.Translate(err, "projects")
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[domain.Project])
	return out, pg.Translate(err, "projects")
}

// AddKey implements app.Store.
func (s *Store) AddKey(ctx context.Context, k domain.Key) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("key_add"), k.ID, k.Project, k.Name, k.Role, k.Hash, k.CreatedBy, k.CreatedAt, k.ExpiresAt)
	return pg.Translate(err, "API key")
}

// Keys implements app.Store.
func (s *Store) Keys(ctx context.Context, project string) ([]domain.Key, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("key_list"), project)
	if err != nil {
		return nil, pg.Translate(err, "API keys")
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[domain.Key])
	return out, pg.Translate(err, "API keys")
}

// Key implements app.Store.
func (s *Store) Key(ctx context.Context, id string) (domain.Key, error) {
	rows, err := s.pool.Query(ctx, s.sql.Get("key_get"), id)
	if err != nil {
		return domain.Key{}, pg.Translate(err, "API key")
	}
	k, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[domain.Key])
	return k, pg.Translate(err, "API key")
}

// RevokeKey implements app.Store.
func (s *Store) RevokeKey(ctx context.Context, project, id string, now time.Time) error {
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.sql.Get("key_delete"), project, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return fault.New(fault.NotFound, "there is no such API key")
		}
		m, err := outbox.NewMessage(exchange, &authorizationv1.KeyRevoked{KeyId: id, Project: project, AtUnixMs: now.UnixMilli()}, now)
		if err != nil {
			return err
		}
		return outbox.Append(ctx, tx, m)
	})
	s.notify()
	return pg.Translate(err, "API key")
}

// AddCode implements app.Store.
func (s *Store) AddCode(ctx context.Context, hash []byte, account string, expires time.Time) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("code_add"), hash, account, expires)
	return pg.Translate(err, "code")
}

// TakeCode implements app.Store.
func (s *Store) TakeCode(ctx context.Context, hash []byte, now time.Time) (string, error) {
	var account string
	var expires time.Time
	if err := s.pool.QueryRow(ctx, s.sql.Get("code_take"), hash).Scan(&account, &expires); err != nil {
		return "", pg.Translate(err, "code")
	}
	_, _ = s.pool.Exec(ctx, s.sql.Get("code_prune"), now)
	if !expires.After(now) {
		return "", fault.New(fault.NotFound, "the code has expired")
	}
	return account, nil
}
