package apply

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A workflow that apply saved says so in its last line, where it changes no other line's number.
// The line lies on the server with the rest of the text: --prune works from any checkout.
const originMark = "# pelton apply: from "

var originLine = regexp.MustCompile(`(?m)^` + originMark + `(.*)\n?`)

// originOf is the origin that a saved text names, "" for none.
func originOf(text string) string {
	if m := originLine.FindAllStringSubmatch(text, -1); m != nil {
		return m[len(m)-1][1]
	}
	return ""
}

// marked is the text with the origin as its last line.
func marked(text []byte, origin string) []byte {
	out := originLine.ReplaceAll(text, nil)
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\n")) {
		out = append(out, '\n')
	}
	return append(out, originMark+origin+"\n"...)
}

var scpLike = regexp.MustCompile(`^(?:[^@/]+@)?([^:/]+):(.+)$`)

// origin names the folder that documents come from: its place in the remote repository, which is
// the same in every checkout, or else its place on this machine.
func origin(ctx context.Context, path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", err
	}
	if info, err := os.Stat(abs); err == nil && !info.IsDir() {
		abs = filepath.Dir(abs)
	}
	if filepath.Base(abs) == "workflows" {
		abs = filepath.Dir(abs)
	}
	remote, err1 := git(ctx, abs, "remote", "get-url", "origin")
	inside, err2 := git(ctx, abs, "rev-parse", "--show-prefix")
	if err1 != nil || err2 != nil || remote == "" {
		return abs, nil
	}
	return strings.TrimSuffix(remoteName(remote)+"//"+strings.Trim(inside, "/"), "//"), nil
}

// remoteName is a remote's host and path: equal for https and ssh, and without credentials.
func remoteName(remote string) string {
	u, err := url.Parse(remote)
	switch {
	case err == nil && u.Scheme == "file":
		return strings.TrimSuffix(u.Path, ".git")
	case err == nil && u.Host != "":
		return u.Hostname() + "/" + strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	}
	if m := scpLike.FindStringSubmatch(remote); m != nil {
		return m[1] + "/" + strings.TrimSuffix(strings.Trim(m[2], "/"), ".git")
	}
	return strings.TrimSuffix(remote, ".git")
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}
