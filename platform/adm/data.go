package adm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pelton-run/pelton/platform/adm/backup"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/server"
)

func (t *tool) backupCommand() *cobra.Command {
	i := &installation{}
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write databases, files and keys into one file while the platform works",
		Long: `Write what the platform keeps into FILE: its databases, each as it was at one moment, then its files, keys
and builds. The platform goes on working; old runs and files are not removed meanwhile.

With -n it does so on a cluster: a pod of the installation's image reads the data and writes them to FILE here.

FILE holds the keys that sign and encrypt: keep it as you keep those. It appears under its name once it is whole.`,
		Example: "  pelton-adm backup /srv/backups/monday.pelton --home /srv/pelton\n  pelton-adm backup monday.pelton -n pelton",
		Args:    exactly(1, "backup FILE [--home DIR | --config FILE | -n NAMESPACE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			on, err := t.onCluster(i)
			if err != nil {
				return err
			}
			if on {
				return t.backupCluster(cmd.Context(), i, args[0])
			}
			return t.backup(cmd.Context(), args[0])
		},
	}
	t.data(cmd)
	i.inCluster(cmd)
	return cmd
}

func (t *tool) restoreCommand() *cobra.Command {
	var o backup.Options
	i := &installation{}
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Fill an empty platform from a backup",
		Long: `Fill a platform, none of whose processes may run, from a backup. The whole file is checked first. A restore
that broke off is begun again with the same file.

Afterwards nothing is deployed, repositories deploy nothing by themselves, and every run that had not ended is
paused (restored): pelton run resume lets it go on, pelton run cancel ends it.

With -n it fills an installation on a cluster: its services are stopped, a pod of its image fills databases and
filestore, the secrets get the backup's keys, and the services are started again.`,
		Example: "  pelton-adm restore /srv/backups/monday.pelton --home /srv/pelton-again\n  pelton-adm restore monday.pelton -n pelton --replace",
		Args:    exactly(1, "restore FILE [--home DIR | --config FILE | -n NAMESPACE] [--replace]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			on, err := t.onCluster(i)
			if err != nil {
				return err
			}
			if on {
				return t.restoreCluster(cmd.Context(), i, args[0], o)
			}
			return t.restore(cmd.Context(), args[0], o)
		},
	}
	t.data(cmd)
	i.inCluster(cmd)
	cmd.Flags().BoolVar(&o.Replace, "replace", false, "remove what the databases hold first")
	return cmd
}

// mayRestoreCommand is what restore asks on a cluster before it stops services: a restore that is refused must
// not stop anything.
func (t *tool) mayRestoreCommand() *cobra.Command {
	var o backup.Options
	cmd := &cobra.Command{
		Use: "may-restore ID", Short: "Tell whether a backup may be restored", Hidden: true,
		Long: "Tell whether databases and filestore would take the backup of that id. It changes nothing.",
		Args: exactly(1, "may-restore ID --config FILE [--replace]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, p, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			return p.Check(cmd.Context(), backup.Head{ID: args[0]}, o)
		},
	}
	t.data(cmd)
	cmd.Flags().BoolVar(&o.Replace, "replace", false, "remove what the databases hold first")
	return cmd
}

