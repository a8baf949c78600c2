package pgserver_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/pgserver"
)

func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-pg-") //nolint:usetesting // the database's user has to reach it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "pg")
}

func exec(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func start(t *testing.T, dir string, databases ...string) *pgserver.Server {
	t.Helper()
	s, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir, Databases: databases})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

// Each service reaches its own database with its own password, and no other; nothing is trusted.
func TestDatabasesAreApart(t *testing.T) {
	s := start(t, home(t), "pelton_a", "pelton_b")
	require.NoError(t, exec(t, s.URL("pelton_a"), "CREATE TABLE t (x int)"))
	u, err := pgx.ParseConfig(s.URL("pelton_a"))
	require.NoError(t, err)
	u.Database = "pelton_b"
	_, err = pgx.ConnectConfig(t.Context(), u)
	require.ErrorContains(t, err, "permission denied for database")
	u.Database, u.Password = "pelton_a", "guess"
	_, err = pgx.ConnectConfig(t.Context(), u)
	require.ErrorContains(t, err, "password authentication failed")
	require.Error(t, exec(t, s.URL("pelton_a"), "CREATE ROLE boss SUPERUSER"))
	info, err := os.Stat(filepath.Join(filepath.Dir(s.DataDir()), "passwords.json"))
	if err == nil { // as root the data may lie elsewhere
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

// The data outlives a stop and a lost file of passwords.
func TestDataIsKept(t *testing.T) {
	dir := home(t)
	s := start(t, dir, "pelton_a")
	require.NoError(t, exec(t, s.URL("pelton_a"), "CREATE TABLE kept (x int)"))
	before := s.URL("pelton_a")
	s.Stop()
	require.NoError(t, os.Remove(filepath.Join(dir, "passwords.json")))
	s = start(t, dir, "pelton_a", "pelton_new")
	require.NotEqual(t, before, s.URL("pelton_a"), "new passwords")
	require.NoError(t, exec(t, s.URL("pelton_a"), "INSERT INTO kept VALUES (1)"))
	require.NoError(t, exec(t, s.URL("pelton_new"), "SELECT 1"))
	url, err := pgserver.SuperURLOf(dir, "pelton_a")
	require.NoError(t, err)
	require.NoError(t, exec(t, url, "SELECT * FROM kept"))
	_, err = pgserver.SuperURLOf(filepath.Join(dir, "nowhere"), "pelton_a")
	require.ErrorContains(t, err, "no database of a Pelton lies in")
}

// A file that a killed server left is no obstacle when its number has gone to another program.
func TestStaleFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("what a process works on cannot be read here: PostgreSQL refuses to start then, with words")
		return
	}
	dir := home(t)
	s := start(t, dir, "pelton_a")
	data := s.DataDir()
	require.NoError(t, exec(t, s.URL("pelton_a"), "CREATE TABLE t (x int)"))
	s.Stop()
	require.NoError(t, os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte(strconv.Itoa(os.Getpid())+"\n"+data+"\n1\n5432\n/tmp\n\n0 0\nready\n"), 0o644))
	s = start(t, dir, "pelton_a")
	require.NoError(t, exec(t, s.URL("pelton_a"), "INSERT INTO t VALUES (1)"))
}
