// Package pgtest gives each test a database of its own on a real PostgreSQL: a template per
// service and state of its migrations, a copy per test.
package pgtest

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgserver"
)

var server struct {
	once sync.Once
	url  string // of the superuser, database postgres
	stop func()
	err  error
}

// Env names the variable with a superuser's URL; without it a private server is started for the
// test process and stopped by Main.
const Env = "PELTON_TEST_POSTGRES"

// Main runs the tests of a package and stops the private server: func TestMain(m *testing.M) { pgtest.Main(m) }.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop ends the private server, if one was started.
func Stop() {
	if server.stop != nil {
		server.stop()
	}
}

func superURL() (string, error) {
	server.once.Do(func() {
		if server.url = os.Getenv(Env); server.url != "" {
			return
		}
		dir, err := os.MkdirTemp("", "pelton-pgtest-")
		if err != nil {
			server.err = err
			return
		}
		_ = os.Chmod(dir, 0o755)
		s, err := pgserver.Start(context.Background(), pgserver.Config{Dir: dir})
		if err != nil {
			server.err = err
			return
		}
		server.url = s.SuperURL("postgres")
		server.stop = func() { s.Stop(); os.RemoveAll(dir) }
	})
	return server.url, server.err
}

var (
	templates sync.Map // name -> *sync.Once result
	counter   atomic.Int64
)

type template struct {
	once sync.Once
	err  error
}

// New is a pool on a fresh copy of the service's migrated database, dropped when the test ends.
func New(t testing.TB, service string, migrations embed.FS, dir string) *pg.Pool {
	t.Helper()
	pool, _ := NewURL(t, service, migrations, dir)
	return pool
}

// NewURL is New that also tells the database's URL.
func NewURL(t testing.TB, service string, migrations embed.FS, dir string) (*pg.Pool, string) {
	t.Helper()
	super, err := superURL()
	if err != nil {
		t.Fatalf("no PostgreSQL for tests: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sum, err := digest(migrations, dir)
	if err != nil {
		t.Fatal(err)
	}
	name := "tpl_" + service + "_" + sum
	entry, _ := templates.LoadOrStore(name, &template{})
	tpl := entry.(*template)
	tpl.once.Do(func() { tpl.err = makeTemplate(ctx, super, name, migrations, dir) })
	if tpl.err != nil {
		t.Fatalf("template of %s: %v", service, tpl.err)
	}
	db := fmt.Sprintf("t_%s_%d_%d", service, os.Getpid(), counter.Add(1))
	if err := exec(ctx, super, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", db, name)); err != nil {
		t.Fatal(err)
	}
	dbURL := withDatabase(super, db)
	pool, err := pg.Open(ctx, dbURL, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pool.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := exec(ctx, super, "DROP DATABASE IF EXISTS "+db+" WITH (FORCE)"); err != nil {
			t.Logf("drop the test database: %v", err)
		}
	})
	return pool, dbURL
}

// Empty makes empty databases, dropped when the test ends, and gives the superuser's URL whose path
// is what their names begin with: name "x" is the URL with "x" at its end.
func Empty(t testing.TB, names ...string) (prefixURL string) {
	t.Helper()
	super, err := superURL()
	if err != nil {
		t.Fatalf("no PostgreSQL for tests: %v", err)
	}
	prefix := fmt.Sprintf("e_%d_%d_", os.Getpid(), counter.Add(1))
	for _, name := range names {
		db := prefix + name
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := exec(ctx, super, "CREATE DATABASE "+db)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := exec(ctx, super, "DROP DATABASE IF EXISTS "+db+" WITH (FORCE)"); err != nil {
				t.Logf("drop the test database: %v", err)
			}
		})
	}
	return withDatabase(super, prefix)
}

// Owned makes empty databases, each with an owner of its own who alone may connect, dropped when
// the test ends. It gives for each name its owner's URL, whose path is what the database's name
// begins with.
func Owned(t testing.TB, names ...string) map[string]string {
	t.Helper()
	prefixed, err := url.Parse(Empty(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	urls := map[string]string{}
	for _, name := range names {
		db := strings.TrimPrefix(prefixed.Path, "/") + name
		for _, sql := range []string{
			fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", db, db), fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", db, db), fmt.Sprintf("REVOKE CONNECT ON DATABASE %s FROM PUBLIC", db),
		} {
			if err := exec(ctx, server.url, sql); err != nil {
				t.Fatal(err)
			}
		}
		own := *prefixed
		own.User = url.UserPassword(db, db)
		urls[name] = own.String()
	}
	return urls
}

// makeTemplate builds the template under another name and renames it, so that a name exists
// only whole, also when several test processes share the server.
func makeTemplate(ctx context.Context, super, name string, migrations embed.FS, dir string) error {
	conn, err := pgx.Connect(ctx, super)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", name); err != nil {
		return err
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
		return err
	}
	building := fmt.Sprintf("%s_%d", name, os.Getpid())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+building); err != nil {
		return err
	}
	pool, err := pg.Open(ctx, withDatabase(super, building), pg.Options{MaxConns: 4})
	if err != nil {
		return err
	}
	err = pg.Migrate(ctx, pool, migrations, dir)
	pool.Close()
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+building+" RENAME TO "+name)
	return err
}

func exec(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func withDatabase(super, name string) string {
	u, err := url.Parse(super)
	if err != nil {
		return super
	}
	u.Path = "/" + name
	return u.String()
}

func digest(fsys embed.FS, dir string) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(fsys, dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fsys.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s\n", filepath.Base(path), len(data), data)
		return err
	})
	return strings.ToLower(hex.EncodeToString(h.Sum(nil))[:12]), err
}
