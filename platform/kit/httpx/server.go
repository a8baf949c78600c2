package httpx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
)

// RequestIDHeader carries the id of a request in its answer and in the log.
const RequestIDHeader = "Pelton-Request"

// Log gives each request an id, notes the trace that it belongs to, recovers panics and logs what took long or failed.
func Log(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rid := id.New()
		w.Header().Set(RequestIDHeader, rid)
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				log.Error("handler panicked", "path", r.URL.Path, "request_id", rid, "panic", p, "stack", string(debug.Stack()))
				if rec.status == 0 {
					WriteProblem(rec, ProblemOf(fault.New(fault.Internal, "panic")))
				}
			}
			log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "ms", time.Since(start).Milliseconds(), "request_id", rid)
		}()
		next.ServeHTTP(rec, r.WithContext(bus.WithTraceparent(r.Context(), r.Header.Get("Traceparent"))))
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// CheckHost refuses requests whose Host is none of the allowed names, which keeps a web page of
// another site from reaching a loopback server by a name of its own (DNS rebinding). Loopback
// names are always allowed; without further names on a wider listener any host is.
func CheckHost(allowed []string, any bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(strings.ToLower(host), "[]")
		ok := any || host == "localhost" || strings.HasSuffix(host, ".localhost")
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
			ok = true
		}
		for _, a := range allowed {
			ok = ok || strings.EqualFold(a, host)
		}
		if !ok {
			WriteProblem(w, ProblemOf(fault.New(fault.Forbidden, "the host name %q is not one of this server's: call it by localhost or 127.0.0.1, or add the name to http.hosts", host)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Serve serves on l until ctx ends, then lets requests under way end for at most grace.
func Serve(ctx context.Context, l net.Listener, h http.Handler, grace time.Duration) error {
	base, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// Live streams never end by themselves: their base context tells them after half the grace.
	timer := time.AfterFunc(grace/2, cancel)
	defer timer.Stop()
	stop, done := context.WithTimeout(context.Background(), grace)
	defer done()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	return nil
}

// Stream writes server-sent events. One goroutine uses it at a time.
type Stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// NewStream begins the answer.
func NewStream(w http.ResponseWriter) *Stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	s := &Stream{w: w, rc: http.NewResponseController(w)}
	_ = s.rc.Flush()
	return s
}

// Send writes one event with v as JSON; id and event may be empty. It flushes unless more follow at once.
func (s *Stream) Send(id, event string, v any, more bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if id != "" {
		if _, err := fmt.Fprintf(s.w, "id: %s\n", id); err != nil {
			return err
		}
	}
	if event != "" {
		if _, err := fmt.Fprintf(s.w, "event: %s\n", event); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(s.w, "data: %s\n\n", data); err != nil {
		return err
	}
	if more {
		return nil
	}
	return s.Flush()
}

// Flush sends what events that said that more follow have left behind.
func (s *Stream) Flush() error { return s.rc.Flush() }

// Beat keeps the connection alive through proxies; call it every 15 s or so.
func (s *Stream) Beat() error {
	if _, err := fmt.Fprint(s.w, ": \n\n"); err != nil {
		return err
	}
	return s.rc.Flush()
}

// SendAll forwards events from a channel until it is closed or the request ends, with heartbeats.
func SendAll[T any](w http.ResponseWriter, r *http.Request, events <-chan T, name func(T) string) error {
	s := NewStream(w)
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-beat.C:
			if s.Beat() != nil {
				return nil
			}
		case e, ok := <-events:
			if !ok {
				return nil
			}
			if s.Send("", name(e), e, len(events) > 0) != nil {
				return nil // the reader is gone
			}
		}
	}
}
