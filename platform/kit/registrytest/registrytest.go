// Package registrytest runs a private image registry for tests, Debian's docker-registry, on a free
// port of 127.0.0.1 with data of its own. It is ended by process id.
package registrytest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pelton-run/pelton/platform/kit/testserver"
)

// Server is a registry of this process. It lets images be deleted.
type Server struct {
	Addr     string // host:port
	User     string // "" = everybody may read and write
	Password string
	CA       string // file with the authority of its certificate in PEM, "" = it speaks plain HTTP

	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

var servers = testserver.Kind[*Server]{Name: "image registry", Start: func(ctx context.Context) (*Server, error) { return Start(ctx, "") }}

// Main runs the tests of a package and stops what Shared started: func TestMain(m *testing.M) { registrytest.Main(m) }.
func Main(m *testing.M) { servers.Main(m) }

// Shared is the server of this test process, started at the first call. Everybody may read and write.
func Shared(t testing.TB) *Server { t.Helper(); return servers.Shared(t) }

// Guarded is a server of the test's own that only one user may read and write.
func Guarded(t testing.TB) *Server {
	t.Helper()
	s, err := Start(t.Context(), "pelton")
	if err != nil {
		t.Fatalf("no image registry for tests: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Secured is a server of the test's own at an address of this machine, that only one user may read and write. Its
// certificate is that of an authority of its own.
func Secured(t testing.TB, address string) *Server {
	t.Helper()
	s, err := prepare("pelton", address)
	if err == nil {
		s.CA = filepath.Join(s.dir, "ca.crt")
		t.Cleanup(s.Close)
		if err = certify(s.dir, address); err == nil {
			err = s.start(t.Context())
		}
	}
	if err != nil {
		t.Fatalf("no image registry for tests: %v", err)
	}
	return s
}

// Login is what `docker login` writes, with any password.
func (s *Server) Login(password string) []byte {
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.Addr, base64.StdEncoding.EncodeToString([]byte(s.User+":"+password)))
}

// Trusted has a container runtime trust the server, as its administrator tells every node's; certs is containerd's folder certs.d.
func (s *Server) Trusted(t testing.TB, certs string) {
	t.Helper()
	dir := filepath.Join(certs, s.Addr)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "hosts.toml"), fmt.Appendf(nil, "server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %[2]q\n", s.Addr, s.CA), 0o600)
	}
	if err != nil {
		t.Fatalf("the container runtime is not told of the registry: %v", err)
	}
}

const settings = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %q%s}
`

// Start starts a server and returns once it answers. user is who may use it, "" for everybody.
func Start(ctx context.Context, user string) (*Server, error) {
	s, err := prepare(user, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare finds a free port of an address, and a folder.
func prepare(user, address string) (*Server, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "pelton-registry-")
	if err != nil {
		return nil, err
	}
	return &Server{Addr: addr, User: user, dir: dir, done: make(chan struct{})}, nil
}

func (s *Server) start(ctx context.Context) error {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return fmt.Errorf("docker-registry is missing: sudo apt-get install docker-registry")
	}
	tls := ""
	if s.CA != "" {
		tls = fmt.Sprintf(", tls: {certificate: %[1]s/server.crt, key: %[1]s/server.key}", s.dir)
	}
	text := fmt.Sprintf(settings, filepath.Join(s.dir, "data"), s.Addr, tls)
	if s.User != "" {
		s.Password = testserver.Secret()
		hash, err := bcrypt.GenerateFromPassword([]byte(s.Password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		users := filepath.Join(s.dir, "htpasswd")
		if err := os.WriteFile(users, []byte(s.User+":"+string(hash)+"\n"), 0o600); err != nil {
			return err
		}
		text += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s}}\n", users)
	}
	config := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "output.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(program, "serve", config)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	go func() { _ = s.cmd.Wait(); close(s.done) }()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/v2/", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			tick.Stop()
			return nil
		}
		select {
		case <-tick.C:
		case <-s.done:
			said, _ := os.ReadFile(log.Name()) // for the message only
			return fmt.Errorf("docker-registry ended: %s", said)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Credentials writes a docker config.json for the server; password "" is the right one.
func (s *Server) Credentials(t testing.TB, password string) string {
	t.Helper()
	if password == "" {
		password = s.Password
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, s.Login(password), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Close ends the server and removes its data.
func (s *Server) Close() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	_ = os.RemoveAll(s.dir)
}
