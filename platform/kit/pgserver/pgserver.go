// Package pgserver runs a private PostgreSQL: on a Unix socket only, a password per service,
// never trust, so that user code of the same machine does not become a database superuser.
package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Config of Start.
type Config struct {
	// Dir holds the data, the passwords and the server's log. As root it is given to an
	// unprivileged user, since PostgreSQL refuses root.
	Dir string
	// Databases are made with an owner role of the same name each.
	Databases []string
	// Cache keeps fetched binaries when the machine has none. Defaults to Dir/bin.
	Cache string
	Log   *slog.Logger
}

// Server is a running PostgreSQL.
type Server struct {
	cfg       Config
	data      string // may differ from cfg.Dir/data: see place
	socketDir string
	bin       string
	user      *osUser // nil = our own
	passwords map[string]string

	stopping context.Context // done from Stop on
	stop     context.CancelFunc

	mu    sync.Mutex
	cmd   *exec.Cmd
	done  chan struct{} // closed when cmd has ended
	watch sync.WaitGroup
	fresh bool // passwords were made just now
}

const (
	superuser  = "pelton"
	socketName = ".s.PGSQL.5432"
)

// Start makes the data folder on first use, starts the server or takes over one that a killed
// process of ours left, and makes the databases. It keeps the server running until Stop.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Cache == "" {
		cfg.Cache = filepath.Join(cfg.Dir, "bin")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	s := &Server{cfg: cfg}
	s.stopping, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if s.user, err = unprivileged(); err != nil {
		return nil, err
	}
	if err := s.place(); err != nil {
		return nil, err
	}
	if s.bin, err = binaries(cfg.Cache, cfg.Log); err != nil {
		return nil, err
	}
	if err := s.readPasswords(); err != nil {
		return nil, err
	}
	if s.socketDir, err = SocketDir(dir, "pg"); err != nil {
		return nil, err
	}
	if s.user != nil {
		if err := os.Chown(s.socketDir, s.user.uid, s.user.gid); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := s.initdb(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.stopStale(ctx); err != nil {
		return nil, err
	}
	if s.fresh {
		if err := s.tellPasswords(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	if err := s.ensureDatabases(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	s.watch.Add(1)
	go s.keepRunning()
	return s, nil
}

// DataDir is where the data lies.
func (s *Server) DataDir() string { return s.data }

// URL is the connection URL of a database for its own role.
func (s *Server) URL(database string) string {
	return s.url(database, database, s.passwords[database])
}

// SuperURL is the connection URL of the superuser, for tests and tools.
func (s *Server) SuperURL(database string) string {
	return s.url(database, superuser, s.passwords[superuser])
}

func (s *Server) url(database, user, password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Path: "/" + database}
	q := url.Values{"host": {s.socketDir}, "sslmode": {"disable"}}
	u.RawQuery = q.Encode()
	return u.String()
}

// PID of the server's first process, 0 when it is down.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil || s.cmd.Process == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// place decides where the data lies: in Dir, or, as root, in /var/lib/pelton/<hash of Dir> when
// the unprivileged user cannot reach Dir.
func (s *Server) place() error {
	s.data = filepath.Join(s.cfg.Dir, "data")
	if s.user != nil && !s.user.canReach(s.cfg.Dir) {
		s.data = filepath.Join("/var/lib/pelton", hash(s.cfg.Dir), "data")
		s.cfg.Log.Warn("the home cannot be reached by the user that runs PostgreSQL: the database lies elsewhere",
			"home", s.cfg.Dir, "database", s.data, "user", s.user.name)
	}
	for _, dir := range []string{s.cfg.Dir, filepath.Dir(s.data)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fault.Wrap(err, fault.Invalid, "home: the folder %s cannot be made: choose one that is writable", dir)
		}
	}
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return err
	}
	if s.user != nil {
		return os.Chown(s.data, s.user.uid, s.user.gid)
	}
	return nil
}

// readPasswords reads or makes the file of passwords, for its owner alone.
func (s *Server) readPasswords() error {
	file := filepath.Join(s.cfg.Dir, "passwords.json")
	s.passwords = map[string]string{}
	data, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(data, &s.passwords); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	changed := false
	for _, name := range append([]string{superuser}, s.cfg.Databases...) {
		if s.passwords[name] == "" {
			var b [24]byte
			if _, err := rand.Read(b[:]); err != nil {
				return err
			}
			s.passwords[name] = hex.EncodeToString(b[:])
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if data, err = json.MarshalIndent(s.passwords, "", "  "); err != nil {
		return err
	}
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	// On the disk before anything uses them: a database whose passwords nobody has is hard to open.
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	s.fresh = true
	return os.Rename(tmp, file)
}

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	if runtime.GOOS == "darwin" {
		cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=en_US.UTF-8", "TZ=UTC"}
	}
	cmd.Dir = "/"
	// A group of its own: a Ctrl-C at the terminal ends us first, and we end it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.user != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.user.uid), Gid: uint32(s.user.gid)}
	}
	return cmd
}

// initdb makes the data folder. A folder that an interrupted initdb left is emptied first: it
// holds no PG_VERSION, so it was never used.
func (s *Server) initdb(ctx context.Context) error {
	entries, err := os.ReadDir(s.data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.data, e.Name())); err != nil {
			return err
		}
	}
	// The password goes through a file that only the server's user can read.
	pw, err := os.CreateTemp(s.socketDir, "pw")
	if err != nil {
		return err
	}
	defer os.Remove(pw.Name())
	if _, err := pw.WriteString(s.passwords[superuser] + "\n"); err != nil {
		return err
	}
	if s.user != nil {
		if err := pw.Chown(s.user.uid, s.user.gid); err != nil {
			return err
		}
	}
	if err := pw.Close(); err != nil {
		return err
	}
	out, err := s.command(ctx, "initdb", "-D", s.data, "-U", superuser, "--pwfile="+pw.Name(), "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-instructions").CombinedOutput()
	if err != nil {
		_ = os.Remove(filepath.Join(s.data, "PG_VERSION"))
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// settings of a laptop: small, durable. fsync and synchronous_commit stay on.
func (s *Server) settings() map[string]string {
	return map[string]string{
		"listen_addresses":             "",
		"unix_socket_directories":      s.socketDir,
		"unix_socket_permissions":      "0777", // the folder is 0700 of the server's user, or ours
		"max_connections":              "200",
		"shared_buffers":               "128MB",
		"wal_level":                    "minimal",
		"max_wal_senders":              "0",
		"max_wal_size":                 "1GB",
		"checkpoint_completion_target": "0.9",
		"wal_compression":              "on",
		"random_page_cost":             "1.1",
		"jit":                          "off",
		"fsync":                        "on",
		"synchronous_commit":           "on",
		"full_page_writes":             "on",
		"log_min_messages":             "warning",
		"password_encryption":          "scram-sha-256",
	}
}

// ensureDatabases makes the roles and databases that are missing and sets the passwords.
func (s *Server) ensureDatabases(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.SuperURL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, name := range s.cfg.Databases {
		ident := pgx.Identifier{name}.Sanitize()
		var role, database bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1), EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&role, &database)
		if err != nil {
			return err
		}
		if !role {
			// A password is hexadecimal: it needs no quoting.
			if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD '%s'`, ident, s.passwords[name])); err != nil {
				return err
			}
		}
		if !database {
			if _, err := conn.Exec(ctx, fmt.Sprintf(`CREATE DATABASE %s OWNER %s`, ident, ident)); err != nil {
				return err
			}
			if _, err := conn.Exec(ctx, fmt.Sprintf(`REVOKE CONNECT ON DATABASE %s FROM PUBLIC`, ident)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stop ends the server with a fast shutdown and waits; after 20 s it is an immediate one.
func (s *Server) Stop() {
	s.mu.Lock()
	s.stop()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			<-done
		}
	}
	s.watch.Wait()
	_ = os.Remove(s.socketDir)
}

// SocketDir makes the folder for the sockets of a home: 0700, under $XDG_RUNTIME_DIR or the temp
// folder, named by a hash of the home, since a socket's path ends at 103 bytes.
func SocketDir(home, kind string) (string, error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if info, err := os.Stat(base); base == "" || err != nil || !info.IsDir() || os.Geteuid() == 0 {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "pelton-"+hash(home)[:12]+"-"+kind)
	if len(dir)+len("/"+socketName+".lock") > 103 {
		dir = filepath.Join("/tmp", filepath.Base(dir))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || (ok && os.Geteuid() != 0 && int(st.Uid) != os.Geteuid()) {
		return "", fault.New(fault.Conflict, "%s belongs to somebody else: set TMPDIR to a folder of your own", dir)
	}
	return dir, os.Chmod(dir, 0o700)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:16]
}
