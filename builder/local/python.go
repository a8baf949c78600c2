package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
)

var syntaxError = regexp.MustCompile(`File "([^"]+)", line (\d+)`)

// python checks the syntax and installs dependencies with uv.
func (j *job) python(ctx context.Context, in interpreter, code string) error {
	if err := j.phase("compile", func() error { return j.pythonSyntax(ctx, in, code) }); err != nil {
		return err
	}
	digest, err := action.LockDigest(os.DirFS(code), ".", j.o.Action, "python", in.path, in.version)
	if err != nil || digest == "" {
		return err
	}
	return j.deps(ctx, digest, "deps", "", func(ctx context.Context, dir string) error { return j.pipInstall(ctx, in, code, dir) })
}

const checkSyntax = `
import sys
for name in sys.argv[1:]:
    with open(name, "rb") as f:
        compile(f.read(), name, "exec", dont_inherit=True)
`

func (j *job) pythonSyntax(ctx context.Context, in interpreter, code string) error {
	var files []string
	err := filepath.WalkDir(code, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".py") && len(files) < 2000 {
			files = append(files, p)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return err
	}
	out, err := j.quiet().command(ctx, code, j.environment(), in.path, append([]string{"-I", "-S", "-c", checkSyntax}, files...)...)
	if err == nil {
		return nil
	}
	e := &Error{Kind: "compile", Message: lastLines(out, 1)}
	if m := syntaxError.FindAllStringSubmatch(out, -1); m != nil {
		last := m[len(m)-1]
		e.File, _ = filepath.Rel(code, last[1])
		e.Line, _ = strconv.Atoi(last[2])
		e.Message = e.File + ":" + last[2] + ": " + e.Message
	}
	return e
}

// pipInstall installs what the lock, or else the requirements, name into dir.
func (j *job) pipInstall(ctx context.Context, in interpreter, code, dir string) error {
	uv, err := j.uv(ctx, in)
	if err != nil {
		return err
	}
	env := j.uvEnvironment(in)
	args := []string{"pip", "install", "--target", dir, "--python", in.path, "--no-compile-bytecode"}
	code, err = j.ownCopy(code)
	if err != nil {
		return err
	}
	switch {
	case has(code, "requirements.lock"):
		args = append(args, "--require-hashes", "-r", "requirements.lock")
	case has(code, "requirements.txt"):
		args = append(args, "-r", "requirements.txt")
		j.r.Notes = append(j.r.Notes, "installed without a lock: `pelton action lock` writes requirements.lock")
	case has(code, "uv.lock"):
		file := filepath.Join(j.work, "tmp", "exported.txt")
		if out, err := j.command(ctx, code, env, uv, "export", "--frozen", "--no-dev", "--no-emit-project", "-q", "-o", file); err != nil {
			return pipError(out)
		}
		args = append(args, "--require-hashes", "-r", file)
	default:
		args = append(args, "-r", "pyproject.toml")
		j.r.Notes = append(j.r.Notes, "installed without a lock: `pelton action lock` writes uv.lock")
	}
	out, err := j.command(ctx, code, env, uv, args...)
	if err != nil {
		return pipError(out)
	}
	return nil
}

// uvEnvironment is what uv works with: the project's cache, the machine's Python, pip's index.
func (j *job) uvEnvironment(in interpreter) []string {
	link := "hardlink"
	if j.user.uid >= 0 {
		link = "copy" // what is installed becomes ours, the cache stays the project's
	}
	env := j.environment("UV_CACHE_DIR="+filepath.Join(j.cache, "uv"), "UV_PYTHON_DOWNLOADS=never", "UV_NO_PROGRESS=1", "UV_LINK_MODE="+link, "UV_NO_CONFIG=1")
	if index := pipIndex(in); index != "" && os.Getenv("UV_INDEX_URL") == "" && os.Getenv("UV_DEFAULT_INDEX") == "" {
		env = append(env, "UV_DEFAULT_INDEX="+index)
	}
	return env
}

func pipError(out string) error {
	if m := regexp.MustCompile(`(?i)because (\S+) was not found in the package registry`).FindStringSubmatch(out); m != nil {
		return &Error{Kind: "dependency", Message: "there is no package named " + m[1] + " in the package index: check its name in requirements.txt\n" + lastLines(out, 3)}
	}
	if strings.Contains(out, "No solution found") || strings.Contains(out, "no version of") || strings.Contains(out, "hash") {
		return &Error{Kind: "dependency", Message: "the dependencies cannot be installed:\n" + lastLines(out, 8)}
	}
	if e := network(out, "PIP_INDEX_URL"); e != nil {
		return e
	}
	return &Error{Kind: "dependency", Message: "the dependencies cannot be installed:\n" + lastLines(out, 8)}
}

// pipIndex is the index that pip's settings name, "" for the usual one.
func pipIndex(in interpreter) string {
	if v := os.Getenv("PIP_INDEX_URL"); v != "" {
		return v
	}
	out, err := exec.Command(in.path, "-m", "pip", "config", "get", "global.index-url").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// ownCopy is a copy of the code for a package manager that may write beside its settings; what
// runs is the original.
func (j *job) ownCopy(code string) (string, error) {
	dir := filepath.Join(j.work, "code")
	if err := errors.Join(os.RemoveAll(dir), copyTree(code, dir)); err != nil || j.user.uid < 0 {
		return dir, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	var all []string
	err = fs.WalkDir(root.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	})
	for _, p := range all {
		err = errors.Join(err, root.Lchown(p, j.user.uid, j.user.gid))
	}
	return dir, err
}
