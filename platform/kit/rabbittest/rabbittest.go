// Package rabbittest runs a private RabbitMQ for tests: on free ports of 127.0.0.1, with data,
// node name, cookie and name server (epmd) of its own, so that it meets no other broker of the
// machine. It is ended by process id.
package rabbittest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pelton-run/pelton/platform/kit/testserver"
)

// Server is a RabbitMQ of this process. Its methods are called by one goroutine at a time.
type Server struct {
	dir       string
	sbin      string
	node      string
	port      int
	epmd      int
	dist      int
	password  string
	cred      *syscall.Credential
	names     *exec.Cmd // epmd
	cmd       *exec.Cmd
	done      chan struct{}
	vhosts    atomic.Int64
	logOutput *os.File
}

var servers = testserver.Kind[*Server]{Name: "RabbitMQ", Start: Start}

// Main runs the tests of a package and stops what Shared started: func TestMain(m *testing.M) { rabbittest.Main(m) }.
func Main(m *testing.M) { servers.Main(m) }

// Stop ends the shared server, if one was started.
func Stop() { servers.Stop() }

// Shared is the server of this test process, started at the first call. Tests that restart it or
// change its users start one of their own.
func Shared(t testing.TB) *Server { t.Helper(); return servers.Shared(t) }

// New is a server of the test's own, which ends with the test.
func New(t testing.TB) *Server { t.Helper(); return servers.New(t) }

const adminUser = "pelton"

// Start starts a server and returns once it takes connections. It fails, naming the package, on a
// machine without RabbitMQ.
func Start(ctx context.Context) (*Server, error) {
	found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
	more, _ := filepath.Glob("/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server")
	if found = append(found, more...); len(found) == 0 {
		return nil, fmt.Errorf("RabbitMQ is missing: install it with `apt-get install -y rabbitmq-server` (macOS: brew install rabbitmq)")
	}
	dir, err := os.MkdirTemp("", "pelton-rabbit-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, sbin: filepath.Dir(found[len(found)-1]), password: testserver.Secret(), node: "pelton" + testserver.Secret()[:12] + "@localhost"}
	if err := s.prepare(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := s.startNames(); err != nil {
		s.Close()
		return nil, err
	}
	if err := s.Restart(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare chooses ports and an unprivileged user, and writes settings.
func (s *Server) prepare() error {
	var taken []net.Listener
	for _, p := range []*int{&s.port, &s.epmd, &s.dist} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		taken = append(taken, l)
		*p = l.Addr().(*net.TCPAddr).Port
	}
	for _, l := range taken {
		l.Close()
	}
	conf := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nloopback_users = none\ndefault_user = %s\ndefault_pass = %s\nlog.console = false\nlog.file.level = warning\nvm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n", s.port, adminUser, s.password)
	for name, text := range map[string]string{"rabbitmq.conf": conf, "plugins": "[].\n", "env": "", ".erlang.cookie": testserver.Secret()} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(s.dir, ".erlang.cookie"), 0o400); err != nil {
		return err
	}
	return s.unprivileged()
}

// unprivileged gives the folder to a user without rights, where we are root.
func (s *Server) unprivileged() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"rabbitmq", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 != nil || err2 != nil {
			continue
		}
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return filepath.WalkDir(s.dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(path, uid, gid)
		})
	}
	return fmt.Errorf("there is neither a user rabbitmq nor nobody to run RabbitMQ as")
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	at := func(name string) string { return filepath.Join(s.dir, name) }
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin", "LC_ALL=C.UTF-8", "HOME=" + s.dir,
		"RABBITMQ_NODENAME=" + s.node, "RABBITMQ_NODE_PORT=" + strconv.Itoa(s.port), "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_DIST_PORT=" + strconv.Itoa(s.dist),
		"RABBITMQ_CONFIG_FILE=" + at("rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE=" + at("advanced.config"), "RABBITMQ_CONF_ENV_FILE=" + at("env"), "RABBITMQ_ENABLED_PLUGINS_FILE=" + at("plugins"),
		"RABBITMQ_MNESIA_BASE=" + at("data"), "RABBITMQ_LOG_BASE=" + at("log"), "RABBITMQ_PID_FILE=" + at("pid"), "RABBITMQ_GENERATED_CONFIG_DIR=" + at("generated"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + strconv.Itoa(s.epmd),
		"NOTIFY_SOCKET=" + at("notify")} // as under systemd, the script becomes the server, which is then our own child
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.cred}
	cmd.Stdout, cmd.Stderr = s.logOutput, s.logOutput
	return cmd
}

