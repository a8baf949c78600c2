package backup

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// schema is what a database is made of, beside what its migrations say.
type schema struct {
	Migrations []int64    `json:"migrations"`
	Tables     []table    `json:"tables"` // referred ones first
	Identities []identity `json:"identities"`
}

type table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Parent  string   `json:"parent,omitempty"` // it is a partition of
	Bound   string   `json:"bound,omitempty"`
	Options []string `json:"options,omitempty"`
	oid     uint32
	divided bool // its rows are those of its partitions
}

// identity is how far the numbers of a column have come.
type identity struct {
	Table  string `json:"table"`
	Column string `json:"column"`
	Last   int64  `json:"last"`
	Called bool   `json:"called"`
}

// marker is the table that says which backup a database was filled from.
const marker = "restored_backup"

const listTables = `SELECT c.relname, coalesce(p.relname, ''), coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(c.reloptions, '{}'), c.oid, c.relkind = 'p',
    ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum)
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('goose_db_version', '` + marker + `') AND NOT coalesce(i.inhdetachpending, false)
ORDER BY c.relname`

const listReferences = `SELECT conrelid::bigint, confrelid::bigint FROM pg_constraint WHERE contype = 'f' AND connamespace = current_schema()::regnamespace`

const listIdentities = `SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attidentity <> '' AND NOT a.attisdropped ORDER BY 1, 2`

// snapshot opens a database for reading as it is now, whatever happens to it meanwhile.
func snapshot(ctx context.Context, url string) (*pgx.Conn, pgx.Tx, error) {
	conn, err := pgx.Connect(ctx, url)
	if isMissing(err) {
		return nil, nil, fault.Wrap(err, fault.NotFound, "its server has no such database: see store and stores in the settings")
	}
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Unavailable, "the database does not answer")
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err == nil {
		_, err = tx.Exec(ctx, "SELECT 1 FROM pg_class LIMIT 1") // the snapshot is taken by the first statement
	}
	if err != nil {
		_ = conn.Close(ctx)
		return nil, nil, pg.Translate(err, "database")
	}
	return conn, tx, nil
}

func readSchema(ctx context.Context, tx pgx.Tx) (s schema, err error) {
	if s.Migrations, err = pg.Migrated(ctx, tx); err != nil {
		return s, err
	}
	rows, err := tx.Query(ctx, listTables)
	if err != nil {
		return s, err
	}
	s.Tables, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t table, err error) {
		return t, row.Scan(&t.Name, &t.Parent, &t.Bound, &t.Options, &t.oid, &t.divided, &t.Columns)
	})
	if err != nil {
		return s, err
	}
	if rows, err = tx.Query(ctx, listReferences); err != nil {
		return s, err
	}
	refs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ From, To int64 }])
	if err != nil {
		return s, err
	}
	needs := map[uint32][]uint32{}
	for _, r := range refs {
		needs[uint32(r.From)] = append(needs[uint32(r.From)], uint32(r.To))
	}
	s.Tables = inOrder(s.Tables, needs)
	if rows, err = tx.Query(ctx, listIdentities); err != nil {
		return s, err
	}
	if s.Identities, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (i identity, err error) { return i, row.Scan(&i.Table, &i.Column) }); err != nil {
		return s, err
	}
	for k := range s.Identities {
		i := &s.Identities[k]
		var name string
		if err := tx.QueryRow(ctx, "SELECT pg_get_serial_sequence($1, $2)", quoted(i.Table), i.Column).Scan(&name); err != nil {
			return s, err
		}
		if err := tx.QueryRow(ctx, "SELECT last_value, is_called FROM "+name).Scan(&i.Last, &i.Called); err != nil { // name is quoted by the database
			return s, err
		}
	}
	return s, nil
}

// inOrder puts what others refer to before them.
func inOrder(tables []table, needs map[uint32][]uint32) []table {
	at := map[uint32]int{}
	for i, t := range tables {
		at[t.oid] = i
	}
	out, seen := make([]table, 0, len(tables)), map[uint32]bool{}
	var visit func(t table)
	visit = func(t table) {
		if seen[t.oid] {
			return
		}
		seen[t.oid] = true
		for _, n := range needs[t.oid] {
			if i, ok := at[n]; ok {
				visit(tables[i])
			}
		}
		out = append(out, t)
	}
	for _, t := range tables {
		visit(t)
	}
	return out
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func columns(t table) string {
	list := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		list[i] = quoted(c)
	}
	return strings.Join(list, ", ")
}