// open opens what the settings name, beside a platform that may run.
func (t *tool) open(ctx context.Context) (*server.Data, *backup.Platform, error) {
	cfg, err := t.settings()
	if err != nil {
		return nil, nil, err
	}
	d, err := server.OpenData(ctx, cfg, false, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	p, err := t.platform(d)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	return d, p, nil
}

// platform is what the settings name, as a backup sees it.
func (t *tool) platform(d *server.Data) (*backup.Platform, error) {
	p := &backup.Platform{Home: d.Config.Home, Lock: runner.Collection, LockIn: "runner", Own: d.Own, Builds: builds, Say: t.say}
	for _, db := range server.Databases() {
		p.Databases = append(p.Databases, backup.Database{Service: db.Service, URL: d.Store(db.Service), Migrations: db.Migrations, Restored: db.Restored})
	}
	dir, bucket, err := d.Files()
	if err != nil {
		return nil, err
	}
	if p.Files = backup.Dir(dir); bucket != nil {
		p.Files = backup.Bucket{Bucket: bucket}
	}
	return p, nil
}

func builds(ctx context.Context, tx pgx.Tx) ([]string, error) {
	m, err := runner.Mentioned(ctx, tx)
	var out []string
	for _, b := range m.Builds {
		out = append(out, b.Artifact)
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

func (t *tool) backup(ctx context.Context, file string) error {
	d, p, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	head := backup.Head{ID: id.New(), Version: server.Version, At: time.Now().UTC()}
	if err := server.CheckRestored(d.Config.Home); err != nil {
		return err
	}
	write := func(to io.Writer) error { _, err := p.Write(ctx, to, head); return err }
	if file == "-" {
		return write(t.stdout)
	}
	return t.keep(file, write)
}

// keep has a backup written to a file, which gets its name once it has been found whole.
func (t *tool) keep(file string, write func(io.Writer) error) error {
	if _, err := os.Lstat(file); err == nil {
		return fault.New(fault.Conflict, "%s is there already: give another name", file)
	}
	// A name of its own: a second backup to the same FILE, which waits for the first one's end, must not empty it.
	out, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part") // mode 0600
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "%s cannot be written: %s", file, err)
	}
	var head backup.Head
	var m backup.Manifest
	if err = errors.Join(write(out), out.Sync()); err == nil {
		if _, err = out.Seek(0, io.SeekStart); err == nil {
			head, m, err = backup.Verify(out)
		}
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "backup %s in %s: %d runs, %d of them under way, %d files, %s\n", head.ID, file, m.Databases["runner"]["run"], m.Databases["runner"]["live_run"], m.Files, size(info.Size()))
	return nil
}

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}

func (t *tool) restore(ctx context.Context, file string, o backup.Options) error {
	cfg, err := t.settings()
	if err != nil {
		return err
	}
	in, done, err := t.input(file)
	if err != nil {
		return err
	}
	defer done()
	t.say("checking the backup")
	head, m, err := backup.Verify(in)
	if err != nil {
		return err
	}
	t.say("backup %s of %s, made by version %s", head.ID, head.At.Format(time.RFC3339), head.Version)
	d, err := server.OpenData(ctx, cfg, true, slog.New(slog.DiscardHandler))
	if errors.Is(err, server.ErrRunning) {
		return fault.New(fault.Conflict, "a peltond of %s runs: stop it, or restore into another home", cfg.Home)
	}
	if err != nil {
		return err
	}
	defer d.Close()
	p, err := t.platform(d)
	if err != nil {
		return err
	}
	if err := p.Check(ctx, head, o); err != nil {
		return err
	}
	mark := filepath.Join(d.Config.Home, server.RestoringFile)
	if err := os.WriteFile(mark, []byte(head.ID+"\n"), 0o600); err != nil {
		return fault.Wrap(err, fault.Invalid, "home: %s is not writable", d.Config.Home)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := p.Restore(ctx, in, head, o); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil {
		return err
	}
	missing := missingBundles(d.Config.Home, m.Builds)
	fmt.Fprintf(t.stdout, "restored backup %s: %d runs, %d files; nothing is deployed\n", head.ID, m.Databases["runner"]["run"], m.Files)
	if n := m.Databases["runner"]["live_run"]; n > 0 {
		fmt.Fprintf(t.stdout, "%d runs that had not ended are paused (restored): see `pelton run list --state paused`, then `pelton run resume` or `pelton run cancel`\n", n)
	}
	for _, b := range missing {
		fmt.Fprintf(t.stdout, "missing: the build %s, which runs need: scan its repository again\n", b)
	}
	return nil
}

// input is the backup file; standard input is kept in a temporary one, since it is read twice.
func (t *tool) input(file string) (*os.File, func(), error) {
	if file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fault.New(fault.NotFound, "there is no file %s", file)
		}
		if err != nil {
			return nil, nil, err
		}
		return f, func() { f.Close() }, nil
	}
	f, err := os.CreateTemp("", "pelton-restore-")
	if err != nil {
		return nil, nil, err
	}
	done := func() { f.Close(); os.Remove(f.Name()) }
	if _, err = io.Copy(f, t.stdin); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return f, done, nil
}

// missingBundles are the local builds that are not in a home; bundles are found by project and digest,
// wherever they were made.
func missingBundles(home string, artifacts []string) (missing []string) {
	for _, a := range artifacts {
		dir, ok := strings.CutPrefix(a, "file://")
		if !ok {
			continue
		}
		place := filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir))
		if _, err := os.Stat(filepath.Join(home, "bundles", place, "bundle.json")); err != nil {
			missing = append(missing, place)
		}
	}
	return missing
}
