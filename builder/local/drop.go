package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const manifest = "bundle.json"

// have tells whether the bundle is complete, and counts as made again: what was found a moment ago
// is not dropped for being old.
func have(dir string, now time.Time) bool {
	path := filepath.Join(dir, manifest)
	if _, err := os.Stat(path); err != nil {
		return false
	}
	_ = os.Chtimes(path, now, now)
	return true
}

// put puts a complete folder in its place. What was there trades places with it at once where the
// system can do that: processes that use the old one never find nothing.
func put(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		old := from
		if err := exchange(from, to); err != nil {
			old = fmt.Sprintf("%s.old.tmp-%d", to, os.Getpid())
			if err := errors.Join(os.Rename(to, old), os.Rename(from, to)); err != nil {
				return err
			}
		}
		removeAll(old)
	} else if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// Drop removes a bundle that was made, and found, before a time, and the dependencies that no other
// bundle of the project uses. It reports whether the bundle is gone.
func (b *Builder) Drop(project, build string, before time.Time) (bool, error) {
	if project == "" || !filepath.IsLocal(project) || !filepath.IsLocal(strings.TrimPrefix(build, "sha256:")) {
		return false, fmt.Errorf("%s/%s is no build", project, build)
	}
	dir := b.Bundle(project, build)
	unlock := b.lock(dir)
	defer unlock()
	info, err := os.Stat(filepath.Join(dir, manifest))
	if errors.Is(err, fs.ErrNotExist) {
		return true, os.RemoveAll(dir)
	}
	if err != nil || !info.ModTime().Before(before) {
		return false, err
	}
	// Without its manifest the folder is no bundle, should we end before it is gone.
	if err := errors.Join(os.Remove(filepath.Join(dir, manifest)), os.RemoveAll(dir)); err != nil {
		return false, err
	}
	return true, b.dropDependencies(project, before)
}

// dropDependencies removes the project's dependency folders that no bundle links to.
func (b *Builder) dropDependencies(project string, before time.Time) error {
	if !b.linking.TryLock() {
		return nil // a build may be about to link one: they stay until the next time
	}
	defer b.linking.Unlock()
	used := map[string]bool{}
	bundles := filepath.Join(b.o.Home, "bundles", project)
	for _, pattern := range []string{"*/deps", "*/code/node_modules"} {
		links, err := filepath.Glob(filepath.Join(bundles, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		for _, link := range links {
			target, err := os.Readlink(link)
			if err != nil {
				continue // a folder of the action's own
			}
			// The links are relative to where the finished bundle lies, at the same depth as an unfinished one.
			used[strings.TrimSuffix(filepath.Join(filepath.Dir(link), target), string(filepath.Separator)+"node_modules")] = true
		}
	}
	deps := filepath.Join(b.o.Home, "deps", project)
	entries, err := os.ReadDir(deps)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(deps, e.Name())
		info, err := os.Stat(filepath.Join(dir, complete))
		if err != nil || used[dir] || !info.ModTime().Before(before) {
			continue // under way, in use, or new
		}
		errs = append(errs, os.Remove(filepath.Join(dir, complete)), os.RemoveAll(dir))
	}
	return errors.Join(append(errs, err)...)
}
