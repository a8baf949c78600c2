package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// Options of Restore.
type Options struct {
	// Replace empties databases that hold something. Defaults to false: they are refused.
	Replace bool
}

// Check tells whether Restore may begin, and changes nothing.
func (p *Platform) Check(ctx context.Context, head Head, o Options) error {
	for _, d := range p.Databases {
		pool, err := pg.Open(ctx, d.URL, pg.Options{MaxConns: 1})
		if err != nil {
			return fmt.Errorf("%s: %w", d.Service, err)
		}
		found, err := look(ctx, pool, head.ID)
		pool.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", d.Service, err)
		}
		if found == other && !o.Replace {
			return notEmpty(d.Service)
		}
	}
	return nil
}

// Restore fills an empty platform, none of whose services may run, from a backup that Verify has found
// whole. A try that broke off is begun again with the same backup: what is filled is left. Nothing is
// deployed afterwards and no run goes on: see the services' Restored.
func (p *Platform) Restore(ctx context.Context, file io.Reader, head Head, o Options) error {
	r, err := newReader(file)
	if err != nil {
		return err
	}
	defer r.close()
	f := &filling{p: p, r: r, head: head, o: o, byService: map[string]Database{}}
	for _, d := range p.Databases {
		f.byService[d.Service] = d
	}
	defer func() {
		if f.target != nil {
			f.target.close(context.WithoutCancel(ctx))
		}
	}()
	for {
		h, err := f.nextEntry()
		if err != nil {
			return err
		}
		if h.Name == manifestName {
			return f.endDatabase(ctx)
		}
		if err := f.entry(ctx, h); err != nil {
			return err
		}
	}
}

// filling is a restore under way.
type filling struct {
	p         *Platform
	r         *reader
	head      Head
	o         Options
	byService map[string]Database
	target    *target
	ahead     *tar.Header // read, and not dealt with
	files     int
}

func (f *filling) nextEntry() (*tar.Header, error) {
	if h := f.ahead; h != nil {
		f.ahead = nil
		return h, nil
	}
	h, err := f.r.next()
	if errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Invalid, "the backup is not complete: its end is missing")
	}
	return h, err
}

func (f *filling) entry(ctx context.Context, h *tar.Header) error {
	part, rest, _ := strings.Cut(h.Name, "/")
	switch part {
	case headName:
		return nil
	case "db":
		service, name, _ := strings.Cut(rest, "/")
		if name == "schema.json" {
			return f.beginDatabase(ctx, service)
		}
		if f.target == nil || f.target.service != service {
			return fault.New(fault.Invalid, "the backup is damaged: the schema of %s is missing", service)
		}
		return f.fillTable(ctx, h, strings.TrimSuffix(name, "/"+filepath.Base(name)))
	case "home":
		if err := f.endDatabase(ctx); err != nil {
			return err
		}
		return f.home(h, rest)
	case "files":
		if err := f.endDatabase(ctx); err != nil {
			return err
		}
		if !kept(rest) {
			return fault.New(fault.Invalid, "the backup has a file %q, which no filestore has", rest)
		}
		f.files++
		return f.p.Files.Put(ctx, rest, f.r.t, h.Size)
	}
	return fault.New(fault.Invalid, "the backup has an entry %q, which this version does not know", h.Name)
}

func (f *filling) beginDatabase(ctx context.Context, service string) error {
	if err := f.endDatabase(ctx); err != nil {
		return err
	}
	s, err := decode[schema](f.r.t)
	if err != nil {
		return err
	}
	d, ok := f.byService[service]
	if !ok {
		return fault.New(fault.Invalid, "the backup has a database of %s, which this version does not know", service)
	}
	if f.target, err = openTarget(ctx, d.URL, service, f.head.ID, s, d.Migrations, f.o.Replace); err != nil {
		return err
	}
	f.target.restored = d.Restored
	return nil
}

func (f *filling) endDatabase(ctx context.Context) error {
	t := f.target
	f.target = nil
	if t == nil {
		return nil
	}
	if err := t.finish(ctx); err != nil {
		return err
	}
	if t.skip {
		f.p.Say("database of %s: filled before", t.service)
	} else {
		f.p.Say("database of %s: filled", t.service)
	}
	return nil
}

// fillTable reads the entries of one table.
func (f *filling) fillTable(ctx context.Context, h *tar.Header, name string) error {
	dir := "db/" + f.target.service + "/" + name + "/"
	first := true
	return f.target.load(ctx, name, &pieces{take: func() (io.Reader, error) {
		if first {
			first = false
			return f.r.t, nil
		}
		next, err := f.nextEntry()
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(next.Name, dir) {
			f.ahead = next
			return nil, nil //nolint:nilnil // the table's end
		}
		return f.r.t, nil
	}})
}

// home makes an entry of the home's folders. One that is there already is left if it is the same.
func (f *filling) home(h *tar.Header, rel string) error {
	part, _, _ := strings.Cut(rel, "/")
	known := false
	for _, p := range homeParts {
		known = known || p == part
	}
	if !known || !filepath.IsLocal(rel) {
		return fault.New(fault.Invalid, "the backup has an entry %q, which this version does not know", h.Name)
	}
	root, err := os.OpenRoot(f.p.Home) // whatever links say, nothing outside of it is written
	if err != nil {
		return err
	}
	defer root.Close()
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		err := root.Mkdir(rel, mode)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return errors.Join(err, root.Chmod(rel, mode))
	case tar.TypeSymlink:
		err := root.Symlink(h.Linkname, rel)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	case tar.TypeReg:
		return homeFile(root, rel, mode, f.r.t, part == "keys")
	}
	return fault.New(fault.Invalid, "the backup has an entry %q of a kind that no home has", h.Name)
}

func homeFile(root *os.Root, rel string, mode fs.FileMode, r io.Reader, key bool) error {
	if key {
		want, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if err != nil {
			return err
		}
		have, err := root.ReadFile(rel)
		if err == nil && string(have) != string(want) {
			return fault.New(fault.Conflict, "the home has another %s: restore into an empty home, or move its folder keys away", rel)
		}
		if err == nil {
			return nil
		}
		r = strings.NewReader(string(want))
	}
	tmp := rel + ".new"
	out, err := root.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	if err = errors.Join(err, out.Chmod(mode), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", rel, err)
	}
	return root.Rename(tmp, rel)
}
