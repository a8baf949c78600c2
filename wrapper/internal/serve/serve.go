// Package serve is the wrapper as a program: flags, listening, shutdown.
package serve

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/pelton-run/pelton/wrapper/internal/bundle"
	"github.com/pelton-run/pelton/wrapper/internal/host"
	"github.com/pelton-run/pelton/wrapper/internal/worker"
	"github.com/pelton-run/pelton/wrapper/node"
	"github.com/pelton-run/pelton/wrapper/python"
	"github.com/pelton-run/pelton/wrapper/wire"
	pb "github.com/pelton-run/pelton/wrapper/wrapperpb"
)

type options struct {
	socket, listen, bundle, state, instance, key, audience string
	uid, gid, parent                                       int
	beat, lease                                            time.Duration
	drain                                                  time.Duration
	preload, once                                          bool
	diskMiB                                                int64
	concurrency                                            int
	keyText                                                string // PEM
	began                                                  time.Time
}

// Main runs the wrapper and returns its exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] != "serve" {
		fmt.Fprintln(stderr, "usage: wrapper serve --socket PATH --bundle DIR --state DIR …")
		return 2
	}
	o := options{began: time.Now()}
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.socket, "socket", "", "Unix socket to listen on; empty: TCP on $PORT")
	f.StringVar(&o.bundle, "bundle", "", "folder of the build")
	f.StringVar(&o.state, "state", "", "folder for working files")
	f.StringVar(&o.instance, "instance", "", "name of this instance; empty with TCP: the host's name")
	f.StringVar(&o.key, "key", "", "PEM file of the runner's public key; empty: the text in $PELTON_CALL_KEY; calls over a socket need none")
	f.StringVar(&o.audience, "audience", os.Getenv("PELTON_AUDIENCE"), "audience of the runner's tokens; $PELTON_AUDIENCE by default")
	f.IntVar(&o.uid, "uid", -1, "user id of user code")
	f.IntVar(&o.gid, "gid", -1, "group id of user code")
	f.IntVar(&o.parent, "parent", 0, "process whose end, with nobody attached, is ours")
	f.DurationVar(&o.lease, "detach-lease", 30*time.Second, "how long an execution lives with nobody attached")
	f.DurationVar(&o.beat, "heartbeat", 10*time.Second, "between heartbeats of executions under way")
	f.DurationVar(&o.drain, "drain", 25*time.Second, "how long what is under way may go on after SIGTERM, with TCP")
	f.BoolVar(&o.preload, "preload", false, "load user code before the first execution; with TCP it always is")
	f.BoolVar(&o.once, "once", os.Getenv("PELTON_ONCE") == "true", "end once one execution has ended and its messages are fetched; $PELTON_ONCE by default")
	f.IntVar(&o.concurrency, "concurrency", 0, "executions at a time; 0 = as the bundle says")
	f.Int64Var(&o.diskMiB, "disk-mib", 10<<10, "limit of an execution's files")
	if err := f.Parse(args[1:]); err != nil {
		return 2
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	if o.socket == "" {
		if err := o.contain(); err != nil {
			fmt.Fprintln(stderr, "wrapper:", err)
			return 2
		}
	}
	if err := run(o, stdout, log); err != nil {
		log.Error("wrapper", "err", err)
		return 1
	}
	return 0
}

