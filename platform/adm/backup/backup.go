package backup

import (
	"archive/tar"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// Database is one database of the platform.
type Database struct {
	Service    string
	URL        string
	Migrations embed.FS // in the folder "migrations"
	// Restored ends the transaction in which the database is filled.
	Restored func(ctx context.Context, tx pgx.Tx) error
}

// Platform is what is backed up, or filled.
type Platform struct {
	Databases []Database
	Files     Files
	// Home holds the keys, and the bundles and dependencies of actions that run as local processes.
	Home string
	// Own tells that the database's server is the platform's own, which makes a service's database when that
	// first starts: one that is not there was never needed. Elsewhere it is a fault of the settings.
	Own bool
	// Lock names the lock, in the database of LockIn, under which files and runs are removed.
	Lock, LockIn string
	// Builds tells which artifacts the snapshot of the runner needs.
	Builds func(ctx context.Context, tx pgx.Tx) ([]string, error)
	Say    func(format string, args ...any)
}

// homeParts are the folders of a home that a backup holds.
var homeParts = []string{"keys", "bundles", "deps"}

// Write makes a backup while the platform works. Removal of files and of old runs rests meanwhile. The
// databases come first, each as it was at one moment, all within moments of each other; then the files:
// whatever a database mentions was there before it was mentioned.
func (p *Platform) Write(ctx context.Context, to io.Writer, head Head) (m Manifest, err error) {
	head.Format = format
	w, err := newWriter(to)
	if err != nil {
		return m, err
	}
	if err := w.json(headName, head); err != nil {
		return m, err
	}
	still, err := p.pauseRemoval(ctx)
	if err != nil {
		return m, err
	}
	defer still.Close(context.WithoutCancel(ctx))
	if m.Databases, m.Builds, err = p.writeDatabases(ctx, w); err != nil {
		return m, err
	}
	for _, part := range homeParts {
		if err := p.writeHome(ctx, w, part); err != nil {
			return m, fmt.Errorf("read %s of the home: %w", part, err)
		}
	}
	if m.Files, m.Bytes, err = p.writeFiles(ctx, w); err != nil {
		return m, err
	}
	// With the connection the lock would have gone, and with that perhaps a file.
	if err := still.Ping(ctx); err != nil {
		return m, fault.Wrap(err, fault.Unavailable, "the connection that kept files from being removed broke: begin again")
	}
	p.Say("%d files, %d bytes", m.Files, m.Bytes)
	return m, w.end(m)
}

// pauseRemoval takes the right to remove; a sweep that is under way is waited for, for up to 10 minutes.
func (p *Platform) pauseRemoval(ctx context.Context) (*pgx.Conn, error) {
	for _, d := range p.Databases {
		if d.Service != p.LockIn {
			continue
		}
		conn, err := pgx.Connect(ctx, d.URL)
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the database of %s does not answer", d.Service)
		}
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for try := 0; ; try++ {
			got := false
			err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", p.Lock).Scan(&got)
			if err != nil || got {
				return conn, pg.Translate(err, "lock")
			}
			if try == 0 {
				p.Say("waiting for a removal of old runs and files, or another backup, to end")
			}
			if try == 600 {
				_ = conn.Close(ctx)
				return nil, fault.New(fault.Conflict, "a removal of old runs and files, or another backup, has been under way for 10 minutes: try again later")
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				_ = conn.Close(context.WithoutCancel(ctx))
				return nil, ctx.Err()
			}
		}
	}
	return nil, fault.New(fault.Internal, "there is no database of %s", p.LockIn)
}

func (p *Platform) writeDatabases(ctx context.Context, w *writer) (rows map[string]map[string]int, builds []string, err error) {
	type open struct {
		conn *pgx.Conn
		tx   pgx.Tx
	}
	var opened []open
	defer func() {
		for _, o := range opened {
			if o.conn != nil {
				_ = o.conn.Close(context.WithoutCancel(ctx))
			}
		}
	}()
	for _, d := range p.Databases { // all snapshots before any copying
		conn, tx, err := snapshot(ctx, d.URL)
		if err != nil && (!p.Own || !isMissing(err)) {
			return nil, nil, fmt.Errorf("%s: %w", d.Service, err)
		}
		opened = append(opened, open{conn, tx})
	}
	rows = map[string]map[string]int{}
	for i, d := range p.Databases {
		if opened[i].conn == nil {
			rows[d.Service], err = never(w, d.Service)
		} else {
			rows[d.Service], err = dump(ctx, w, d.Service, opened[i].conn, opened[i].tx)
		}
		if err != nil {
			return nil, nil, err
		}
		if len(rows[d.Service]) == 0 {
			if d.Service == p.LockIn {
				return nil, nil, fault.New(fault.Invalid, "the database of %s is empty: the platform has never run on it", d.Service)
			}
			p.Say("database of %s: the service has never started on it", d.Service)
			continue
		}
		sum := 0
		for _, n := range rows[d.Service] {
			sum += n
		}
		p.Say("database of %s: %d rows", d.Service, sum)
		if d.Service == p.LockIn {
			if builds, err = p.Builds(ctx, opened[i].tx); err != nil {
				return nil, nil, err
			}
		}
	}
	return rows, builds, nil
}

// unfinished tells that something of a home, by its path in that, is still being made: a key, or the folder
// of a bundle or of dependencies, <part>/<project>/<name>.tmp-<pid>. What lies in a folder that is made is an
// author's, whatever it is called.
func unfinished(rel string) bool {
	p := strings.Split(filepath.ToSlash(rel), "/")
	if p[0] == "keys" {
		return strings.HasSuffix(rel, ".new")
	}
	return len(p) == 3 && strings.Contains(p[2], ".tmp-")
}

// writeHome writes a folder of the home as it lies there. What goes meanwhile is left out.
func (p *Platform) writeHome(ctx context.Context, w *writer, part string) error {
	base := filepath.Join(p.Home, part)
	return filepath.WalkDir(base, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(p.Home, path)
		if err != nil {
			return err
		}
		if unfinished(rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return writeEntry(w, path, "home/"+filepath.ToSlash(rel))
	})
}

func writeEntry(w *writer, path, name string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	switch mode := info.Mode(); {
	case mode.IsDir():
		h.Typeflag = tar.TypeDir
		return w.add(h, nil)
	case mode&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(path); err != nil {
			return err
		}
		return w.add(h, nil)
	case !mode.IsRegular():
		return nil // a socket, or the like
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return err
	}
	h.Size = info.Size()
	return w.add(h, f)
}

func (p *Platform) writeFiles(ctx context.Context, w *writer) (n int, bytes int64, err error) {
	err = p.Files.Walk(ctx, func(key string, size int64) error {
		f, err := p.Files.Open(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the source of a build that was dropped
		}
		if err != nil {
			return err
		}
		defer f.Close()
		n, bytes = n+1, bytes+size
		return w.add(&tar.Header{Name: "files/" + key, Size: size}, f)
	})
	return n, bytes, err
}

// Dangling lists the files of runs, and the folders of builds, that are mentioned and not there.
func Dangling(ctx context.Context, files Files, digests []string, key func(string) string) (missing []string, err error) {
	for _, d := range digests {
		there, err := files.Has(ctx, key(d))
		if err != nil {
			return missing, err
		}
		if !there {
			missing = append(missing, d)
		}
	}
	slices.Sort(missing)
	return missing, nil
}
