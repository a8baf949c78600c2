// Package registrytest runs a private image registry for tests, Debian's docker-registry, on a free
// port of 127.0.0.1 with data of its own. It is ended by process id.
package registrytest

import (
	"context"
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

// Server is a registry of this process. It speaks plain HTTP and lets images be deleted.
type Server struct {
	Addr     string // host:port
	User     string // "" = everybody may read and write
	Password string

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

const settings = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %q}
`

// Start starts a server and returns once it answers. user is who may use it, "" for everybody.
func Start(ctx context.Context, user string) (*Server, error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, fmt.Errorf("docker-registry is missing: sudo apt-get install docker-registry")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "pelton-registry-")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, User: user, dir: dir, done: make(chan struct{})}
	if err := s.start(ctx, program); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, program string) error {
	text := fmt.Sprintf(settings, filepath.Join(s.dir, "data"), s.Addr)
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
	text := fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, s.Addr, s.User, password)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
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