func run(o options, stdout io.Writer, log *slog.Logger) error {
	// Many wrappers share a machine. What lives in one is small, so that collecting it late costs little
	// memory; and it passes messages on, where waking another thread costs more than it brings.
	debug.SetGCPercent(200)
	debug.SetMemoryLimit(64 << 20)
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()/4))
	b, err := bundle.Load(o.bundle)
	if err != nil {
		return err
	}
	if o.concurrency > 0 {
		b.Concurrency = o.concurrency
	}
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(o.state, "x"), 0o711); err != nil {
		return err
	}
	for _, dir := range []string{o.state, filepath.Join(o.state, "x")} {
		if err := os.Chmod(dir, 0o711); err != nil { // user code walks through, and lists nothing
			return err
		}
	}
	shims, err := extract(o.state)
	if err != nil {
		return err
	}
	key, err := publicKey(o)
	if err != nil {
		return err
	}
	noNewPrivileges()
	worker.Adopt()
	pool := worker.NewPool(worker.Config{
		Bundle: b, ShimDir: shims, UID: o.uid, GID: o.gid, MaxFile: uint64(o.diskMiB) << 20, Env: environment(b, o.instance),
	})
	h := host.New(host.Config{
		Bundle: b, Pool: pool, StateDir: o.state, Instance: o.instance, Address: o.address(), Audience: o.audience, Key: key, Launched: o.launched(), Once: o.once,
		UID: o.uid, GID: o.gid, Lease: o.lease, Beat: o.beat, DiskMax: o.diskMiB << 20, Log: log,
	})
	l, err := listen(o.socket)
	if err != nil {
		return err
	}
	if o.preload { // it loads while the caller connects
		pool.Preload()
	}
	srv := grpc.NewServer(
		grpc.MaxRecvMsgSize(4<<20), grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(1<<20),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	pb.RegisterActionServer(srv, h)
	ready := health.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, ready)
	reflection.Register(srv)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	if o.socket != "" {
		l, err := listen(o.socket + wire.Suffix)
		if err != nil {
			return err
		}
		defer l.Close()
		go func() { _ = h.ServePlain(l) }()
	}
	fmt.Fprintln(stdout, "ready batch") // what it takes is told as well: asking Describe would cost a start a call
	orphaned := make(chan struct{})
	go func() {
		h.Watch(ctx, func() bool { return o.parent > 0 && gone(o.parent) })
		close(orphaned)
	}()
	select {
	case err = <-served:
	case <-ctx.Done():
	case <-orphaned:
		log.Info("nobody needs this instance any more: ending")
	}
	ready.Shutdown()
	if o.socket == "" {
		h.Finish(o.drain)
	}
	h.Drain()
	pool.Close()
	if o.socket == "" {
		hangUp(srv)
	}
	srv.Stop()
	if o.socket != "" {
		_ = os.Remove(o.socket)
		_ = os.Remove(o.socket + wire.Suffix)
	}
	_ = os.RemoveAll(o.state)
	if errors.Is(err, grpc.ErrServerStopped) {
		err = nil
	}
	return err
}

// hangUp lets calls that end have their last messages.
func hangUp(srv *grpc.Server) {
	told := make(chan struct{})
	go func() {
		srv.GracefulStop()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(2 * time.Second):
	}
}

// contain settles what a container leaves out: its settings are its environment, and there is no
// parent to watch.
func (o *options) contain() error {
	o.preload, o.parent = true, 0
	if o.key == "" {
		if o.keyText = os.Getenv("PELTON_CALL_KEY"); o.keyText == "" {
			return errors.New("PELTON_CALL_KEY is empty: give the PEM text of the runner's public key; calls over TCP are always signed")
		}
	}
	if o.audience == "" {
		return errors.New("PELTON_AUDIENCE is empty: give what the tokens of calls must be for, <project>/<build>")
	}
	if o.instance != "" {
		return nil
	}
	var err error
	o.instance, err = os.Hostname()
	return err
}

// launched is when a container's wrapper began, which is part of a cold start.
func (o *options) launched() time.Time {
	if o.socket != "" {
		return time.Time{}
	}
	return o.began
}

// address is where the instance is reached: its socket, or its first address beyond this machine.
func (o *options) address() string {
	if o.socket != "" {
		return o.socket
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

func listen(socket string) (net.Listener, error) {
	if socket == "" {
		port := os.Getenv("PORT")
		if port == "" {
			port = "8080"
		}
		return net.Listen("tcp", ":"+port)
	}
	_ = os.Remove(socket)
	old := syscall.Umask(0o177) // the socket is ours alone
	defer syscall.Umask(old)
	return net.Listen("unix", socket)
}

func gone(pid int) bool {
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// extract writes the shims beside the state, in a folder named by their content.
func extract(state string) (string, error) {
	h := sha256.New()
	all := []embed.FS{python.Files, node.Files}
	for _, files := range all {
		if err := eachFile(files, func(name string, data []byte) error {
			fmt.Fprintf(h, "%s %d\n", name, len(data))
			h.Write(data)
			return nil
		}); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(state, "shim-"+hex.EncodeToString(h.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp := dir + fmt.Sprintf(".%d", os.Getpid())
	for _, files := range all {
		if err := eachFile(files, func(name string, data []byte) error {
			path := filepath.Join(tmp, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.WriteFile(path, data, 0o644)
		}); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

func eachFile(files embed.FS, f func(name string, data []byte) error) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "test") {
			return err
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return f(path, data)
	})
}

func publicKey(o options) (ed25519.PublicKey, error) {
	data, file := []byte(o.keyText), "PELTON_CALL_KEY"
	if len(data) == 0 {
		if file = o.key; file == "" {
			return nil, nil
		}
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", file)
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no Ed25519 key", file)
	}
	return key, nil
}

// environment is what user code sees: an allow-list, never ours.
func environment(b *bundle.Bundle, instance string) []string {
	env := []string{"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8", "NODE_NO_WARNINGS=1"}
	for _, name := range []string{"PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	// The instance's mark lets a successor find and end what a killed wrapper left.
	env = append(env, "HOME=/nonexistent", "PELTON_INSTANCE="+instance)
	for k, v := range b.Env {
		env = append(env, k+"="+v)
	}
	return env
}
