package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pelton-run/pelton/builder"
	"github.com/pelton-run/pelton/eventing/membus"
	"github.com/pelton-run/pelton/platform/authorization"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/pgserver"
	"github.com/pelton-run/pelton/platform/kit/run"
	"github.com/pelton-run/pelton/platform/repository"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/studio"
)

// Main runs the server as a program and returns its exit code: 0, 1 for a failure, 2 for wrong usage.
func Main(args, environ []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("peltond", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("config", "", "settings file (YAML), over the built-in settings")
	home := f.String("home", "", "folder of the data (default .pelton)")
	listen := f.String("listen", "", "address to listen on (default 127.0.0.1:8080)")
	target := f.String("target", "", "services to run: all, or runner for a further replica (default all)")
	replica := f.String("replica", "", "name of this process among several on one store and home")
	trust := f.Bool("trust-actions", false, "allow an address beyond this machine although actions can read what this user can")
	level := f.String("log", "", "debug, info, warn or error")
	version := f.Bool("version", false, "print the version")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if *version {
		fmt.Fprintln(stdout, Version)
		return 0
	}
	set := map[string]string{}
	for path, v := range map[string]string{"home": *home, "http.listen": *listen, "target": *target, "replica": *replica, "log": *level} {
		if v != "" {
			set[path] = v
		}
	}
	if *trust {
		set["trust_actions"] = "true"
	}
	cfg, err := LoadConfig(*file, environ, set)
	if err != nil {
		fmt.Fprintln(stderr, "peltond:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, cfg, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "peltond:", err)
		return 1
	}
	return 0
}

// Run runs the services until ctx ends or one of them fails.
func Run(ctx context.Context, cfg Config, stdout, stderr io.Writer) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log)); err != nil {
		return fault.InvalidField("log", "is "+cfg.Log, "give debug, info, warn or error")
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log)
	if err := checkListen(cfg, stdout); err != nil {
		return err
	}
	asked := cfg.Home
	var moved bool
	var err error
	if cfg.Home, moved, err = placeHome(asked); err != nil {
		return err
	}
	if moved {
		fmt.Fprintf(stdout, "  data lies in %s: the users that run the database and the actions cannot reach %s\n", cfg.Home, asked)
	}
	release, err := lockHome(cfg.Home, cfg.runDir(cfg.Home))
	if err != nil {
		return err
	}
	defer release()
	listener, err := net.Listen("tcp", cfg.HTTP.Listen)
	if err != nil {
		return fault.Wrap(err, fault.Conflict, "http.listen: %s cannot be listened on: choose another address with --listen", cfg.HTTP.Listen)
	}
	defer listener.Close()
	p := &process{cfg: cfg, log: log, stdout: stdout, listener: listener, now: time.Now}
	if cfg.HTTP.PublicURL == "" {
		p.cfg.HTTP.PublicURL = "http://" + listener.Addr().String()
	}
	defer p.close()
	if err := p.start(ctx); err != nil {
		return err
	}
	abs, err := filepath.Abs(asked)
	if err != nil {
		return err
	}
	if err := p.announce(ctx, abs); err != nil {
		return err
	}
	err = p.group.Wait(ctx)
	log.Info("stopping")
	_ = os.Remove(filepath.Join(cfg.runDir(abs), "server.json"))
	return errors.Join(err, p.group.Stop())
}

// checkListen refuses an address that others reach while actions can read everything we can.
func checkListen(cfg Config, stdout io.Writer) error {
	host, _, err := net.SplitHostPort(cfg.HTTP.Listen)
	if err != nil {
		return fault.InvalidField("http.listen", "is "+cfg.HTTP.Listen, "give an address such as 127.0.0.1:8080")
	}
	if os.Geteuid() == 0 {
		return nil
	}
	fmt.Fprintln(stdout, "  note: actions can read everything this user can")
	ip := net.ParseIP(host)
	if host == "localhost" || (ip != nil && ip.IsLoopback()) || cfg.TrustActions {
		return nil
	}
	return fault.New(fault.Invalid, "http.listen: %s can be reached from beyond this machine, and actions run with the rights of this user: listen on 127.0.0.1, or say --trust-actions", cfg.HTTP.Listen)
}

