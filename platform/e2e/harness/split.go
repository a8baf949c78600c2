package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Split says where the services of a platform of several processes have their data and messages.
type Split struct {
	// Store and Bus give a service's settings, with its own credentials; Bus also those of the operator.
	Store, Bus func(service string) string
}

// Targets are the processes of a split platform. The runner is the last.
var Targets = []string{"authorization", "repository", "builder", "studio", "webui", "bridge", "runner"}

// prefixes of paths, and the service that answers them.
var prefixes = map[string]string{
	"authorization": "authorization", "repository": "repository", "studio": "studio", "runner": "runner", "bridge": "bridge", "user-api": "runner",
	"app": "webui", "": "webui", "healthz": "runner", "readyz": "runner", "metrics": "runner",
}

// ingress is the one address of a split platform: it passes calls on by their path, as an ingress of
// a cluster does, and waits a while for a process that is not there.
type ingress struct {
	addr    string            // kept over a stop and a start
	to      map[string]string // address of each service
	handler http.Handler
	gates   map[string]*sync.RWMutex // of each service: held for reading by what may not be sent twice
	server  *http.Server             // nil while it is closed
}

func newIngress() (*ingress, error) {
	i := &ingress{addr: "127.0.0.1:0", to: map[string]string{}, gates: map[string]*sync.RWMutex{}}
	for _, service := range Targets {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer free.Close() // all are chosen before one is given back
		i.to[service], i.gates[service] = free.Addr().String(), &sync.RWMutex{}
	}
	dialer := &net.Dialer{}
	transport := &http.Transport{MaxIdleConnsPerHost: 32, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err == nil {
				return conn, nil
			}
			select {
			case <-ctx.Done():
				return nil, errors.Join(err, ctx.Err())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: i.to[serviceOf(r.In)]})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
	i.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mayRepeat(r) {
			gate := i.gates[serviceOf(r)]
			gate.RLock()
			defer gate.RUnlock()
		}
		proxy.ServeHTTP(w, r)
	})
	return i, i.open()
}

// serviceOf is the one that answers a request.
func serviceOf(r *http.Request) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if service, ok := prefixes[first]; ok {
		return service
	}
	return "webui"
}

// open listens; it does nothing when it does already.
func (i *ingress) open() error {
	if i.server != nil {
		return nil
	}
	l, err := net.Listen("tcp", i.addr)
	if err != nil {
		return err
	}
	i.addr = l.Addr().String()
	i.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: i.handler}
	go func(s *http.Server) { _ = s.Serve(l) }(i.server)
	return nil
}

func (i *ingress) url() string { return "http://" + i.addr }

func (i *ingress) close() {
	if i.server != nil {
		_ = i.server.Close()
		i.server = nil
	}
}

// startSplit starts a process for each service.
func (p *Platform) startSplit(ctx context.Context) (err error) {
	if p.ingress, err = newIngress(); err != nil {
		return err
	}
	for _, service := range Targets {
		p.processes = append(p.processes, &process{
			home: p.Home, dir: filepath.Join("run", "replicas", service), log: "peltond-" + service + ".log",
			args: []string{"--target", service, "--listen", p.ingress.to[service]},
			env: append([]string{
				"PELTON_STORE=" + p.options.Split.Store(service), "PELTON_BUS=" + p.options.Split.Bus(service),
				"PELTON_AUTHORIZATION_URL=http://" + p.ingress.to["authorization"], "PELTON_HTTP_PUBLIC_URL=" + p.ingress.url(),
				"PELTON_BRIDGE_RUNNER=http://" + p.ingress.to["runner"],
			}, p.options.Env...),
		})
	}
	return p.startAll(ctx)
}

// startAll starts the processes in any order and waits until all are ready.
func (p *Platform) startAll(ctx context.Context) error {
	if err := p.ingress.open(); err != nil {
		return err
	}
	for _, i := range rand.Perm(len(p.processes)) {
		if err := p.processes[i].start(p.options.Args); err != nil {
			return err
		}
	}
	for i, one := range p.processes {
		s, err := one.awaitReady(ctx)
		if err != nil {
			p.Kill()
			return err
		}
		if Targets[i] == "authorization" {
			p.URL, p.Token, p.HTTP = s.URL, s.Token, client(s.URL, p.options)
			if err := copyFile(one.stateFile(), filepath.Join(p.Home, "run", "server.json")); err != nil {
				return err
			}
		}
	}
	p.startKiller()
	return nil
}

// copyFile puts the state where the command line looks for one peltond's.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// KillService ends the process of one service of a split platform with SIGKILL; RestartService starts it again.
func (p *Platform) KillService(service string) error {
	one, err := p.service(service)
	if err != nil {
		return err
	}
	_ = one.cmd.Process.Kill()
	<-one.done
	return nil
}

// RestartService starts the process of one service again and waits until it is ready.
func (p *Platform) RestartService(ctx context.Context, service string) error {
	one, err := p.service(service)
	if err != nil {
		return err
	}
	if err := one.start(p.options.Args); err != nil {
		return err
	}
	_, err = one.awaitReady(ctx)
	return err
}

func (p *Platform) service(name string) (*process, error) {
	i := slices.Index(Targets, name)
	if i < 0 || i >= len(p.processes) {
		return nil, fmt.Errorf("no process of this platform runs %q alone", name)
	}
	return p.processes[i], nil
}
