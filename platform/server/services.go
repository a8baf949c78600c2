package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/builder"
	"github.com/pelton-run/pelton/eventing/bridge"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/authorization"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pgserver"
	"github.com/pelton-run/pelton/platform/kit/run"
	"github.com/pelton-run/pelton/platform/kit/s3"
	"github.com/pelton-run/pelton/platform/repository"
	"github.com/pelton-run/pelton/platform/runner"
	"github.com/pelton-run/pelton/platform/studio"
)

// service is an open service of this process.
type service struct {
	name      string
	subscribe func(ctx context.Context) error // nil: it consumes nothing
	run       run.Part                        // nil: nothing to do beside answering and consuming
	mount     func(mux *http.ServeMux)        // nil: no HTTP
}

// stores are the databases of the services. The server of an embedded store is started.
func (p *process) stores(ctx context.Context) (func(service string) string, error) {
	if !p.cfg.alone() {
		return p.cfg.storeOf()
	}
	names := []string{"pelton_authorization", "pelton_repository", "pelton_studio", "pelton_runner", "pelton_bridge"}
	switch {
	case p.cfg.solo():
		names = []string{"pelton_authorization", "pelton_runner"}
	case !p.cfg.runs("all"):
		return func(string) string { return "" }, nil // none of its services has one
	}
	db, err := pgserver.Start(ctx, pgserver.Config{Dir: filepath.Join(p.cfg.Home, "pg"), Databases: names, Log: p.log})
	if err != nil {
		return nil, err
	}
	p.onClose(db.Stop)
	return func(service string) string { return db.URL("pelton_" + service) }, nil
}

// start opens every service of this process, subscribes them all, and only then lets them work: a
// message finds its queue.
func (p *process) start(ctx context.Context) error {
	p.serve()
	store, err := p.stores(ctx)
	if err != nil {
		return err
	}
	if err := p.beOnly(ctx, store("studio")); err != nil {
		return err
	}
	messages, err := p.openBus(ctx)
	if err != nil {
		return err
	}
	if err := p.openIssuer(ctx, store, messages); err != nil {
		return err
	}
	verify := authn.NewVerifier(p.issuer, p.now)
	for _, open := range []struct {
		name string
		f    func(context.Context, func(string) string, carrier, *authn.Verifier) error
	}{{"repository", p.openRepository}, {"builder", p.openBuilder}, {"studio", p.openStudio}, {"runner", p.openRunner}, {"bridge", p.openBridge}} {
		if !p.cfg.runs(open.name) {
			continue
		}
		if err := p.patiently(ctx, open.name, func() error { return open.f(ctx, store, messages, verify) }); err != nil {
			return fmt.Errorf("%s: %w", open.name, err)
		}
	}
	if p.auth != nil && (p.cfg.runs("authorization") || p.cfg.solo()) {
		p.services = append(p.services, service{name: "authorization", run: p.auth.Run, mount: func(mux *http.ServeMux) { mux.Handle("/authorization/", p.auth.Handler(verify)) }})
	}

	// Queues live as long as the process: what they hold at the end is delivered again.
	subscribed, stop := context.WithCancel(context.Background())
	p.onClose(messages.close)
	p.onClose(stop)
	var errs []error
	for _, s := range p.services {
		if s.subscribe != nil {
			errs = append(errs, s.subscribe(subscribed))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, s := range p.services {
		if s.run != nil {
			p.group.Go(s.name, s.run)
		}
		if s.mount != nil {
			s.mount(p.mux)
		}
	}
	if p.cfg.runs("webui") {
		p.web(p.mux)
	}
	close(p.mounted)
	return nil
}

// patiently opens a service; while the database or the filestore that others run is away it tries again, and says so.
func (p *process) patiently(ctx context.Context, name string, open func() error) error {
	var mu sync.Mutex
	last := errors.New("starting")
	p.ready.Add(name+" store", func() error {
		mu.Lock()
		defer mu.Unlock()
		return last
	})
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := open()
		if err != nil && fault.Is(err, fault.Unavailable) && (!p.cfg.alone() || p.cfg.remoteFiles()) {
			mu.Lock()
			if last.Error() != err.Error() {
				p.log.Warn("waiting for what a service needs", "service", name, "err", err)
			}
			last = err
			mu.Unlock()
			if bus.Wait(ctx, wait) {
				continue
			}
		}
		mu.Lock()
		last = err
		mu.Unlock()
		return err
	}
}

// openIssuer opens what tells who calls: the service itself, or the way to the process that has it.
// A replica of the runner beside a process that runs everything shares that one's database.
func (p *process) openIssuer(ctx context.Context, store func(string) string, messages carrier) error {
	if p.cfg.split() && !p.cfg.runs("authorization") {
		remote := authn.NewRemote(p.cfg.Authorization.URL, p.now)
		p.issuer = remote
		if p.cfg.needsIssuer() {
			p.untilKnown(remote)
		}
		return nil
	}
	password, err := p.cfg.firstPassword()
	if err != nil {
		return err
	}
	return p.patiently(ctx, "authorization", func() (err error) {
		p.auth, err = authorization.New(ctx, authorization.Config{KeyDir: filepath.Join(p.cfg.Home, "keys"), FirstPassword: password},
			authorization.Deps{Store: store("authorization"), Publisher: messages, Now: p.now, Log: p.log})
		if err != nil {
			return fmt.Errorf("authorization: %w", err)
		}
		p.issuer = p.auth
		p.onClose(p.auth.Close)
		return nil
	})
}

// untilKnown is not ready until the key that signs tokens is known; from then on tokens are checked
// without the service.
func (p *process) untilKnown(remote *authn.Remote) {
	var mu sync.Mutex
	last := errors.New("the key of the authorization service is not known yet")
	p.ready.Add("authorization", func() error {
		mu.Lock()
		defer mu.Unlock()
		return last
	})
	p.group.Go("key", func(ctx context.Context) error {
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			_, err := remote.PublicKey(ctx, "")
			mu.Lock()
			last = err
			mu.Unlock()
			if err != nil && bus.Wait(ctx, wait) {
				continue
			}
			<-ctx.Done()
			return nil
		}
	})
}