// process is the running program.
type process struct {
	cfg      Config
	log      *slog.Logger
	stdout   io.Writer
	listener net.Listener
	now      func() time.Time

	group  run.Group
	ready  run.Ready
	auth   *authorization.Service
	runner *runner.Service
	closes []func()
}

func (p *process) close() {
	_ = p.group.Stop()
	for i := len(p.closes) - 1; i >= 0; i-- {
		p.closes[i]()
	}
}

func (p *process) onClose(f func()) { p.closes = append(p.closes, f) }

// stores are the databases of the services.
func (p *process) stores(ctx context.Context) (func(service string) string, error) {
	if strings.HasPrefix(p.cfg.Store, "postgres://") {
		u, err := url.Parse(p.cfg.Store)
		if err != nil {
			return nil, fault.InvalidField("store", "is no URL", "give postgres://USER:PASSWORD@HOST:PORT/PREFIX?sslmode=…")
		}
		prefix := strings.Trim(u.Path, "/")
		return func(service string) string {
			own := *u
			own.Path = "/" + prefix + "pelton_" + service
			return own.String()
		}, nil
	}
	names := []string{"pelton_authorization", "pelton_repository", "pelton_studio", "pelton_runner"}
	db, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(p.cfg.Home, "pg"), Databases: names, Log: p.log})
	if err != nil {
		return nil, err
	}
	p.onClose(db.Stop)
	return func(service string) string { return db.URL("pelton_" + service) }, nil
}

// start opens every service, subscribes them all, and only then lets them work: a message finds
// its queue. A further replica of the runner opens the runner, and of the others only what tells
// who calls.
func (p *process) start(ctx context.Context) error {
	store, err := p.stores(ctx)
	if err != nil {
		return err
	}
	if err := p.beOnly(ctx, store("studio")); err != nil {
		return err
	}
	cfg, bus := p.cfg, membus.New(p.log)
	if p.auth, err = authorization.New(ctx, authorization.Config{KeyDir: filepath.Join(cfg.Home, "keys")},
		authorization.Deps{Store: store("authorization"), Publisher: bus, Now: p.now, Log: p.log}); err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	p.onClose(p.auth.Close)
	verify := authn.NewVerifier(p.auth, p.now)
	deps := runner.Deps{Store: store("runner"), Verify: verify, Now: p.now, Log: p.log}
	if cfg.Target == "runner" {
		if err := p.openRunner(ctx, deps); err != nil {
			return err
		}
		p.group.Go("runner", p.runner.Run)
		return p.serve(ctx, http.NewServeMux())
	}
	repo, err := repository.New(ctx, repository.Config{Home: cfg.Home, FilesDir: cfg.filesDir(), AllowLocal: cfg.Repository.Local},
		repository.Deps{Store: store("repository"), Publisher: bus, Subscriber: bus, Verify: verify, Now: p.now, Log: p.log})
	if err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	p.onClose(repo.Close)
	build := builder.New(builder.Config{Home: cfg.Home, FilesDir: cfg.filesDir(), Parallel: cfg.Builder.Parallel, Timeout: cfg.Builder.Timeout},
		builder.Deps{Publisher: bus, Subscriber: bus, Now: p.now, Log: p.log})
	stud, err := studio.New(ctx, studio.Deps{Store: store("studio"), Publisher: bus, Subscriber: bus, Verify: verify, Now: p.now, Log: p.log})
	if err != nil {
		return fmt.Errorf("studio: %w", err)
	}
	p.onClose(stud.Close)
	deps.Publisher, deps.Subscriber = bus, bus
	if err := p.openRunner(ctx, deps); err != nil {
		return err
	}

	// Queues live as long as the process: what they hold at the end is published again.
	subscribed, stop := context.WithCancel(context.Background())
	p.onClose(stop)
	if err := errors.Join(repo.Subscribe(subscribed), build.Subscribe(subscribed), stud.Subscribe(subscribed), p.runner.Subscribe(subscribed)); err != nil {
		return err
	}
	p.group.Go("runner", p.runner.Run)
	p.group.Go("studio", stud.Run)
	p.group.Go("repository", repo.Run)
	p.group.Go("authorization", p.auth.Run)
	mux := http.NewServeMux()
	mux.Handle("/authorization/", p.auth.Handler(verify))
	mux.Handle("/repository/", repo.Handler())
	mux.Handle("/studio/", stud.Handler())
	p.web(mux)
	return p.serve(ctx, mux)
}

