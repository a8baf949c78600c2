package userapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/httpx"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

const ndjson = "application/x-ndjson"

// part is one event of a streamed answer: the data of a server-sent event of the name Type, or a
// line of JSON.
type part struct {
	Type     string         `json:"type"` // output | progress | result | problem | running
	Step     string         `json:"step,omitempty"`
	ItemPath []int32        `json:"item_path,omitempty"`
	Attempt  int32          `json:"attempt,omitempty"`
	Index    *int           `json:"index,omitempty"`    // output
	Values   domain.Values  `json:"values,omitempty"`   // output
	Fraction *float64       `json:"fraction,omitempty"` // progress
	Note     string         `json:"note,omitempty"`     // progress
	Result   any            `json:"result,omitempty"`   // result; running: the result link
	Problem  *httpx.Problem `json:"problem,omitempty"`
	Run      string         `json:"run,omitempty"`
}

// place is a step run, and how many results of which attempt of it were sent.
type place struct {
	attempt int32
	sent    int
}

// answering is one streamed answer under way.
type answering struct {
	api     *API
	ctx     context.Context
	project string
	run     string
	only    string // the step that is streamed, "" = all
	out     writer
	places  map[string]*place
}

// streamRun answers with what the steps of a run give as it comes, and with the result or the
// problem at the end: as server-sent events to those who accept them, else as lines of JSON. The
// caller may leave; the run goes on.
func (a *API) streamRun(w http.ResponseWriter, r *http.Request, route *route, project, run string) error {
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	var deadline <-chan time.Time // none unless the trigger has one: streams take their time
	if route.with.Timeout != 0 {
		timer := time.NewTimer(route.timeout)
		defer timer.Stop()
		deadline = timer.C
	}
	events, err := a.UseCases.Watch(ctx, project, run)
	if err != nil {
		return err
	}
	s := &answering{api: a, ctx: ctx, project: project, run: run, only: route.with.Stream, out: begin(w, r), places: map[string]*place{}}
	if err := s.follow(events, deadline); err != nil {
		return nil //nolint:nilerr // the answer has begun: there is nobody left to tell
	}
	return nil
}

// writer writes parts in one of the two forms. What it holds goes out with flush.
type writer interface {
	part(p part) error
	flush() error
	beat() error // keeps the connection alive
}

// begin begins the answer in the form that the caller accepts.
func begin(w http.ResponseWriter, r *http.Request) writer {
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return eventWriter{httpx.NewStream(w)}
	}
	h := w.Header()
	h.Set("Content-Type", ndjson)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	l := lineWriter{json.NewEncoder(w), http.NewResponseController(w)}
	_ = l.flush()
	return l
}

type eventWriter struct{ *httpx.Stream }

func (w eventWriter) part(p part) error { return w.Send("", p.Type, p, true) }
func (w eventWriter) flush() error      { return w.Flush() }
func (w eventWriter) beat() error       { return w.Beat() }

type lineWriter struct {
	enc *json.Encoder
	rc  *http.ResponseController
}

func (w lineWriter) part(p part) error { return w.enc.Encode(p) }
func (w lineWriter) flush() error      { return w.rc.Flush() }
func (w lineWriter) beat() error       { return nil } // a line that says nothing would have to be read

// follow sends until the run has ended, the deadline has passed or the caller has left.
func (s *answering) follow(events <-chan app.RunEvent, deadline <-chan time.Time) error {
	defer func() { _ = s.out.flush() }()
	if err := s.catchUp(); err != nil { // what came before the watching began
		return err
	}
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		if len(events) == 0 {
			if err := s.out.flush(); err != nil {
				return err
			}
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-deadline:
			return s.goesOn()
		case <-tick.C:
			if err := s.out.beat(); err != nil {
				return err
			}
		case e, ok := <-events:
			if !ok {
				return s.end()
			}
			if err := s.take(e); err != nil {
				return err
			}
		}
	}
}

func (s *answering) take(e app.RunEvent) error {
	switch {
	case e.Kind == "resync":
		return s.catchUp()
	case s.only != "" && e.StepID != s.only:
		return nil
	case e.Output != nil && (e.Output.List || s.only != ""):
		return s.output(e.StepID, e.ItemPath, e.Output.Attempt, e.Output.Index, e.Output.Values)
	case e.Kind == "progress":
		return s.out.part(part{Type: "progress", Step: e.StepID, ItemPath: e.ItemPath, Attempt: e.Attempt.Number, Fraction: &e.Attempt.Progress, Note: e.Attempt.Note})
	}
	return nil
}

// output sends one result, once.
func (s *answering) output(step string, path []int32, attempt int32, index int, values domain.Values) error {
	key := domain.IdempotencyKey("", step, path)
	p := s.places[key]
	if p == nil {
		p = &place{}
		s.places[key] = p
	}
	if attempt > p.attempt {
		p.attempt, p.sent = attempt, 0
	}
	if attempt < p.attempt || index < p.sent {
		return nil
	}
	values, err := s.api.loadAll(s.ctx, s.project, values)
	if err != nil {
		return err
	}
	p.sent = index + 1
	return s.out.part(part{Type: "output", Step: step, ItemPath: path, Attempt: attempt, Index: &index, Values: values})
}

// catchUp sends what events that were lost, or that came too early, told.
func (s *answering) catchUp() error {
	d, err := s.api.UseCases.GetRun(s.ctx, s.project, s.run)
	if err != nil {
		return err
	}
	for i := range d.Steps {
		x := &d.Steps[i]
		if len(x.Attempts) == 0 || (s.only != "" && x.Step != s.only) || (s.only == "" && !x.List) {
			continue
		}
		for n, values := range x.Outputs {
			if err := s.output(x.Step, x.ItemPath, x.Attempts[len(x.Attempts)-1].Number, n, values); err != nil {
				return err
			}
		}
	}
	return nil
}

// end sends the result or the problem. A run that has not ended is not watched any more because
// the server is stopping.
func (s *answering) end() error {
	res, err := s.api.UseCases.Result(s.ctx, s.project, s.run)
	if err != nil {
		return err
	}
	switch {
	case !res.State.Ended():
		return s.goesOn()
	case res.State != domain.RunCompleted:
		p := problemOf(res)
		return s.out.part(part{Type: "problem", Problem: &p, Run: s.run})
	}
	if err := s.catchUp(); err != nil {
		return err
	}
	out, err := s.api.linkedResult(s.ctx, s.project, res)
	if err != nil {
		p := httpx.ProblemOf(err)
		return s.out.part(part{Type: "problem", Problem: &p, Run: s.run})
	}
	return s.out.part(part{Type: "result", Result: out, Run: s.run})
}

// goesOn tells a caller whose time is over where the result will be.
func (s *answering) goesOn() error {
	return s.out.part(part{Type: "running", Result: s.api.resultLink(s.project, s.run), Run: s.run})
}
