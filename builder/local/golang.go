package local

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
	golang "github.com/pelton-run/pelton/wrapper/go"
)

var (
	modulePath = regexp.MustCompile(`(?m)^module\s+(\S+)`)
	goError    = regexp.MustCompile(`(?m)^(?:\./)?([\w./-]+\.go):(\d+):(?:\d+:)?\s*(.+)$`)
)

// golang compiles the action with its generated main; the bundle keeps the program alone.
func (j *job) golang(ctx context.Context, in interpreter, code string) (string, error) {
	data, err := os.ReadFile(filepath.Join(code, "go.mod"))
	if err != nil {
		return "", NoGoMod()
	}
	overlay, err := j.goOverlay(data, code)
	if err != nil {
		return "", err
	}
	bin, err := j.scratch("bin")
	if err != nil {
		return "", err
	}
	env := j.goEnvironment(in)
	small := "-ldflags=-s -w"
	if j.o.Debug {
		small = "-gcflags=all=-N -l"
	}
	if !open(in.path) && j.user.uid >= 0 {
		return "", &Error{Kind: "runtime_missing", Message: in.path + " cannot be run by the users that build: install Go for every user, " + remedy("golang-go", "go") + ", or https://go.dev/dl"}
	}
	err = j.phase("compile", func() error {
		out, err := j.command(ctx, code, env, in.path, "build", "-trimpath", small, "-overlay", overlay, "-o", filepath.Join(bin, "action"), "./"+golang.MainDir)
		if err != nil {
			return goProblem(out)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return filepath.Join("bin", "action"), errors.Join(os.RemoveAll(code), j.user.seal(bin), os.Chmod(bin, 0o755), os.Rename(bin, filepath.Join(j.tmp, "bin")))
}

// goEnvironment is what go works with: our caches, the user's proxies.
func (j *job) goEnvironment(in interpreter) []string {
	modcache := filepath.Join(j.cache, "gomod")
	if out, err := exec.Command(in.path, "env", "GOMODCACHE").Output(); err == nil && os.Geteuid() != 0 {
		modcache = strings.TrimSpace(string(out))
	}
	env := j.environment("CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOCACHE="+filepath.Join(j.cache, "go-build"), "GOMODCACHE="+modcache, "GOWORK=off", "GOPATH="+filepath.Join(j.cache, "gopath"))
	return append(env, goSettings(in)...)
}

// goSettings hands over the user's proxy settings, which `go env -w` may have put into a file.
func goSettings(in interpreter) []string {
	var out []string
	for _, name := range []string{"GOPROXY", "GOSUMDB", "GOPRIVATE", "GONOPROXY", "GONOSUMDB"} {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if v, err := exec.Command(in.path, "env", name).Output(); err == nil && strings.TrimSpace(string(v)) != "" {
			out = append(out, name+"="+strings.TrimSpace(string(v)))
		}
	}
	return out
}

// GoOverlay is the files that make a Go action's folder a program: what they are, by their paths in the
// module, and the folder of its main.
func GoOverlay(gomod []byte, a action.Action) (files map[string]string, main string, err error) {
	m := modulePath.FindSubmatch(gomod)
	if m == nil {
		return nil, "", &Error{Kind: "compile", File: "go.mod", Line: 1, Message: "go.mod: names no module"}
	}
	files, err = golang.Overlay(string(m[1]), a.Kind == "Source", goItems(a.Inputs), goItems(a.Outputs))
	if err != nil {
		return nil, "", &Error{Kind: "compile", Message: err.Error()}
	}
	return files, golang.MainDir, nil
}

func (j *job) goOverlay(gomod []byte, code string) (string, error) {
	files, _, err := GoOverlay(gomod, j.o.Action)
	if err != nil {
		return "", err
	}
	gen := filepath.Join(j.work, "gen")
	replace := map[string]string{}
	for name, text := range files {
		path := filepath.Join(gen, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(code, name)] = path
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(j.work, "overlay.json")
	return overlay, os.WriteFile(overlay, data, 0o644)
}

// NoGoMod is a Go action without a module.
func NoGoMod() *Error {
	return &Error{Kind: "compile", Message: "there is no go.mod: run go mod init in the action's folder"}
}

func goItems(items []action.Item) []golang.Item {
	var out []golang.Item
	for _, i := range items {
		out = append(out, golang.Item{Name: i.Name, Type: i.Type, Optional: i.Optional})
	}
	return out
}

func goProblem(out string) error {
	switch {
	case strings.Contains(out, "no required module provides package"), strings.Contains(out, "missing go.sum entry"), strings.Contains(out, "unknown revision"), strings.Contains(out, "invalid version"):
		return &Error{Kind: "dependency", Message: "a module is missing: run `pelton action lock` on the action's folder\n" + lastLines(out, 6)}
	}
	if m := goError.FindStringSubmatch(out); m != nil {
		line, _ := strconv.Atoi(m[2])
		return &Error{Kind: "compile", File: m[1], Line: line, Message: m[1] + ":" + m[2] + ": " + m[3]}
	}
	if e := network(out, "GOPROXY"); e != nil {
		return e
	}
	return &Error{Kind: "compile", Message: lastLines(out, 10)}
}
