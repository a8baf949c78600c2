package action

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // logos
	_ "image/png"  // logos
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/problem"
)

// handlers are the files that may hold a handler, by runtime; the first one found counts.
var handlers = map[string][]string{
	"python3": {"handler.py", "ryax_handler.py", "src/handler.py"},
	"nodejs":  {"handler.js", "handler.mjs", "handler.cjs", "handler.ts", "ryax_handler.js", "index.js", "index.mjs", "index.ts"},
	"go":      {"go.mod"},
}

// sources are the files that may hold a source.
var sources = map[string][]string{
	"python3": {"source.py", "ryax_run.py", "handler.py"},
	"nodejs":  {"source.js", "source.mjs", "source.cjs", "source.ts", "handler.js", "handler.mjs", "handler.cjs", "handler.ts", "index.js", "index.mjs", "index.ts"},
	"go":      {"go.mod"},
}

// checkFolder finds the handler, checks its signature as far as text tells, and the logo.
func checkFolder(fsys fs.FS, dir, name string, a *Action) problem.List {
	var out problem.List
	candidates := handlers[a.Runtime]
	a.Export = "handle"
	if a.Kind == "Source" {
		a.Export = "run"
		candidates = sources[a.Runtime]
		if a.Runtime != "" && candidates == nil {
			return problem.List{{File: name, Path: "spec.runtime", Message: "a source is written in Python, JavaScript or Go", Remedy: "use runtime: python3, nodejs or go"}}
		}
	}
	for _, c := range candidates {
		if info, err := fs.Stat(fsys, path.Join(dir, c)); err == nil && info.Mode().IsRegular() {
			a.Handler = c
			break
		}
	}
	switch {
	case a.Runtime == "" || a.Runtime == "container":
	case a.Handler == "":
		out = append(out, problem.Problem{File: name, Message: "there is no handler", Remedy: "add " + strings.Join(candidates, " or ")})
	case a.Runtime == "python3":
		out = append(out, checkPython(fsys, dir, name, a)...)
	case a.Runtime == "go":
		a.Export = ""
		out = append(out, checkGo(fsys, dir, name, a.Kind)...)
	}
	if a.Logo != "" {
		out = append(out, checkLogo(fsys, dir, name, a.Logo)...)
	}
	return out
}

var pythonDef = regexp.MustCompile(`(?m)^(async\s+)?def\s+(handle|run)\s*\(([^)]*)`)

func checkPython(fsys fs.FS, dir, name string, a *Action) problem.List {
	file := path.Join(name, a.Handler)
	data, err := fs.ReadFile(fsys, path.Join(dir, a.Handler))
	if err != nil {
		return problem.List{{File: file, Message: "cannot be read: " + err.Error()}}
	}
	for _, m := range pythonDef.FindAllSubmatchIndex(data, -1) {
		if string(data[m[4]:m[5]]) != a.Export {
			continue
		}
		line := 1 + bytes.Count(data[:m[0]], []byte("\n"))
		required := 0
		params := string(data[m[6]:m[7]])
		if !strings.Contains(params, "*") {
			for _, p := range strings.Split(params, ",") {
				if p = strings.TrimSpace(p); p != "" && p != "/" && !strings.Contains(p, "=") {
					required++
				}
			}
			if a.Export == "handle" && (required > 2 || (required == 0 && strings.TrimSpace(params) == "")) {
				return problem.List{{File: file, Line: line, Message: fmt.Sprintf("handle takes %d parameters", required), Remedy: "write def handle(inputs): or def handle(inputs, ctx):"}}
			}
			if a.Export == "run" && required != 2 {
				return problem.List{{File: file, Line: line, Message: fmt.Sprintf("run takes %d parameters", required), Remedy: "write async def run(service, input_values):"}}
			}
		}
		if a.Export == "run" && m[2] < 0 {
			return problem.List{{File: file, Line: line, Message: "run is no coroutine", Remedy: "write async def run(service, input_values):"}}
		}
		return nil
	}
	// An imported or assigned handler is fine too.
	if regexp.MustCompile(`(?m)^\s*(from\s+\S+\s+import\s+.*\b` + a.Export + `\b|` + a.Export + `\s*=)`).Match(data) {
		return nil
	}
	remedy := "add def handle(inputs):"
	if a.Export == "run" {
		remedy = "add async def run(service, input_values):"
	}
	return problem.List{{File: file, Message: "there is no function " + a.Export, Remedy: remedy}}
}

var goHandle = regexp.MustCompile(`(?m)^func Handle\(\s*\w+\s+context\.Context,\s*\w+\s+Input\s*\)\s*\(\s*(\w+\s+)?Output,\s*(\w+\s+)?error\s*\)`)

var goRun = regexp.MustCompile(`(?m)^func Run\(\s*\w+\s+context\.Context,\s*\w+\s+Source,\s*\w+\s+Input\s*\)\s*(error|\(\s*(\w+\s+)?error\s*\))`)

