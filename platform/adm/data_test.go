package adm

import (
	"bytes"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/adm/backup"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/server"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// databases are those of a platform whose services in started have started; those in missing are not there.
func databases(t *testing.T, started, missing []string) *backup.Platform {
	t.Helper()
	p := &backup.Platform{Home: t.TempDir(), Lock: runner.Collection, LockIn: "runner", Builds: builds, Say: t.Logf}
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
