package local

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
)

// LockOrder is one action whose dependencies are to be locked.
type LockOrder struct {
	Action  action.Action
	Dir     string // the action's folder; its lock file is written
	Upgrade bool   // take the newest versions that are allowed, not those of the lock that is there
	Log     func(line string)
}

// LockedFile is a file that Lock looked after.
type LockedFile struct {
	Name  string `json:"file"`
	State string `json:"state"` // written | updated | unchanged
}

// Lock writes the lock file that a build of the action reads, with the tools and settings that a
// build has. Without dependencies it writes nothing and returns no file. When it fails, the
// action's folder is as it was.
func (b *Builder) Lock(ctx context.Context, o LockOrder) ([]LockedFile, error) {
	ctx, cancel := context.WithTimeout(ctx, b.o.Timeout)
	defer cancel()
	tmp, err := os.MkdirTemp("", "pelton-lock-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	// As the caller: what is locked is the caller's own folder.
	j := &job{b: b, o: Order{Action: o.Action, Source: o.Dir, Log: o.Log}, r: &Result{}, user: owner{-1, -1}, cache: filepath.Join(b.o.Home, "cache", "lock"), work: tmp, tmp: tmp}
	if err := os.MkdirAll(j.cache, 0o700); err != nil {
		return nil, err
	}
	if _, err := j.scratch("tmp"); err != nil {
		return nil, err
	}
	// Tools work on a copy: they fail halfway, and leave things beside the lock.
	work := filepath.Join(tmp, "code")
	if err := copyTree(o.Dir, work); err != nil {
		return nil, err
	}
	var names []string
	switch o.Action.Runtime {
	case "python3":
		names, err = j.pythonLock(ctx, work, o.Upgrade)
	case "nodejs":
		names, err = j.npmLock(ctx, work, o.Upgrade)
	case "go":
		names, err = j.goLock(ctx, work, o.Upgrade)
	default:
		return nil, &Error{Kind: "runtime_missing", Message: "the runtime " + o.Action.Runtime + " has no lock file"}
	}
	if err != nil {
		return nil, told(ctx, j.r, err)
	}
	var out []LockedFile
	for _, name := range names {
		state, err := takeOver(filepath.Join(work, name), filepath.Join(o.Dir, name))
		if err != nil {
			return out, err
		}
		if state != "" {
			out = append(out, LockedFile{name, state})
		}
	}
	return out, nil
}

// takeOver replaces a file by another whole, unless they are equal; a missing one is no state.
func takeOver(from, to string) (state string, err error) {
	data, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	old, err := os.ReadFile(to)
	switch {
	case err == nil && bytes.Equal(old, data):
		return "unchanged", nil
	case err == nil:
		state = "updated"
	case errors.Is(err, fs.ErrNotExist):
		state = "written"
	default:
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".lock-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return "", err
	}
	return state, os.Rename(f.Name(), to)
}

func has(dir, name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }

// pythonLock resolves for every platform and Python, so that one lock serves all machines.
func (j *job) pythonLock(ctx context.Context, work string, upgrade bool) ([]string, error) {
	var name string
	var args []string
	switch {
	case has(work, "requirements.txt"):
		name = "requirements.lock"
		args = []string{"pip", "compile", "requirements.txt", "--universal", "--generate-hashes", "--quiet", "--output-file", name,
			"--custom-compile-command", "pelton action lock"}
	case has(work, "requirements.lock"):
		return nil, &Error{Kind: "dependency", Message: "requirements.lock has no requirements.txt that it could be made of: write one with the packages that the action needs"}
	case has(work, "pyproject.toml"):
		name, args = "uv.lock", []string{"lock", "--quiet"}
	default:
		return nil, nil
	}
	in, err := j.b.python()
	if err != nil {
		return nil, err
	}
	uv, err := j.uv(ctx, in)
	if err != nil {
		return nil, err
	}
	if upgrade {
		args = append(args, "--upgrade")
	}
	args = append(args, "--python", in.path)
	if out, err := j.command(ctx, work, j.uvEnvironment(in), uv, args...); err != nil {
		return nil, pipError(out)
	}
	return []string{name}, nil
}

func (j *job) npmLock(ctx context.Context, work string, upgrade bool) ([]string, error) {
	if !has(work, "package.json") {
		if err := os.Rename(filepath.Join(work, "packages.json"), filepath.Join(work, "package.json")); err != nil {
			return nil, nil //nolint:nilerr // neither is there: no dependencies
		}
	}
	data, err := os.ReadFile(filepath.Join(work, "package.json"))
	if err != nil || !strings.Contains(string(data), `"dependencies"`) {
		return nil, err
	}
	in, err := j.b.node()
	if err != nil {
		return nil, err
	}
	npm, err := npmOf(in)
	if err != nil {
		return nil, err
	}
	if upgrade {
		if err := os.RemoveAll(filepath.Join(work, "package-lock.json")); err != nil {
			return nil, err
		}
	}
	env, err := j.npmEnvironment()
	if err != nil {
		return nil, err
	}
	out, err := j.command(ctx, work, env, npm, "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	if err != nil {
		return nil, npmError(out)
	}
	return []string{"package-lock.json"}, nil
}

func (j *job) goLock(ctx context.Context, work string, upgrade bool) ([]string, error) {
	if !has(work, "go.mod") {
		return nil, NoGoMod()
	}
	in, err := j.b.golang()
	if err != nil {
		return nil, err
	}
	env := j.goEnvironment(in)
	verbs := [][]string{{"mod", "tidy"}}
	if upgrade {
		verbs = [][]string{{"get", "-u", "./..."}, {"mod", "tidy"}}
	}
	for _, args := range verbs {
		if out, err := j.command(ctx, work, env, in.path, args...); err != nil {
			if e := network(out, "GOPROXY"); e != nil {
				return nil, e
			}
			return nil, &Error{Kind: "dependency", Message: "the modules cannot be locked:\n" + lastLines(out, 8)}
		}
	}
	return []string{"go.mod", "go.sum"}, nil
}
