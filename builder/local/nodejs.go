package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
)

// esbuildVersion compiles TypeScript handlers.
const esbuildVersion = "0.25.5"

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
		quiet := &job{b: j.b, o: Order{}, r: j.r}
		out, err := quiet.command(ctx, code, j.environment(), in.path, "--check", j.o.Action.Handler)
		if err != nil {
			return nodeSyntax(out, code)
		}
		return nil
	})
	return handler, err
}

var nodePlace = regexp.MustCompile(`(?m)^(?:file://)?(/\S+?):(\d+)$`)

func nodeSyntax(out, code string) error {
	message := "the handler has a syntax error"
	for line := range strings.Lines(out) {
		if strings.Contains(line, "Error:") {
			message = strings.TrimSpace(line)
			break
		}
	}
	if m := nodePlace.FindStringSubmatch(out); m != nil {
		if rel, err := filepath.Rel(code, m[1]); err == nil {
			message = rel + ":" + m[2] + ": " + message
		}
	}
	return &Error{Kind: "compile", Message: message}
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
	work := dir + ".work"
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	locked := false
	for _, name := range action.LockFiles["nodejs"] {
		data, err := os.ReadFile(filepath.Join(code, name))
		if err != nil {
			continue
		}
		locked = locked || name == "package-lock.json"
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			return err
		}
	}
	verb := "ci"
	if !locked {
		verb = "install"
		j.r.Notes = append(j.r.Notes, "installed without a lock: `pelton action lock` writes package-lock.json")
	}
	out, err := j.command(ctx, work, j.npmEnvironment(), npm, verb, "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error")
	if err != nil {
		return npmError(out)
	}
	modules := filepath.Join(work, "node_modules")
	if _, err := os.Stat(modules); errors.Is(err, os.ErrNotExist) {
		return os.Mkdir(filepath.Join(dir, "node_modules"), 0o755) // every dependency is for development
	}
	return os.Rename(modules, filepath.Join(dir, "node_modules"))
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

// npmEnvironment is what npm works with: our cache, the user's registry and certificates.
func (j *job) npmEnvironment() []string {
	env := j.environment("npm_config_cache="+filepath.Join(j.b.o.Home, "cache", "npm"), "npm_config_update_notifier=false")
	if rc := userNpmrc(); rc != "" {
		env = append(env, "npm_config_userconfig="+rc)
	}
	return env
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

// userNpmrc is the user's npm settings: registry, mirror, certificates.
func userNpmrc() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	rc := filepath.Join(home, ".npmrc")
	if _, err := os.Stat(rc); err != nil {
		return ""
	}
	return rc
}

// typescript compiles the handler with its own modules into one file; packages stay outside.
func (j *job) typescript(ctx context.Context, in interpreter, code string) (string, error) {
	dir := filepath.Join(j.b.o.Home, "tools", "esbuild-"+esbuildVersion)
	bin := filepath.Join(dir, "node_modules", ".bin", "esbuild")
	unlock := j.b.lock(dir)
	if _, err := os.Stat(bin); err != nil {
		j.log("fetching esbuild %s, the TypeScript compiler, once", esbuildVersion)
		npm, err := exec.LookPath("npm")
		if err != nil {
			npm = filepath.Join(filepath.Dir(in.path), "npm")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			unlock()
			return "", err
		}
		env := j.environment("npm_config_cache=" + filepath.Join(j.b.o.Home, "cache", "npm"))
		if rc := userNpmrc(); rc != "" {
			env = append(env, "npm_config_userconfig="+rc)
		}
		out, err := j.command(ctx, dir, env, npm, "install", "--prefix", dir, "--no-audit", "--no-fund", "--loglevel=error", "esbuild@"+esbuildVersion)
		if err != nil {
			unlock()
			if e := network(out, "npm_config_registry"); e != nil {
				return "", e
			}
			return "", &Error{Kind: "dependency", Message: "esbuild could not be fetched:\n" + lastLines(out, 4)}
		}
	}
	unlock()
	out, err := j.command(ctx, code, j.environment(), bin, j.o.Action.Handler, "--bundle", "--packages=external", "--platform=node",
		"--format=esm", "--target=node20", "--sourcemap=inline", "--log-level=warning", "--outfile=handler.compiled.mjs")
	if err != nil {
		return "", &Error{Kind: "compile", Message: lastLines(out, 10)}
	}
	return filepath.Join("code", "handler.compiled.mjs"), nil
}