// openRunner opens the runner.
func (p *process) openRunner(ctx context.Context, deps runner.Deps) error {
	cfg := p.cfg
	wrapper, err := wrapperPath()
	if err != nil {
		return err
	}
	sockets, err := pgserver.SocketDir(cfg.Home, "run")
	if err != nil {
		return err
	}
	rc := runner.Config{
		Wrapper: wrapper, SocketDir: sockets, Home: cfg.Home, FilesDir: cfg.filesDir(), Cap: cfg.Runner.Cap, Idle: cfg.Runner.Idle,
		CancelGrace: cfg.Runner.CancelGrace, PublicURL: cfg.HTTP.PublicURL, Replica: cfg.Replica,
	}
	if !cfg.alone() {
		rc.Lease, rc.Beat, rc.PeerListen, rc.PeerAddress = cfg.Runner.Lease, cfg.Runner.Beat, cfg.Runner.Peers.Listen, cfg.Runner.Peers.Address
	}
	if os.Geteuid() == 0 {
		rc.UserOf = users{filepath.Join(cfg.Home, "run", "users.json")}.of
	}
	if p.runner, err = runner.New(ctx, rc, deps); err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	p.onClose(p.runner.Close)
	return nil
}

// serve answers over HTTP, and returns once the process is ready.
func (p *process) serve(ctx context.Context, mux *http.ServeMux) error {
	cfg := p.cfg
	mux.Handle("/runner/", p.runner.Handler())
	mux.Handle("/user-api/", p.runner.UserAPI())
	p.operator(mux)
	p.ready.Add("runner", p.runner.Ready)
	host, _, _ := net.SplitHostPort(cfg.HTTP.Listen)
	ip := net.ParseIP(host)
	handler := httpx.Log(p.log, httpx.CheckHost(cfg.HTTP.Hosts, ip != nil && !ip.IsLoopback() && len(cfg.HTTP.Hosts) == 0, mux))
	p.group.Go("http", func(ctx context.Context) error { return httpx.Serve(ctx, p.listener, handler, 10*time.Second) })
	return p.awaitReady(ctx)
}

// operator serves health, readiness and metrics.
func (p *process) operator(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_ = httpx.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok", "version": Version})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status := http.StatusOK
		failing := p.ready.Failing()
		if len(failing) > 0 {
			status = http.StatusServiceUnavailable
		}
		_ = httpx.WriteJSON(w, status, map[string]any{"ready": len(failing) == 0, "waiting_for": failing})
	})
	mux.Handle("GET /metrics", promhttp.Handler())
}

func (p *process) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	failed := make(chan error, 1)
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { failed <- p.group.Wait(wait) }()
	for len(p.ready.Failing()) > 0 {
		select {
		case err := <-failed:
			if err == nil {
				err = ctx.Err()
			}
			return err
		case <-tick.C:
		}
	}
	return nil
}

// announce tells people and tools that the server is ready.
func (p *process) announce(ctx context.Context, asked string) error {
	token, err := p.auth.AdminToken(ctx, 30*24*time.Hour)
	if err != nil {
		return err
	}
	if password := p.auth.FirstPassword(); password != "" {
		fmt.Fprintf(p.stdout, "  sign in   user admin, password %s   (told this once)\n", password)
	}
	s := state{PID: os.Getpid(), URL: p.cfg.HTTP.PublicURL, Token: token, Version: Version, StartedAt: p.now().UTC(), Home: p.cfg.Home}
	p.log.Info("ready", "url", s.URL, "home", p.cfg.Home)
	return writeState(p.cfg.runDir(asked), s)
}
