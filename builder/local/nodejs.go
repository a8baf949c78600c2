package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
)

// Esbuild compiles TypeScript handlers: its version, its arguments but for the handler, and the
// file that it makes beside it. Source maps name the sources as seen from a folder beside the code.
const (
	EsbuildVersion  = "0.25.5"
	CompiledHandler = "handler.compiled.mjs"
)

// EsbuildArgs are the arguments behind the handler's name; out is the file to be made.
func EsbuildArgs(out string) []string {
	return []string{"--bundle", "--packages=external", "--platform=node", "--format=esm", "--target=node20", "--sourcemap=inline", "--log-level=warning", "--outfile=" + out}
}

// nodejs installs dependencies with npm, checks the syntax, and compiles TypeScript.
func (j *job) nodejs(ctx context.Context, in interpreter, code string) (handler string, err error) {
	if err := j.npmDeps(ctx, in, code); err != nil {
		return "", err
	}
	handler = filepath.Join("code", j.o.Action.Handler)
	err = j.phase("compile", func() error {
		if strings.HasSuffix(handler, ".ts") {
			handler, err = j.typescript(ctx, in, code)
			return err
		}
		out, err := j.quiet().command(ctx, code, j.environment(), in.path, "--check", j.o.Action.Handler)
		if err != nil {
			return nodeSyntax(out, code)
		}
		return nil
	})
	return handler, err
}

var nodePlace = regexp.MustCompile(`(?m)^(?:file://)?(/\S+?):(\d+)$`)

func nodeSyntax(out, code string) error {
	e := &Error{Kind: "compile", Message: "the handler has a syntax error"}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Error:") {
			e.Message = strings.TrimSpace(line)
			break
		}
	}
	if m := nodePlace.FindStringSubmatch(out); m != nil {
		if rel, err := filepath.Rel(code, m[1]); err == nil && filepath.IsLocal(rel) {
			e.File = rel
			e.Line, _ = strconv.Atoi(m[2])
			e.Message = rel + ":" + m[2] + ": " + e.Message
		}
	}
	return e
}

func (j *job) npmDeps(ctx context.Context, in interpreter, code string) error {
	if _, err := os.Stat(filepath.Join(code, "package.json")); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(filepath.Join(code, "packages.json"), filepath.Join(code, "package.json")); err != nil {
			return nil // no dependencies
		}
	}
	data, err := os.ReadFile(filepath.Join(code, "package.json"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), `"dependencies"`) {
		return nil
	}
	digest, err := action.LockDigest(os.DirFS(code), ".", j.o.Action, "node", in.version)
	if err != nil {
		return err
	}
	// Node.js resolves a package's own needs from where it really lies: that folder has to be
	// called node_modules, too.
	return j.deps(ctx, digest, filepath.Join("code", "node_modules"), "node_modules", func(ctx context.Context, dir string) error {
		return j.npmInstall(ctx, in, code, dir)
	})
}