// isMissing tells that a server answered and does not have the database.
func isMissing(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "3D000"
}

// never writes a database that its service has never started on: a restore leaves it as empty as it was.
func never(w *writer, service string) (map[string]int, error) {
	return map[string]int{}, w.json("db/"+service+"/schema.json", schema{})
}

// dump writes a database as its snapshot shows it; it gives the rows of each table. Partitions are read
// one by one, which locks no parent: the service can make further ones meanwhile.
func dump(ctx context.Context, w *writer, service string, conn *pgx.Conn, tx pgx.Tx) (map[string]int, error) {
	s, err := readSchema(ctx, tx)
	if err != nil {
		return nil, pg.Translate(err, "schema")
	}
	switch {
	case len(s.Migrations) == 0 && len(s.Tables) > 0:
		return nil, fault.New(fault.Invalid, "the database of %s holds tables that are no platform's, such as %s: see store in the settings", service, s.Tables[0].Name)
	case len(s.Migrations) == 0:
		return never(w, service)
	}
	if err := w.json("db/"+service+"/schema.json", s); err != nil {
		return nil, err
	}
	rows := map[string]int{}
	for _, t := range s.Tables {
		if t.divided {
			continue
		}
		c := &chunks{w: w, name: "db/" + service + "/" + t.Name}
		tag, err := conn.PgConn().CopyTo(ctx, c, fmt.Sprintf("COPY %s (%s) TO STDOUT", quoted(t.Name), columns(t)))
		if err == nil {
			err = c.flush(len(c.buf))
		}
		if err != nil {
			return nil, fmt.Errorf("copy table %s of %s: %w", t.Name, service, pg.Translate(err, "table"))
		}
		name := t.Name
		if t.Parent != "" {
			name = t.Parent
		}
		rows[name] += int(tag.RowsAffected())
	}
	return rows, nil
}

// target is a database that is being filled.
type target struct {
	service  string
	conn     *pgx.Conn
	tx       pgx.Tx
	tables   map[string]table
	schema   schema
	restored func(context.Context, pgx.Tx) error
	skip     bool // it was filled by an earlier try
}

// What is found in a database that is to be filled.
const (
	empty  = iota
	begun  // by an earlier try with this backup
	filled // by an earlier try with this backup
	other
)

func look(ctx context.Context, pool *pg.Pool, id string) (int, error) {
	var marked, tables bool
	err := pool.QueryRow(ctx, `SELECT to_regclass('`+marker+`') IS NOT NULL, EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p'))`).Scan(&marked, &tables)
	switch {
	case err != nil:
		return other, pg.Translate(err, "database")
	case !tables:
		return empty, nil
	case !marked:
		return other, nil
	}
	var was string
	var done bool
	err = pool.QueryRow(ctx, "SELECT id, done FROM "+marker).Scan(&was, &done)
	switch {
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return other, pg.Translate(err, "marker")
	case was == id && done:
		return filled, nil
	case was == id:
		return begun, nil
	}
	return other, nil
}

func notEmpty(service string) error {
	return fault.New(fault.Conflict, "the database of %s is not empty: restore into an empty platform, or say --replace, which removes what it holds", service)
}

