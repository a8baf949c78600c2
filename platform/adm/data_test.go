package adm

import (
	"bytes"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/adm/backup"
	"github.com/pelton-run/pelton/platform/adm/checks"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/server"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// home is a folder that other users reach: root's would be placed elsewhere.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pelton-adm-") //nolint:usetesting // reachable for other users
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// databases are those of a platform whose services in started have started; those in missing are not there.
func databases(t *testing.T, started, missing []string) *backup.Platform {
	t.Helper()
	p := &backup.Platform{Home: home(t), Lock: runner.Collection, LockIn: "runner", Builds: builds, Say: t.Logf}
	p.Files = backup.Dir(filepath.Join(p.Home, "files"))
	var names []string
	for _, db := range server.Databases() {
		if !slices.Contains(missing, db.Service) {
			names = append(names, db.Service)
		}
	}
	prefix, err := url.Parse(pgtest.Empty(t, names...))
	require.NoError(t, err)
	for _, db := range server.Databases() {
		u := *prefix
		u.Path += db.Service
		p.Databases = append(p.Databases, backup.Database{Service: db.Service, URL: u.String(), Migrations: db.Migrations, Restored: db.Restored})
		if slices.Contains(started, db.Service) {
			require.NoError(t, migrate(t, p.Databases[len(p.Databases)-1]))
		}
	}
	return p
}

func migrate(t *testing.T, d backup.Database) error {
	t.Helper()
	pool, err := pg.Open(t.Context(), d.URL, pg.Options{MaxConns: 2})
	require.NoError(t, err)
	defer pool.Close()
	return pg.Migrate(t.Context(), pool, d.Migrations, "migrations")
}

// TestServicesNeverStarted: a runner alone, and a home of a version that had fewer services, are backed up and
// restored; what a service had never started on is as empty afterwards, and the service starts on it.
func TestServicesNeverStarted(t *testing.T) {
	ctx := t.Context()
	write := func(p *backup.Platform) (*bytes.Reader, backup.Head, error) {
		var file bytes.Buffer
		head := backup.Head{ID: id.New(), Version: "test", At: time.Now().UTC()}
		_, err := p.Write(ctx, &file, head)
		return bytes.NewReader(file.Bytes()), head, err
	}
	old := databases(t, []string{"authorization", "repository", "studio", "runner"}, []string{"bridge"})
	_, _, err := write(old)
	require.ErrorContains(t, err, "bridge: its server has no such database", "on a server that is somebody else's, a database that is not there is a fault of the settings")
	old.Own = true
	for name, from := range map[string]*backup.Platform{"a version before": old, "a runner alone": databases(t, []string{"authorization", "runner"}, nil)} {
		t.Run(name, func(t *testing.T) {
			file, head, err := write(from)
			require.NoError(t, err)
			_, m, err := backup.Verify(file)
			require.NoError(t, err)
			require.Empty(t, m.Databases["bridge"])
			require.NotEmpty(t, m.Databases["runner"])
			to := databases(t, nil, nil)
			_, err = file.Seek(0, 0)
			require.NoError(t, err)
			require.NoError(t, to.Check(ctx, head, backup.Options{}))
			require.NoError(t, to.Restore(ctx, file, head, backup.Options{}))
			_, _, err = write(to)
			require.NoError(t, err, "it is backed up again as it is")
			for _, d := range to.Databases {
				require.NoError(t, migrate(t, d), d.Service)
			}
		})
	}
	_, _, err = write(databases(t, []string{"authorization"}, nil))
	require.ErrorContains(t, err, "the database of runner is empty: the platform has never run on it")
}

// command is the tool, on the data of a platform.
func command(p *backup.Platform, stdout, stderr *bytes.Buffer) *tool {
	t := &tool{home: p.Home, environ: []string{"PELTON_STORE=postgres://nowhere/"}, stdin: strings.NewReader(""), stdout: stdout, stderr: stderr}
	for _, d := range p.Databases {
		t.environ = append(t.environ, "PELTON_STORES_"+strings.ToUpper(d.Service)+"="+d.URL)
	}
	return t
}

// TestBackupFile: what another backup to the same file is writing is left alone, nothing but the file stays
// behind, and a home that is half restored is not backed up.
func TestBackupFile(t *testing.T) {
	p := databases(t, []string{"authorization", "repository", "studio", "runner", "bridge"}, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "b")
	require.NoError(t, os.WriteFile(file+".part", []byte("another's"), 0o600))
	var stdout, stderr bytes.Buffer
	require.NoError(t, command(p, &stdout, &stderr).backup(t.Context(), file), stderr.String())
	require.Contains(t, stdout.String(), "0 runs")
	other, err := os.ReadFile(file + ".part")
	require.NoError(t, err)
	require.Equal(t, "another's", string(other))
	there, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Equal(t, []string{file, file + ".part"}, there)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.WriteFile(filepath.Join(p.Home, server.RestoringFile), nil, 0o600))
	err = command(p, &stdout, &stderr).backup(t.Context(), filepath.Join(dir, "c"))
	require.ErrorContains(t, err, "has not come to its end")
}

// TestNoHome: what only looks makes no platform where there is none.
func TestNoHome(t *testing.T) {
	dir := home(t)
	var out bytes.Buffer
	c := &tool{home: dir, stdout: &out, stderr: &out}
	require.ErrorContains(t, c.backup(t.Context(), filepath.Join(dir, "b")), "home: no Pelton has its data in "+dir)
	require.ErrorContains(t, c.checkData(t.Context(), &checks.Table{}), "home: no Pelton has its data in "+dir)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestHomeParts: of a home come the folders that are made, whole, and not those that are being made.
func TestHomeParts(t *testing.T) {
	from, to := databases(t, []string{"runner"}, nil), databases(t, nil, nil)
	const bundle = "bundles/p/0123/"
	kept := []string{"keys/secrets.key", bundle + "bundle.json", bundle + "code/list.new", bundle + "code/a.tmp-1/x", "deps/p/4567/lib/b.new"}
	for _, name := range append([]string{"keys/calls.pem.new", "bundles/p/89ab.tmp-1/bundle.json", "deps/p/cdef.tmp-1/x", "run/lock"}, kept...) {
		require.NoError(t, os.MkdirAll(filepath.Join(from.Home, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(from.Home, name), []byte(name), 0o600))
	}
	var file bytes.Buffer
	head := backup.Head{ID: id.New(), At: time.Now().UTC()}
	_, err := from.Write(t.Context(), &file, head)
	require.NoError(t, err)
	require.NoError(t, to.Restore(t.Context(), &file, head, backup.Options{}))
	var got []string
	require.NoError(t, filepath.WalkDir(to.Home, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(to.Home, path)
			got = append(got, rel)
		}
		return err
	}))
	require.ElementsMatch(t, kept, got)
}