// npmInstall installs into a folder of its own and moves its node_modules into dir.
func (j *job) npmInstall(ctx context.Context, in interpreter, code, dir string) error {
	npm, err := npmOf(in)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	locked := false
	for _, name := range action.LockFiles["nodejs"] {
		data, err := os.ReadFile(filepath.Join(code, name))
		if err != nil {
			continue
		}
		locked = locked || name == "package-lock.json"
		if err := j.give(root, name, data); err != nil {
			return err
		}
	}
	verb := "ci"
	if !locked {
		verb = "install"
		j.r.Notes = append(j.r.Notes, "installed without a lock: `pelton action lock` writes package-lock.json")
	}
	env, err := j.npmEnvironment()
	if err != nil {
		return err
	}
	out, err := j.command(ctx, dir, env, npm, verb, "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error")
	if err != nil {
		return npmError(out)
	}
	// Without it every dependency is for development.
	if err := root.Mkdir("node_modules", 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// npmOf is npm: the one on PATH, else the one beside node.
func npmOf(in interpreter) (string, error) {
	if npm, err := exec.LookPath("npm"); err == nil {
		return npm, nil
	}
	beside := filepath.Join(filepath.Dir(in.path), "npm")
	if _, err := os.Stat(beside); err != nil {
		return "", &Error{Kind: "runtime_missing", Message: "npm is missing: " + remedy("npm", "node")}
	}
	return beside, nil
}

func npmError(out string) error {
	if strings.Contains(out, "E404") || strings.Contains(out, "ETARGET") {
		name := "a dependency"
		if m := regexp.MustCompile(`404 .*?'([^']+)' is not in|No matching version found for (\S+)`).FindStringSubmatch(out); m != nil {
			name = m[1] + m[2]
		}
		return &Error{Kind: "dependency", Message: "there is no package " + name + " in the npm registry: check its name and version in package.json\n" + lastLines(out, 4)}
	}
	if e := network(out, "npm_config_registry"); e != nil {
		return e
	}
	return &Error{Kind: "dependency", Message: "the dependencies cannot be installed:\n" + lastLines(out, 10)}
}

// npmEnvironment is npm's environment, with the user's own settings: registry, mirror, certificates.
func (j *job) npmEnvironment() ([]string, error) {
	env := j.environment("npm_config_cache="+filepath.Join(j.cache, "npm"), "npm_config_update_notifier=false")
	var rc []byte
	if home, err := os.UserHomeDir(); err == nil {
		rc, _ = os.ReadFile(filepath.Join(home, ".npmrc")) // most have none
	}
	for _, kv := range os.Environ() {
		// Settings of one registry or scope, which shells drop from the environment.
		if name, ok := strings.CutPrefix(kv, "npm_config_"); ok && (strings.HasPrefix(name, "//") || strings.HasPrefix(name, "@")) {
			rc = append(rc, name+"\n"...)
		}
	}
	if len(rc) == 0 {
		return env, nil
	}
	path, err := j.share("npmrc", rc)
	return append(env, "npm_config_userconfig="+path), err
}

// typescript compiles the handler with its own modules into one file; packages stay outside.
func (j *job) typescript(ctx context.Context, in interpreter, code string) (string, error) {
	bin, err := j.esbuild(ctx, in)
	if err != nil {
		return "", err
	}
	made, err := j.scratch("out")
	if err != nil {
		return "", err
	}
	out, err := j.command(ctx, code, j.environment(), bin, append([]string{j.o.Action.Handler}, EsbuildArgs(filepath.Join(made, CompiledHandler))...)...)
	if err != nil {
		return "", typescriptProblem(out)
	}
	if err := j.user.seal(made); err != nil {
		return "", err
	}
	return filepath.Join("code", CompiledHandler), os.Rename(filepath.Join(made, CompiledHandler), filepath.Join(code, CompiledHandler))
}

// typescriptProblem reads where esbuild found what it does not understand:
//
//	✘ [ERROR] Expected ";" but found "is"
//
//	    handler.ts:2:5:
func typescriptProblem(out string) error {
	e := &Error{Kind: "compile", Message: lastLines(out, 10)}
	said, place := typescriptSaid.FindStringSubmatch(out), typescriptPlace.FindStringSubmatch(out)
	if said != nil && place != nil {
		e.File = place[1]
		e.Line, _ = strconv.Atoi(place[2])
		e.Message = place[1] + ":" + place[2] + ": " + said[1]
	}
	return e
}

var (
	typescriptSaid  = regexp.MustCompile(`(?m)\[ERROR\] (.+)$`)
	typescriptPlace = regexp.MustCompile(`(?m)^\s+(\S+\.[cm]?[jt]sx?):(\d+):\d+:$`)
)

// esbuild finds or fetches the compiler of TypeScript.
func (j *job) esbuild(ctx context.Context, in interpreter) (string, error) {
	dir := filepath.Join(j.b.o.Home, "tools", "esbuild-"+EsbuildVersion)
	bin := filepath.Join(dir, "node_modules", ".bin", "esbuild")
	unlock := j.b.lock(dir)
	defer unlock()
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	j.log("fetching esbuild %s, the TypeScript compiler, once", EsbuildVersion)
	npm, err := exec.LookPath("npm")
	if err != nil {
		npm = filepath.Join(filepath.Dir(in.path), "npm")
	}
	t, err := j.tools()
	if err != nil {
		return "", err
	}
	made, err := t.scratch("esbuild")
	if err != nil {
		return "", err
	}
	env, err := t.npmEnvironment()
	if err != nil {
		return "", err
	}
	out, err := t.command(ctx, made, env, npm, "install", "--prefix", made, "--no-audit", "--no-fund", "--loglevel=error", "esbuild@"+EsbuildVersion)
	if err != nil {
		if e := network(out, "npm_config_registry"); e != nil {
			return "", e
		}
		return "", &Error{Kind: "dependency", Message: "esbuild could not be fetched:\n" + lastLines(out, 4)}
	}
	return bin, errors.Join(os.MkdirAll(filepath.Dir(dir), 0o755), os.RemoveAll(dir), t.user.seal(made), os.Chmod(made, 0o755), os.Rename(made, dir))
}
