// Package miniotest runs a private MinIO for tests, on a free port of 127.0.0.1 with data and
// credentials of its own. It is ended by process id.
package miniotest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pelton-run/pelton/platform/kit/testserver"
)

// Server is a MinIO of this process.
type Server struct {
	Addr      string // host:port
	AccessKey string
	SecretKey string

	dir     string
	program string
	cmd     *exec.Cmd
	done    chan struct{}
	buckets atomic.Int64
}

var servers = testserver.Kind[*Server]{Name: "MinIO", Start: Start}

// Main runs the tests of a package and stops what Shared started: func TestMain(m *testing.M) { miniotest.Main(m) }.
func Main(m *testing.M) { servers.Main(m) }

// Stop ends the shared server, if one was started.
func Stop() { servers.Stop() }

// Shared is the server of this test process, started at the first call.
func Shared(t testing.TB) *Server { t.Helper(); return servers.Shared(t) }

// New is a server of the test's own, which ends with the test.
func New(t testing.TB) *Server { t.Helper(); return servers.New(t) }

// Start starts a server and returns once it answers. The first time on a machine it builds one.
func Start(ctx context.Context) (*Server, error) {
	program, err := Program(ctx, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "pelton-minio-")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, AccessKey: "pelton", SecretKey: testserver.Secret(), dir: dir, program: program}
	if err := s.Restart(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Restart starts the server, after Kill, and returns once it answers.
func (s *Server) Restart(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "output.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.program, "server", "--quiet", "--address", s.Addr, filepath.Join(s.dir, "data"))
	s.cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + s.dir, "MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "GOMEMLIMIT=1GiB"}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.done = done
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(done) }(s.cmd)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.healthy(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			return fmt.Errorf("MinIO ended at its start:\n%s", s.tail())
		case <-ctx.Done():
			return fmt.Errorf("MinIO does not answer: %w\n%s", ctx.Err(), s.tail())
		}
	}
}

// healthy tells that the server answers and knows its users, which it reads last.
func (s *Server) healthy(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr+"/", strings.NewReader("Action=AssumeRole&Version=2011-06-15"))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode < http.StatusInternalServerError && !strings.Contains(string(text), "not initialized")
}

func (s *Server) tail() string {
	data, _ := os.ReadFile(filepath.Join(s.dir, "output.log"))
	return string(data[max(0, len(data)-2000):])
}

// Kill ends the server as a power cut does; Restart starts it again.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Close ends the server and removes its data.
func (s *Server) Close() {
	s.Kill()
	os.RemoveAll(s.dir)
}

// Bucket makes a new bucket and gives its name: a folder at the top of the data is one.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	if err := os.Mkdir(filepath.Join(s.dir, "data", name), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.Folder(name)) }) // what a test leaves may be gigabytes
	return name
}

// Folder is where the objects of a bucket lie, each a folder under its key.
func (s *Server) Folder(bucket string) string { return filepath.Join(s.dir, "data", bucket) }

// URL is that of a bucket, as the setting files has it.
func (s *Server) URL(bucket string) string { return "s3://" + s.Addr + "/" + bucket + "?tls=false" }

// Credentials writes the file of the administrator's credentials and gives its path.
func (s *Server) Credentials(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s3.yaml")
	if err := os.WriteFile(file, []byte("access_key: "+s.AccessKey+"\nsecret_key: "+s.SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