func checkGo(fsys fs.FS, dir, name, kind string) problem.List {
	file, function, form, text := "handler.go", goHandle, "Handle", "func Handle(ctx context.Context, in Input) (Output, error)"
	if kind == "Source" {
		file, function, form, text = "source.go", goRun, "Run", "func Run(ctx context.Context, source Source, in Input) error"
	}
	files, err := fs.Glob(fsys, path.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return problem.List{{File: name, Message: "there is no Go file", Remedy: "add " + file + " with package action and " + text}}
	}
	for _, f := range files {
		data, err := fs.ReadFile(fsys, f)
		if err != nil || !function.Match(data) {
			continue
		}
		if !regexp.MustCompile(`(?m)^package action\b`).Match(data) {
			return problem.List{{File: path.Join(name, path.Base(f)), Line: 1, Message: "is not in package action", Remedy: "start the file with package action"}}
		}
		return nil
	}
	return problem.List{{File: name, Message: "there is no function " + form + " of the right form", Remedy: "write " + text}}
}

func checkLogo(fsys fs.FS, dir, name, logo string) problem.List {
	bad := func(message, remedy string) problem.List {
		return problem.List{{File: path.Join(name, logo), Path: "spec.logo", Message: message, Remedy: remedy}}
	}
	if !fs.ValidPath(path.Join(dir, logo)) || strings.HasPrefix(path.Clean(logo), "..") {
		return bad("the logo lies outside of the folder", "put it beside the metadata")
	}
	f, err := fsys.Open(path.Join(dir, logo))
	if err != nil {
		return bad("the logo is missing", "add the file or leave out logo")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > 1<<20 {
		return bad("the logo is larger than 1 MiB", "give a png or jpg of at most 250 x 250")
	}
	cfg, _, err := image.DecodeConfig(io.LimitReader(f, 1<<20))
	if err != nil {
		return bad("the logo is neither png nor jpg", "give a png or jpg of at most 250 x 250")
	}
	if cfg.Width > 250 || cfg.Height > 250 {
		return bad(fmt.Sprintf("the logo has %d x %d pixels", cfg.Width, cfg.Height), "give one of at most 250 x 250")
	}
	return nil
}

// Limits of an action's folder.
const (
	MaxFiles = 5000
	MaxBytes = 200 << 20
	MaxDepth = 24
)

// Skip tells whether a name is not part of an action: dot files, environments, caches.
func Skip(name string) bool {
	switch name {
	case "node_modules", "__pycache__", "venv":
		return true
	}
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".pyc")
}

// Walk lists the files of an action's folder, in order, relative to it. Links and too much of
// anything are errors.
func Walk(fsys fs.FS, dir string) ([]string, error) {
	var files []string
	var total int64
	err := fs.WalkDir(fsys, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != dir && Skip(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		if dir == "." {
			rel = p
		}
		if strings.Count(rel, "/") > MaxDepth {
			return fmt.Errorf("%s lies more than %d folders deep", rel, MaxDepth)
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is a link or a device: an action holds files and folders only", rel)
		}
		if total += info.Size(); total > MaxBytes {
			return fmt.Errorf("the folder is larger than %d MiB", MaxBytes>>20)
		}
		if files = append(files, rel); len(files) > MaxFiles {
			return fmt.Errorf("the folder holds more than %d files", MaxFiles)
		}
		return nil
	})
	return files, err
}

// Digest is what names a build: the digest of every file of the folder, and of the format of
// bundles. Code, metadata and lock are all in it.
func Digest(fsys fs.FS, dir string) (string, error) {
	files, err := Walk(fsys, dir)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write([]byte("pelton build 1\n"))
	for _, f := range files {
		if err := hashFile(h, fsys, path.Join(dir, f), f); err != nil {
			return "", err
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(h io.Writer, fsys fs.FS, p, name string) error {
	f, err := fsys.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%q %d %t\n", name, info.Size(), info.Mode()&0o111 != 0)
	_, err = io.Copy(h, f)
	return err
}

// LockFiles are the files that decide which dependencies are installed, by runtime.
var LockFiles = map[string][]string{
	"python3": {"requirements.lock", "requirements.txt", "uv.lock", "pyproject.toml"},
	"nodejs":  {"package-lock.json", "package.json", "packages.json"},
	"go":      {"go.mod", "go.sum"},
}

// LockDigest names the dependencies of an action: its lock files and whatever else they depend on
// (the interpreter's version, the platform). Empty without any lock file.
func LockDigest(fsys fs.FS, dir string, a Action, extra ...string) (string, error) {
	h := sha256.New()
	found := false
	for _, name := range LockFiles[a.Runtime] {
		err := hashFile(h, fsys, path.Join(dir, name), name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		found = true
	}
	if a.Runtime == "python3" {
		wheels, err := fs.Glob(fsys, path.Join(dir, "*.whl"))
		if err != nil {
			return "", err
		}
		for _, w := range wheels {
			if err := hashFile(h, fsys, w, path.Base(w)); err != nil {
				return "", err
			}
		}
	}
	if !found {
		return "", nil
	}
	for _, x := range extra {
		fmt.Fprintf(h, "%q\n", x)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// JSON is the action as it travels in messages.
func (a Action) JSON() string {
	data, err := json.Marshal(a)
	if err != nil {
		return "{}"
	}
	return string(data)
}
