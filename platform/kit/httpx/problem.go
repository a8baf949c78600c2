// Package httpx is the HTTP edge that all services share: errors become problem details once,
// JSON bodies are read strictly, lists have cursors, live views are server-sent events.
package httpx

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Problem is an error answer (RFC 9457).
type Problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Code   string         `json:"code,omitempty"`
	Run    string         `json:"run,omitempty"`
	Errors []ProblemField `json:"errors,omitempty"`
}

// ProblemField is one field at fault.
type ProblemField struct {
	Field   string `json:"field"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
}

const problemBase = "https://pelton.dev/problems/"

var statuses = map[fault.Kind]struct {
	status int
	slug   string
	title  string
}{
	fault.Invalid:         {400, "invalid", "The input is not valid"},
	fault.Unauthenticated: {401, "unauthenticated", "A valid credential is needed"},
	fault.Forbidden:       {403, "forbidden", "The credential does not allow this"},
	fault.NotFound:        {404, "not-found", "There is no such thing"},
	fault.Timeout:         {504, "timeout", "It took too long"},
	fault.Conflict:        {409, "conflict", "The state forbids it"},
	fault.Gone:            {410, "gone", "It is no longer there"},
	fault.TooLarge:        {413, "too-large", "The input is too large"},
	fault.Unsupported:     {415, "unsupported", "This is not supported"},
	fault.Unprocessable:   {422, "unprocessable", "It was tried and failed"},
	fault.Exhausted:       {429, "exhausted", "A limit is reached"},
	fault.Cancelled:       {499, "cancelled", "The request was cancelled"},
	fault.Internal:        {500, "internal", "Something went wrong on our side"},
	fault.Unavailable:     {503, "unavailable", "Not available just now"},
}

// ProblemOf makes the answer for an error; the causes of faults and other errors stay hidden.
func ProblemOf(err error) Problem {
	kind := fault.KindOf(err)
	s, ok := statuses[kind]
	if !ok {
		s = statuses[fault.Internal]
	}
	p := Problem{Type: problemBase + s.slug, Title: s.title, Status: s.status}
	if e := fault.As(err); e != nil && kind != fault.Internal {
		p.Detail, p.Code = e.Message, e.Code
		for _, f := range e.Fields {
			p.Errors = append(p.Errors, ProblemField{Field: f.Path, Message: f.Message, Remedy: f.Remedy, Line: f.Line, Column: f.Column})
		}
	} else {
		p.Detail = "The error is in the server's log under the request id of this answer."
	}
	return p
}

// WriteProblem answers with a problem.
func WriteProblem(w http.ResponseWriter, p Problem) {
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	switch p.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if h.Get("Retry-After") == "" {
			h.Set("Retry-After", "2")
		}
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="pelton"`)
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// WriteError answers with the problem of an error and logs what the caller does not see.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	p := ProblemOf(err)
	if p.Status >= 500 {
		level := slog.LevelError
		if p.Status == http.StatusServiceUnavailable { // a service that starts or stops says so, and is asked again
			level = slog.LevelWarn
		}
		slog.Log(r.Context(), level, "request failed", "method", r.Method, "path", r.URL.Path, "request_id", w.Header().Get(RequestIDHeader), "err", err)
	}
	WriteProblem(w, p)
}

// HandlerFunc is a handler that returns its error; it must not have written an answer then.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Handle maps the handler's error to a problem.
func Handle(f HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			if r.Context().Err() != nil && errors.Is(err, r.Context().Err()) {
				return // nobody listens
			}
			WriteError(w, r, err)
		}
	})
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
	return nil
}
