package kaniko

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/pelton-run/pelton/builder/internal/app"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/images"
	"github.com/pelton-run/pelton/builder/internal/infra/kaniko/spec"
	"github.com/pelton-run/pelton/builder/local"
	"github.com/pelton-run/pelton/functions/formats/action"
)

// revision of what is below: another one makes dependencies anew.
const revision = "1"

// stage is one run of kaniko.
type stage struct {
	Kind       string            // deps | code
	Key        string            // of what it makes: "sha256:<hex>"
	Dockerfile string            // "" = the author's own
	Base       string            // image by digest that the Dockerfile begins from, "" = the author knows
	Below      string            // folder of the context that the source is put into
	Files      map[string]string // further files of the context
	Rename     map[string]string
	Args       map[string]string // build arguments, beside those of every build
	UV         bool              // needs the installer of Python packages
	Tools      bool              // makes what compiles, not what code is put on
}

// src is the folder of the context that holds the action's files; RUN lines reach it there, so that
// no layer holds a copy.
const (
	src  = "src"
	made = "/pelton/made" // where a compile leaves the bundle
)

// material is what recipes are made from.
type material struct {
	action action.Action
	files  fs.FS  // the action's folder
	source string // its digest
	ground string // the image that dependencies are put on, by digest
	tools  string // the image that compiles, by digest
}

// ownDockerfile tells whether the author brings the image that the action runs on.
func ownDockerfile(files fs.FS) bool {
	info, err := fs.Stat(files, "Dockerfile")
	return err == nil && info.Mode().IsRegular()
}