// startNames starts the node's name server as our child; Erlang would leave one behind.
func (s *Server) startNames() (err error) {
	if s.logOutput, err = os.Create(filepath.Join(s.dir, "output.log")); err != nil {
		return err
	}
	names, err := exec.LookPath("epmd")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/erlang/erts-*/bin/epmd")
		if len(found) == 0 {
			return fmt.Errorf("epmd of Erlang is missing: %w", err)
		}
		names = found[0]
	}
	s.names = s.command(context.Background(), names, "-address", "127.0.0.1", "-port", strconv.Itoa(s.epmd))
	return s.names.Start()
}

// Restart starts the server, after Stop or Kill, and returns once it takes connections.
func (s *Server) Restart(ctx context.Context) error {
	s.cmd = s.command(context.Background(), filepath.Join(s.sbin, "rabbitmq-server"))
	if err := s.cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.done = done
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(done) }(s.cmd)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if greets(s.Addr()) {
			return nil
		}
		select {
		case <-tick.C:
		case <-done:
			return fmt.Errorf("RabbitMQ ended at its start:\n%s", s.tail())
		case <-ctx.Done():
			return fmt.Errorf("RabbitMQ does not answer: %w\n%s", ctx.Err(), s.tail())
		}
	}
}

// greets tells that a broker speaks AMQP there: a port alone may be open before it does.
func greets(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return false
	}
	var frame [1]byte
	n, err := conn.Read(frame[:])
	return err == nil && n == 1 && frame[0] == 1
}

func (s *Server) tail() string {
	data, _ := os.ReadFile(filepath.Join(s.dir, "output.log"))
	return string(data[max(0, len(data)-2000):])
}

// StopBroker shuts the broker down in order; Restart starts it again.
func (s *Server) StopBroker() { s.end(syscall.SIGTERM, 60*time.Second) }

// Kill ends the broker as a power cut does; Restart starts it again.
func (s *Server) Kill() { s.end(syscall.SIGKILL, 0) }

func (s *Server) end(with syscall.Signal, patience time.Duration) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, with)
	if patience > 0 {
		select {
		case <-s.done:
		case <-time.After(patience):
		}
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-s.done
}

// Close ends the server and removes its data.
func (s *Server) Close() {
	s.Kill() // nobody needs the data
	if s.names != nil && s.names.Process != nil {
		_ = s.names.Process.Kill()
		_ = s.names.Wait()
	}
	if s.logOutput != nil {
		s.logOutput.Close()
	}
	os.RemoveAll(s.dir)
}

// Addr is host:port of AMQP.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the administrator's on the first virtual host.
func (s *Server) URL() string { return s.UserURL(adminUser, s.password, "/") }

// UserURL is a user's on a virtual host.
func (s *Server) UserURL(user, password, vhost string) string {
	return "amqp://" + url.UserPassword(user, password).String() + "@" + s.Addr() + "/" + url.PathEscape(vhost)
}

// Permissions are the patterns of names that a user may configure, write to and read from.
type Permissions struct{ Configure, Write, Read string }

// Tenant makes a virtual host, whose names meet no other's, and users with permissions on it alone.
// It gives the URL of each.
func (s *Server) Tenant(ctx context.Context, users map[string]Permissions) (map[string]string, error) {
	vhost := fmt.Sprintf("v%d", s.vhosts.Add(1))
	urls := map[string]string{}
	// One call, since each starts an Erlang of its own.
	code := fmt.Sprintf("rabbit_vhost:add(<<%q>>, <<\"test\">>)", vhost)
	for user, may := range users {
		name, password := vhost+"-"+user, testserver.Secret()
		urls[user] = s.UserURL(name, password, vhost)
		code += fmt.Sprintf(", ok = rabbit_auth_backend_internal:add_user(<<%q>>, <<%q>>, <<\"test\">>), ok = rabbit_auth_backend_internal:set_permissions(<<%q>>, <<%q>>, <<%q>>, <<%q>>, <<%q>>, <<\"test\">>)",
			name, password, name, vhost, may.Configure, may.Write, may.Read)
	}
	_, err := s.Ctl(ctx, "eval", code+".")
	return urls, err
}

// Ctl runs rabbitmqctl against the server and gives what it prints.
func (s *Server) Ctl(ctx context.Context, args ...string) (string, error) {
	cmd := s.command(ctx, filepath.Join(s.sbin, "rabbitmqctl"), append([]string{"-q"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("rabbitmqctl %s: %w: %s%s", args[0], err, out.String(), errs.String())
	}
	return out.String(), nil
}
