// Package peers carries calls between the runner's replicas: HTTP/2 without TLS, one stream for
// each call, at addresses that the replicas advertise in their database. Callers show a token
// made with a key of that database. The contents are readable on the wire: it is meant for the
// network that the replicas share with their database.
//
// An answer is lines: `a` and JSON for each answer, `h` every few seconds while there is none, and at
// the end `z`, or `e` and a fault. A stream that ends without one of the two was cut.
package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Config of Open.
type Config struct {
	Listen  string // Defaults to 127.0.0.1:0
	Address string // that others reach it at. Defaults to where it listens
	Key     string // of the database
	// Beat is how often a stream shows that it lives; one that is silent for three is given up.
	// Defaults to 3 s.
	Beat time.Duration
	Now  func() time.Time
	Log  *slog.Logger
}

// Peers implements app.Peers. Safe for concurrent use.
type Peers struct {
	cfg      Config
	listener net.Listener
	client   *http.Client
	trans    *http.Transport
}

var _ app.Peers = (*Peers)(nil)

// Answer serves a call: see app.Service.Answer.
type Answer func(ctx context.Context, op string, ask []byte, give func([]byte) error) error

// Open listens; Run answers.
func Open(ctx context.Context, cfg Config) (*Peers, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Beat == 0 {
		cfg.Beat = 3 * time.Second
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fault.Wrap(err, fault.Conflict, "runner.peers.listen: %s cannot be listened on: choose another address", cfg.Listen)
	}
	if cfg.Address == "" {
		cfg.Address = l.Addr().String()
	}
	t := &http.Transport{Protocols: protocols(), DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}
	return &Peers{cfg: cfg, listener: l, client: &http.Client{Transport: t}, trans: t}, nil
}

func protocols() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

// Address implements app.Peers.
func (p *Peers) Address() string { return p.cfg.Address }

// Run answers calls until ctx is done; those under way are cut then.
func (p *Peers) Run(ctx context.Context, answer Answer) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /peer/{op}", func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, answer) })
	srv := &http.Server{Handler: mux, Protocols: protocols(), ReadHeaderTimeout: 5 * time.Second,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 10_000},
		BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close frees the address and the connections.
func (p *Peers) Close() {
	_ = p.listener.Close()
	p.trans.CloseIdleConnections()
}

const maxAsk = 4 << 20

func (p *Peers) serve(w http.ResponseWriter, r *http.Request, answer Answer) {
	op := r.PathValue("op")
	if err := p.check(r.Header.Get("Authorization"), op); err != nil {
		p.cfg.Log.Warn("a call between replicas was refused", "op", op, "from", r.RemoteAddr, "error", err)
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	ask, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAsk))
	if err != nil {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var mu sync.Mutex
	control := http.NewResponseController(w)
	line := func(kind byte, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		_ = control.SetWriteDeadline(p.cfg.Now().Add(3 * p.cfg.Beat))
		out := append(append(append(make([]byte, 0, len(data)+2), kind), data...), '\n')
		if _, err := w.Write(out); err != nil {
			cancel()
			return err
		}
		return control.Flush()
	}
	var beating sync.WaitGroup
	beating.Go(func() {
		t := time.NewTicker(p.cfg.Beat)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				_ = line('h', nil)
			}
		}
	})
	err = answer(ctx, op, ask, func(b []byte) error { return line('a', b) })
	cancel()
	beating.Wait()
	if err == nil {
		_ = line('z', nil)
		return
	}
	b, _ := json.Marshal(wireFault(err)) // strings
	_ = line('e', b)
}

// wire is a fault between replicas.
type wire struct {
	Kind    fault.Kind `json:"kind"`
	Code    string     `json:"code,omitempty"`
	Message string     `json:"message"`
}

func wireFault(err error) wire {
	if f := fault.As(err); f != nil {
		return wire{f.Kind, f.Code, f.Message}
	}
	return wire{Kind: fault.Internal, Message: err.Error()}
}

// Call implements app.Peers.
func (p *Peers) Call(ctx context.Context, to app.Incarnation, op string, ask []byte, take func([]byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(3*p.cfg.Beat, cancel)
	defer silent.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+to.Address+"/peer/"+op, bytes.NewReader(ask))
	if err != nil {
		return fault.Wrap(err, fault.Internal, "call replica %s", to.Name)
	}
	token, err := p.token(op)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "call replica %s", to.Name)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := p.client.Do(req)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "replica %s cannot be reached", to.Name)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fault.New(fault.Unavailable, "replica %s refused a call: %s", to.Name, resp.Status)
	}
	for in := bufio.NewReader(resp.Body); ; {
		text, err := in.ReadBytes('\n')
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "replica %s went away", to.Name)
		}
		silent.Reset(3 * p.cfg.Beat)
		data := text[1 : len(text)-1]
		switch text[0] {
		case 'a':
			if err := take(data); err != nil {
				return err
			}
		case 'z':
			return nil
		case 'e':
			var e wire
			if err := json.Unmarshal(data, &e); err != nil {
				return fault.Wrap(err, fault.Internal, "replica %s answered what cannot be read", to.Name)
			}
			return fault.New(e.Kind, "%s", e.Message).WithCode(e.Code)
		}
	}
}

const audience = "pelton-runner-peer"

// token shows that we know the database's key, for one kind of call and a minute.
func (p *Peers) token(op string) (string, error) {
	now := p.cfg.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: op, Audience: jwt.ClaimStrings{audience}, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
	}).SignedString([]byte(p.cfg.Key))
}

func (p *Peers) check(header, op string) error {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return errors.New("no token")
	}
	var c jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return []byte(p.cfg.Key), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithAudience(audience), jwt.WithSubject(op),
		jwt.WithTimeFunc(p.cfg.Now), jwt.WithLeeway(30*time.Second))
	return err
}
