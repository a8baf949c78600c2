package local

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// reachable is an interpreter that an unprivileged user may run: where we are root and the found
// one lies in a folder of root's own, the system's is taken.
func reachable(path string) string {
	if os.Geteuid() != 0 {
		return path
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			for _, p := range []string{"/usr/bin/python3", "/usr/local/bin/python3"} {
				if real, err := filepath.EvalSymlinks(p); err == nil {
					return real
				}
			}
			return path
		}
		if dir == filepath.Dir(dir) {
			return path
		}
	}
}

// environment is what package managers and compilers see: a private home, and the user's proxy,
// mirror, index and certificate settings.
func (j *job) environment(extra ...string) []string {
	home := filepath.Join(j.b.o.Home, "cache", "home")
	_ = os.MkdirAll(home, 0o755)
	env := []string{"HOME=" + home, "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "CI=1", "NO_COLOR=1"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		upper := strings.ToUpper(name)
		switch {
		case name == "PATH", name == "TMPDIR", upper == "HTTP_PROXY", upper == "HTTPS_PROXY", upper == "NO_PROXY", upper == "ALL_PROXY",
			strings.HasPrefix(upper, "SSL_CERT"), name == "REQUESTS_CA_BUNDLE", name == "CURL_CA_BUNDLE", name == "NODE_EXTRA_CA_CERTS", name == "PIP_CERT",
			name == "PIP_INDEX_URL", name == "PIP_EXTRA_INDEX_URL", name == "PIP_TRUSTED_HOST", name == "PIP_FIND_LINKS", name == "PIP_CONFIG_FILE",
			strings.HasPrefix(name, "UV_"), strings.HasPrefix(upper, "NPM_CONFIG_"),
			name == "GOPROXY", name == "GOSUMDB", name == "GONOSUMDB", name == "GOPRIVATE", name == "GONOPROXY", name == "GOINSECURE", name == "GOTOOLCHAIN":
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}

// command runs a program in dir with its lines in the log, in a group of its own that ends with
// ctx, and returns its output.
func (j *job) command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if j.b.o.UID >= 0 && os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(j.b.o.UID), Gid: uint32(j.b.o.GID)}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		w.Close()
		return "", err
	}
	w.Close()
	var out strings.Builder
	lines := bufio.NewReaderSize(io.LimitReader(r, 64<<20), 64<<10)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			if out.Len() < 1<<20 {
				out.WriteString(line + "\n")
			}
			j.log("%s", line)
		}
		if err != nil {
			break
		}
	}
	return out.String(), cmd.Wait()
}

var (
	networkSigns = regexp.MustCompile(`(?i)(dns error|could not resolve|temporary failure in name resolution|name or service not known|no such host|connection refused|network is unreachable|timed out|timeout|ENOTFOUND|ECONNREFUSED|ECONNRESET|EAI_AGAIN|ETIMEDOUT|tls handshake|certificate|failed to fetch|error sending request|proxyconnect|Connection reset|403 Forbidden|502 Bad Gateway|503 Service)`)
	hostPattern  = regexp.MustCompile(`https?://([A-Za-z0-9.-]+)`)
)

// network makes an Error when a package manager could not reach its registry.
func network(output, setting string) *Error {
	if !networkSigns.MatchString(output) {
		return nil
	}
	host := "the package registry"
	if m := hostPattern.FindStringSubmatch(output); m != nil {
		host = m[1]
	}
	return &Error{Kind: "network", Host: host, Setting: setting,
		Message: host + " could not be reached: check the connection, or set " + setting + " to a mirror that can\n" + lastLines(output, 6)}
}

func lastLines(s string, n int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
