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
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pelton-run/pelton/platform/authorization"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/kit/run"
)

// Main runs the server as a program and returns its exit code: 0, 1 for a failure, 2 for wrong usage.
func Main(args, environ []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "bus" {
		return busMain(args[1:], environ, stdout, stderr)
	}
	f := flag.NewFlagSet("peltond", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("config", "", "settings file (YAML), over the built-in settings")
	home := f.String("home", "", "folder of the data (default .pelton)")
	listen := f.String("listen", "", "address to listen on (default 127.0.0.1:8080)")
	target := f.String("target", "", "services to run: all, or some of "+strings.Join(services, ",")+" (default all)")
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
	// What lives for long is small; collecting half as often saves a tenth of a busy server's processor time.
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(200)
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
	if err := CheckRestored(cfg.Home); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.HTTP.Listen)
	if err != nil {
		return fault.Wrap(err, fault.Conflict, "http.listen: %s cannot be listened on: choose another address with --listen", cfg.HTTP.Listen)
	}
	defer listener.Close()
	p := &process{cfg: cfg, log: log, stdout: stdout, listener: listener, now: time.Now, metrics: prometheus.NewRegistry()}
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.HTTP.PublicURL == "" {
		p.cfg.HTTP.PublicURL = "http://" + listener.Addr().String()
	}
	defer p.close()
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.awaitReady(ctx); err != nil {
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
	if os.Geteuid() == 0 || !cfg.processes() {
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
	metrics  *prometheus.Registry

	group    run.Group
	ready    run.Ready
	issuer   authn.Issuer
	auth     *authorization.Service // nil: another process has it
	services []service
	closes   []func()

	mux     *http.ServeMux
	mounted chan struct{} // closed once mux is whole
}

func (p *process) close() {
	_ = p.group.Stop()
	for i := len(p.closes) - 1; i >= 0; i-- {
		p.closes[i]()
	}
}

func (p *process) onClose(f func()) { p.closes = append(p.closes, f) }

// serve answers over HTTP. Until the services are open, what is not the operator's waits.
func (p *process) serve() {
	p.mux, p.mounted = http.NewServeMux(), make(chan struct{})
	operator := http.NewServeMux()
	p.operator(operator)
	operator.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-p.mounted:
			p.mux.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
	host, _, _ := net.SplitHostPort(p.cfg.HTTP.Listen)
	ip := net.ParseIP(host)
	handler := httpx.Log(p.log, httpx.CheckHost(p.cfg.HTTP.Hosts, ip != nil && !ip.IsLoopback() && len(p.cfg.HTTP.Hosts) == 0, operator))
	p.group.Go("http", func(ctx context.Context) error { return httpx.Serve(ctx, p.listener, handler, 10*time.Second) })
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
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
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
	token := "" // another process with the target authorization gives it
	if p.auth != nil {
		var err error
		if token, err = p.auth.AdminToken(ctx, 30*24*time.Hour); err != nil {
			return err
		}
		if password := p.auth.FirstPassword(); password != "" {
			fmt.Fprintf(p.stdout, "  sign in   user admin, password %s   (told this once)\n", password)
		}
	}
	s := state{PID: os.Getpid(), URL: p.cfg.HTTP.PublicURL, Token: token, Version: Version, StartedAt: p.now().UTC(), Home: p.cfg.Home}
	p.log.Info("ready", "url", s.URL, "home", p.cfg.Home)
	return writeState(p.cfg.runDir(asked), s)
}
