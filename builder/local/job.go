package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// job is one build under way. What lies in tmp and work is ours; what user code may write are the
// folders that scratch makes, and the project's cache.
type job struct {
	b     *Builder
	o     Order
	r     *Result
	user  owner
	cache string // of the project: caches of package managers and compilers, the home of its user
	work  string // of this job, removed at its end
	tmp   string // the bundle before it is complete
}

// job prepares a build; done removes what it leaves.
func (b *Builder) job(o Order, r *Result) (j *job, done func(), err error) {
	if o.Project == "" || !filepath.IsLocal(o.Project) || strings.Contains(o.Project, "/") {
		return nil, nil, fmt.Errorf("project: %q is no name of a project", o.Project)
	}
	j = &job{b: b, o: o, r: r, tmp: fmt.Sprintf("%s.tmp-%d", b.Bundle(o.Project, o.Build), os.Getpid())}
	if j.user, err = b.owners.of(o.Project); err != nil {
		return nil, nil, err
	}
	cache := filepath.Join(b.o.Home, "cache")
	j.cache = filepath.Join(cache, "projects", o.Project)
	if err := errors.Join(shelf(filepath.Dir(filepath.Dir(j.tmp))), shelf(filepath.Dir(j.tmp)), shelf(filepath.Dir(j.cache)), os.RemoveAll(j.tmp)); err != nil {
		return nil, nil, err
	}
	if err := j.user.own(j.cache); err != nil {
		return nil, nil, err
	}
	if err := shelf(filepath.Join(cache, "work")); err != nil {
		return nil, nil, err
	}
	if j.work, err = os.MkdirTemp(filepath.Join(cache, "work"), fmt.Sprintf("%d-", os.Getpid())); err != nil {
		return nil, nil, err
	}
	done = func() { removeAll(j.work); os.RemoveAll(j.tmp) }
	if _, err = j.scratch("tmp"); err == nil {
		err = errors.Join(os.Chmod(j.work, 0o711), os.Mkdir(j.tmp, 0o755))
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return j, done, nil
}

// shelf makes a folder whose entries everybody may reach by name and nobody else may list: names
// are digests, which one has to know.
func shelf(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(dir, 0o711)
}

// scratch makes a new folder that the job's user may write.
func (j *job) scratch(name string) (string, error) {
	dir := filepath.Join(j.work, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, j.user.own(dir)
}

// quiet is the same job without a log.
func (j *job) quiet() *job {
	q := *j
	q.o.Log = nil
	return &q
}

// tools is the same job as the user that fetches tools, which builds run and may not change.
func (j *job) tools() (*job, error) {
	t := *j
	var err error
	if t.user, err = j.b.owners.of(toolOwner); err != nil {
		return nil, err
	}
	t.cache = filepath.Join(j.b.o.Home, "cache", "tools")
	if err := errors.Join(shelf(filepath.Dir(t.cache)), t.user.own(t.cache)); err != nil {
		return nil, err
	}
	t.work = filepath.Join(j.work, "tools")
	if err := shelf(t.work); err != nil {
		return nil, err
	}
	_, err = t.scratch("tmp")
	return &t, err
}

// share writes a file into the job's own folder that its user may read.
func (j *job) share(name string, data []byte) (string, error) {
	path := filepath.Join(j.work, name)
	_ = os.Remove(path)
	if err := os.WriteFile(path, data, 0o400); err != nil {
		return "", err
	}
	if j.user.uid < 0 {
		return path, nil
	}
	return path, os.Lchown(path, j.user.uid, j.user.gid)
}

// give writes a file for the job's user into a folder that is its own.
func (j *job) give(root *os.Root, name string, data []byte) error {
	_ = root.Remove(name)
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if j.user.uid >= 0 {
		err = errors.Join(err, f.Chown(j.user.uid, j.user.gid))
	}
	return errors.Join(err, f.Close())
}

// removeAll removes a tree in which folders may be read only, as those of a module cache are.
func removeAll(dir string) {
	if os.RemoveAll(dir) == nil || os.Geteuid() == 0 {
		return
	}
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}

// Tidy removes what builds of processes that are gone left under way. It is safe beside builds of
// this process and of others on the same home.
func (b *Builder) Tidy() error {
	var errs []error
	for _, pattern := range []string{"cache/work/*-*", "bundles/*/*.tmp-*", "deps/*/*.tmp-*"} {
		found, err := filepath.Glob(filepath.Join(b.o.Home, filepath.FromSlash(pattern)))
		errs = append(errs, err)
		for _, dir := range found {
			if pid := maker(filepath.Base(dir)); pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				errs = append(errs, os.RemoveAll(dir))
			}
		}
	}
	return errors.Join(errs...)
}

// maker is the process that a name tells of: "<pid>-…" or "….tmp-<pid>".
func maker(name string) int {
	if _, after, ok := strings.Cut(name, ".tmp-"); ok {
		pid, _ := strconv.Atoi(after)
		return pid
	}
	before, _, _ := strings.Cut(name, "-")
	pid, _ := strconv.Atoi(before)
	return pid
}