func keyOf(parts ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "pelton image %s\n", revision)
	for _, p := range parts {
		fmt.Fprintf(h, "%q\n", p)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// dependencies is the stage that makes the image which an action's code is put on, nil where that is
// the ground itself.
func dependencies(m material) (*stage, error) {
	if ownDockerfile(m.files) {
		return &stage{Kind: "deps", Key: keyOf("dockerfile", m.source), Rename: map[string]string{}}, nil
	}
	if m.action.Runtime == "container" {
		return nil, &app.Error{Kind: "compile", Message: "runtime: container needs a file Dockerfile in the action's folder: add one"}
	}
	packages, err := aptPackages(m.action)
	if err != nil {
		return nil, err
	}
	lock := ""
	if m.action.Runtime != "go" {
		if lock, err = action.LockDigest(m.files, ".", m.action); err != nil {
			return nil, err
		}
		if lock != "" && m.action.Runtime == "nodejs" && !npmDependencies(m.files) {
			lock = ""
		}
	}
	if lock == "" && len(packages) == 0 {
		return nil, nil
	}
	s := &stage{Kind: "deps", Base: m.ground, Below: src, Args: map[string]string{},
		Key: keyOf("deps", m.action.Runtime, m.ground, lock, strings.Join(packages, " "))}
	s.Dockerfile = "FROM " + m.ground + "\nUSER root\n" + aptLine(packages)
	if lock == "" {
		return s, nil
	}
	switch m.action.Runtime {
	case "python3":
		s.UV = true
		s.Dockerfile += pythonLines(m.files)
	case "nodejs":
		s.Rename = map[string]string{src + "/packages.json": src + "/package.json"}
		s.Dockerfile += npmLines(m.files)
	}
	return s, nil
}

// debianName is what Debian's policy lets a package be called, with a version or an architecture.
var debianName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?$`)

func aptPackages(a action.Action) ([]string, error) {
	for i, p := range a.Dependencies {
		if !debianName.MatchString(p) {
			return nil, &app.Error{Kind: "dependency", Message: fmt.Sprintf("spec.options.apt[%d]: %q is no name of a Debian package: give one such as ffmpeg or libgdal32", i, p)}
		}
	}
	return a.Dependencies, nil
}

func aptLine(packages []string) string {
	if len(packages) == 0 {
		return ""
	}
	return "RUN command -v apt-get >/dev/null || { echo 'the base image has no apt-get'; exit 1; }; export DEBIAN_FRONTEND=noninteractive; " +
		"apt-get update -q && apt-get install -q -y --no-install-recommends " + strings.Join(packages, " ") + " && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin\n"
}

// pythonLines install what the lock, or else the requirements, name, as a local build does.
func pythonLines(files fs.FS) string {
	install := spec.Tools + "/uv pip install --target /" + images.Deps + " --python python3 --no-compile-bytecode "
	in := "RUN cd " + spec.Context + "/" + src + " && "
	switch {
	case has(files, "requirements.lock"):
		return in + install + "--require-hashes -r requirements.lock\n"
	case has(files, "requirements.txt"):
		return in + install + "-r requirements.txt\n"
	case has(files, "uv.lock"):
		return in + spec.Tools + "/uv export --frozen --no-dev --no-emit-project -q -o " + spec.Cache + "/exported.txt && " + install + "--require-hashes -r " + spec.Cache + "/exported.txt\n"
	case has(files, "pyproject.toml"):
		return in + install + "-r pyproject.toml\n"
	}
	return "" // wheels alone: nothing names them
}

func npmDependencies(files fs.FS) bool {
	for _, name := range []string{"package.json", "packages.json"} {
		if data, err := fs.ReadFile(files, name); err == nil {
			return strings.Contains(string(data), `"dependencies"`)
		}
	}
	return false
}

func npmLines(files fs.FS) string {
	verb, copied := "install", "package.json"
	if has(files, "package-lock.json") {
		verb, copied = "ci", "package.json package-lock.json"
	}
	return "RUN mkdir -p /" + images.Deps + " && cd " + spec.Context + "/" + src + " && cp " + copied + " /" + images.Deps + "/ && cd /" + images.Deps +
		" && npm " + verb + " --omit=dev --no-audit --no-fund --loglevel=error && mkdir -p node_modules\n"
}

// unlocked is what a build tells whose dependencies no lock names.
func unlocked(a action.Action, files fs.FS) (notes []string) {
	switch a.Runtime {
	case "python3":
		if !has(files, "requirements.lock") && has(files, "requirements.txt") {
			notes = append(notes, "installed without a lock: `pelton action lock` writes requirements.lock")
		} else if !has(files, "requirements.lock") && !has(files, "uv.lock") && has(files, "pyproject.toml") {
			notes = append(notes, "installed without a lock: `pelton action lock` writes uv.lock")
		}
	case "nodejs":
		if npmDependencies(files) && !has(files, "package-lock.json") {
			notes = append(notes, "installed without a lock: `pelton action lock` writes package-lock.json")
		}
	}
	return notes
}

// compiled tells whether the bundle is made by a compiler, in a Job.
func compiled(a action.Action) bool {
	return a.Runtime == "go" || a.Runtime == "nodejs" && strings.HasSuffix(a.Handler, ".ts")
}

// goCaches is the stage that fills Go's caches with the standard library and the modules, so that a
// changed line compiles little. It depends on the modules and not on the action: its name is left out.
func goCaches(m material) (*stage, error) {
	mod, err := fs.ReadFile(m.files, "go.mod")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, local.NoGoMod()
	}
	if err != nil {
		return nil, err
	}
	sum, err := fs.ReadFile(m.files, "go.sum")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	wants := goModule.ReplaceAllString(string(mod), "module action")
	return &stage{Kind: "deps", Tools: true, Base: m.tools, Key: keyOf("go", m.tools, wants, string(sum)),
		Files: map[string]string{"mod/go.mod": wants + "\n", "mod/go.sum": string(sum)},
		Dockerfile: "FROM " + m.tools + "\nUSER root\nENV GOCACHE=/pelton/go/cache GOMODCACHE=/pelton/go/mod CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off\n" +
			"RUN cd " + spec.Context + "/mod && go mod download && go build -trimpath '-ldflags=-s -w' std\n"}, nil
}

var goModule = regexp.MustCompile(`(?m)^module\s+.+$`)

// goCompile is the stage that makes a Go action's bundle: the program alone, and bundle.json.
func goCompile(m material, build string) (*stage, error) {
	mod, err := fs.ReadFile(m.files, "go.mod")
	if err != nil {
		return nil, err
	}
	overlay, main, err := local.GoOverlay(mod, m.action)
	if err != nil {
		return nil, err
	}
	manifest, err := local.Manifest(build, m.action, "", "bin/action")
	if err != nil {
		return nil, err
	}
	files := map[string]string{"bundle.json": string(manifest)}
	replace := map[string]string{}
	for name, text := range overlay {
		files["gen/"+name] = text
		replace[path.Join(spec.Context, src, name)] = path.Join(spec.Context, "gen", name)
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	files["overlay.json"] = string(data)
	return &stage{Kind: "code", Key: build, Base: m.tools, Below: src, Files: files,
		Dockerfile: "FROM " + m.tools + " AS build\nUSER root\n" +
			"RUN mkdir -p " + made + "/bin && cd " + spec.Context + "/" + src + " && go build -trimpath '-ldflags=-s -w' -overlay " + spec.Context + "/overlay.json -o " + made + "/bin/action ./" + main +
			" && cp " + spec.Context + "/bundle.json " + made + "/bundle.json\n" + onlyBundle}, nil
}

const onlyBundle = "FROM scratch\nCOPY --from=build " + made + "/ /" + images.Bundle + "/\n"

// typescript is the stage that makes the bundle of a handler in TypeScript.
func typescript(m material, build string) (*stage, error) {
	manifest, err := local.Manifest(build, m.action, "node", "code/"+local.CompiledHandler)
	if err != nil {
		return nil, err
	}
	link := ""
	if npmDependencies(m.files) && !ownDockerfile(m.files) {
		link = " && ln -s /" + images.Deps + "/node_modules node_modules"
	}
	return &stage{Kind: "code", Key: build, Base: m.tools, Below: src, Files: map[string]string{"bundle.json": string(manifest)},
		Rename: map[string]string{src + "/packages.json": src + "/package.json"},
		Args:   map[string]string{"HANDLER": m.action.Handler},
		Dockerfile: "FROM " + m.tools + " AS build\nUSER root\n" +
			"RUN npm install --prefix " + spec.Tools + "/esbuild --no-audit --no-fund --loglevel=error esbuild@" + local.EsbuildVersion + "\n" +
			"RUN mkdir -p " + made + " && cp -R " + spec.Context + "/" + src + " " + made + "/code && cd " + made + `/code && ` +
			spec.Tools + `/esbuild/node_modules/.bin/esbuild "$HANDLER" ` + strings.Join(local.EsbuildArgs(local.CompiledHandler), " ") +
			" && chmod -R a+rX ." + link + " && cp " + spec.Context + "/bundle.json " + made + "/bundle.json\n" + onlyBundle}, nil
}

// bundle is the layer of an action that nothing compiles.
func bundle(m material, build string) ([]images.File, error) {
	names, err := action.Walk(m.files, ".")
	if err != nil {
		return nil, err
	}
	var out []images.File
	for _, name := range names {
		data, err := fs.ReadFile(m.files, name)
		if err != nil {
			return nil, err
		}
		info, err := fs.Stat(m.files, name)
		if err != nil {
			return nil, err
		}
		if name == "packages.json" && m.action.Runtime == "nodejs" && !has(m.files, "package.json") {
			name = "package.json"
		}
		out = append(out, images.File{Path: images.Bundle + "/code/" + name, Mode: int64(info.Mode().Perm() | 0o444), Data: data})
	}
	interpreter := "python3"
	if m.action.Runtime == "nodejs" {
		interpreter = "node"
		if npmDependencies(m.files) && !ownDockerfile(m.files) {
			out = append(out, images.File{Path: images.Bundle + "/code/node_modules", Link: "/" + images.Deps + "/node_modules"})
		}
	} else {
		out = append(out, images.File{Path: images.Bundle + "/deps", Link: "/" + images.Deps})
	}
	manifest, err := local.Manifest(build, m.action, interpreter, "code/"+m.action.Handler)
	if err != nil {
		return nil, err
	}
	return append(out, images.File{Path: images.Bundle + "/bundle.json", Mode: 0o644, Data: manifest}), nil
}

func has(files fs.FS, name string) bool { _, err := fs.Stat(files, name); return err == nil }