func (p *process) openRepository(ctx context.Context, store func(string) string, messages carrier, verify *authn.Verifier) error {
	s, err := repository.New(ctx, repository.Config{Home: p.cfg.Home, FilesDir: p.cfg.filesDir(), S3: p.cfg.bucket(), AllowLocal: p.cfg.Repository.Local},
		repository.Deps{Store: store("repository"), Publisher: messages, Subscriber: messages, Verify: verify, Now: p.now, Log: p.log})
	if err != nil {
		return err
	}
	p.onClose(s.Close)
	p.services = append(p.services, service{name: "repository", subscribe: s.Subscribe, run: s.Run, mount: func(mux *http.ServeMux) { mux.Handle("/repository/", s.Handler()) }})
	return nil
}

func (p *process) openBuilder(_ context.Context, _ func(string) string, messages carrier, _ *authn.Verifier) error {
	var bucket *s3.Bucket
	if c := p.cfg.bucket(); c != nil {
		var err error
		if bucket, err = s3.Open(*c); err != nil {
			return err
		}
	}
	cluster, err := p.cfg.kaniko()
	if err != nil {
		return err
	}
	s, err := builder.New(builder.Config{Home: p.cfg.Home, FilesDir: p.cfg.filesDir(), S3: bucket, Parallel: p.cfg.Builder.Parallel, Timeout: p.cfg.Builder.Timeout, Kaniko: cluster},
		builder.Deps{Publisher: messages, Subscriber: messages, Now: p.now, Log: p.log})
	if err != nil {
		return err
	}
	p.services = append(p.services, service{name: "builder", subscribe: s.Subscribe})
	return nil
}