// openTarget makes a database ready to be filled by the backup id: it has to be empty, or the rest of an
// earlier try. replace empties it first.
func openTarget(ctx context.Context, url, service, id string, s schema, migrations embed.FS, replace bool) (*target, error) {
	pool, err := pg.Open(ctx, url, pg.Options{MaxConns: 2})
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	found, err := look(ctx, pool, id)
	if err != nil {
		return nil, err
	}
	t := &target{service: service, schema: s, tables: map[string]table{}}
	switch {
	case found == filled && !replace:
		t.skip = true
		return t, nil
	case found == begun || found != empty && replace: // what an earlier try left is begun anew
		if _, err := pool.Exec(ctx, `DO $$ BEGIN EXECUTE format('DROP SCHEMA %I CASCADE; CREATE SCHEMA %I', current_schema(), current_schema()); END $$`); err != nil {
			return nil, fault.Wrap(err, fault.Forbidden, "the database of %s cannot be emptied: %s", service, err)
		}
	case found == other:
		return nil, notEmpty(service)
	}
	if _, err := pool.Exec(ctx, "CREATE TABLE "+marker+" (id text NOT NULL, done boolean NOT NULL, at timestamptz NOT NULL DEFAULT now())"); err != nil {
		return nil, pg.Translate(err, "marker")
	}
	if _, err := pool.Exec(ctx, "INSERT INTO "+marker+" VALUES ($1, false)", id); err != nil {
		return nil, pg.Translate(err, "marker")
	}
	if err := pg.MigrateTo(ctx, pool, migrations, "migrations", s.Migrations); err != nil {
		return nil, err
	}
	if t.conn, err = pgx.Connect(ctx, url); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the database does not answer")
	}
	if t.tx, err = t.conn.Begin(ctx); err == nil {
		err = t.prepare(ctx)
	}
	if err != nil {
		_ = t.conn.Close(ctx)
		return nil, pg.Translate(err, "database")
	}
	return t, nil
}

// prepare empties what migrations have put into tables and makes the partitions.
func (t *target) prepare(ctx context.Context) error {
	now, err := readSchema(ctx, t.tx)
	if err != nil {
		return err
	}
	for _, have := range now.Tables {
		if _, err := t.tx.Exec(ctx, "TRUNCATE "+quoted(have.Name)+" CASCADE"); err != nil {
			return err
		}
	}
	for _, want := range t.schema.Tables {
		t.tables[want.Name] = want
		if want.Parent != "" {
			with := ""
			if len(want.Options) > 0 {
				with = " WITH (" + strings.Join(want.Options, ", ") + ")"
			}
			if _, err := t.tx.Exec(ctx, fmt.Sprintf("CREATE TABLE %s PARTITION OF %s %s%s", quoted(want.Name), quoted(want.Parent), want.Bound, with)); err != nil {
				return err
			}
			continue
		}
		// What a removal of old days had detached, and was about to drop, no migration makes.
		if !slices.ContainsFunc(now.Tables, func(h table) bool { return h.Name == want.Name }) {
			delete(t.tables, want.Name)
		}
	}
	return nil
}

// load fills a table from its chunks.
func (t *target) load(ctx context.Context, name string, r io.Reader) error {
	into, ok := t.tables[name]
	if t.skip || !ok {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	_, err := t.conn.PgConn().CopyFrom(ctx, r, fmt.Sprintf("COPY %s (%s) FROM STDIN", quoted(name), columns(into)))
	if err != nil {
		return fmt.Errorf("fill table %s of %s: %w", name, t.service, pg.Translate(err, "table"))
	}
	return nil
}

// finish lets the service end the transaction, and commits.
func (t *target) finish(ctx context.Context) error {
	if t.skip {
		return nil
	}
	defer t.conn.Close(ctx)
	for _, i := range t.schema.Identities {
		if _, err := t.tx.Exec(ctx, "SELECT setval(pg_get_serial_sequence($1, $2), $3, $4)", quoted(i.Table), i.Column, i.Last, i.Called); err != nil {
			return pg.Translate(err, "numbers of "+i.Table)
		}
	}
	if len(t.schema.Migrations) > 0 { // else the service had never started on it
		if err := t.restored(ctx, t.tx); err != nil {
			return fmt.Errorf("restore %s: %w", t.service, err)
		}
	}
	if _, err := t.tx.Exec(ctx, "UPDATE "+marker+" SET done = true, at = now()"); err != nil {
		return pg.Translate(err, "marker")
	}
	return pg.Translate(t.tx.Commit(ctx), "database")
}

func (t *target) close(ctx context.Context) {
	if t.conn != nil {
		_ = t.conn.Close(ctx)
	}
}

// pieces reads the chunks of one table one after the other: take gives the next entry's content, nil at
// the table's end.
type pieces struct {
	take func() (io.Reader, error)
	now  io.Reader
}

func (p *pieces) Read(b []byte) (int, error) {
	for {
		if p.now == nil {
			next, err := p.take()
			if err != nil {
				return 0, err
			}
			if next == nil {
				return 0, io.EOF
			}
			p.now = next
		}
		n, err := p.now.Read(b)
		if errors.Is(err, io.EOF) {
			p.now, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}