func (p *process) openStudio(ctx context.Context, store func(string) string, messages carrier, verify *authn.Verifier) error {
	s, err := studio.New(ctx, studio.Deps{Store: store("studio"), Publisher: messages, Subscriber: messages, Verify: verify, Now: p.now, Log: p.log})
	if err != nil {
		return err
	}
	p.onClose(s.Close)
	p.services = append(p.services, service{name: "studio", subscribe: s.Subscribe, run: s.Run, mount: func(mux *http.ServeMux) { mux.Handle("/studio/", s.Handler()) }})
	return nil
}

// runnerURL is where the runner is reached: this process, or the one that the settings name.
func (p *process) runnerURL() string {
	if p.cfg.Bridge.Runner != "" {
		return strings.TrimRight(p.cfg.Bridge.Runner, "/")
	}
	host, port, _ := net.SplitHostPort(p.listener.Addr().String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

func (p *process) openBridge(ctx context.Context, store func(string) string, messages carrier, verify *authn.Verifier) error {
	b := p.cfg.Bridge
	s, err := bridge.New(ctx, bridge.Config{Home: p.cfg.Home, PublicURL: p.cfg.HTTP.PublicURL, Runner: p.runnerURL(), Version: Version, PrivateTargets: b.PrivateTargets,
		Attempts: b.Attempts, Backoff: b.Backoff, BackoffCap: b.BackoffCap, Timeout: b.Timeout, Broker: b.Broker, Sink: b.Sink},
		bridge.Deps{Store: store("bridge"), Publisher: messages, Subscriber: messages, Verify: verify, Now: p.now, Log: p.log})
	if err != nil {
		return err
	}
	p.onClose(s.Close)
	p.services = append(p.services, service{name: "bridge", subscribe: s.Subscribe, run: s.Run, mount: func(mux *http.ServeMux) { mux.Handle("/bridge/", s.Handler()) }})
	return nil
}

func (p *process) openRunner(ctx context.Context, store func(string) string, messages carrier, verify *authn.Verifier) error {
	cfg := p.cfg
	var wrapper, sockets string
	if !cfg.knative() {
		var err error
		if wrapper, err = wrapperPath(); err != nil {
			return err
		}
		if sockets, err = pgserver.SocketDir(cfg.Home, "run"); err != nil {
			return err
		}
	}
	rc := runner.Config{
		Deployer: cfg.Deployer, Wrapper: wrapper, SocketDir: sockets, Home: cfg.Home, FilesDir: cfg.filesDir(), S3: cfg.bucket(), Cap: cfg.Runner.Cap, Idle: cfg.Runner.Idle,
		CancelGrace: cfg.Runner.CancelGrace, PublicURL: cfg.HTTP.PublicURL, Replica: cfg.Replica,
		Retention: runner.Retention{Runs: cfg.Runner.Retention.Runs, Files: cfg.Runner.Retention.Files, Every: cfg.Runner.Retention.Every},
	}
	if !cfg.alone() {
		rc.Lease, rc.Beat, rc.PeerListen, rc.PeerAddress = cfg.Runner.Lease, cfg.Runner.Beat, cfg.Runner.Peers.Listen, cfg.Runner.Peers.Address
	}
	if os.Geteuid() == 0 {
		rc.UserOf = users{filepath.Join(cfg.Home, "run", "users.json")}.of
	}
	deps := runner.Deps{Store: store("runner"), Verify: verify, Now: p.now, Metrics: p.metrics, Log: p.log}
	if cfg.runs("all") || !cfg.local() || cfg.solo() { // else the process that runs everything carries the messages
		deps.Publisher, deps.Subscriber = messages, messages
	}
	s, err := runner.New(ctx, rc, deps)
	if err != nil {
		return err
	}
	p.onClose(s.Close)
	p.ready.Add("runner", s.Ready)
	p.services = append(p.services, service{name: "runner", subscribe: s.Subscribe, run: s.Run, mount: func(mux *http.ServeMux) {
		mux.Handle("/runner/", s.Handler())
		mux.Handle("/user-api/", s.UserAPI())
	}})
	return nil
}
