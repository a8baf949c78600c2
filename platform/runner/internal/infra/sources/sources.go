// Package sources keeps the source actions of live deployments running: each event that one tells
// becomes a durable run, and only then is acknowledged.
package sources

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Executor carries out the sources' executions and takes acknowledgements.
type Executor interface {
	app.Executor
	Ack(executionID string, seq uint64, runID string)
}

// Manager keeps sources running.
type Manager struct {
	cases app.UseCases
	exec  Executor
	log   *slog.Logger
}

// New makes a Manager.
func New(cases app.UseCases, exec Executor, log *slog.Logger) *Manager {
	return &Manager{cases, exec, log}
}

// source is one trigger of a live deployment.
type source struct {
	deployment app.Deployment
	trigger    domain.TriggerSpec
	build      domain.Build
	now        *atomic.Pointer[string] // the live deployment of the same revision, which changes where only its traffic does
}

// place names the trigger across revisions: a new revision's source starts after the old is gone.
func (s source) place() string {
	return s.deployment.Project + "/" + s.deployment.Definition.Workflow + "/" + s.trigger.ID
}

// definitions are the outputs that the workflow wants of a source that leaves them to it: its
// inputs, but for those that the trigger maps itself and those that the metadata names.
func (s source) definitions() ([]byte, error) {
	type definition struct {
		Name       string   `json:"name"`
		Type       string   `json:"type"`
		Title      string   `json:"title,omitempty"`
		Help       string   `json:"help,omitempty"`
		Optional   bool     `json:"optional,omitempty"`
		EnumValues []string `json:"enum_values,omitempty"`
	}
	known := map[string]bool{}
	for _, o := range s.build.Outputs {
		known[o.Name] = true
	}
	out := []definition{}
	for _, i := range s.deployment.Definition.Inputs {
		if !known[i.Name] && s.trigger.Inputs[i.Name] == nil {
			out = append(out, definition{i.Name, i.Type, i.Title, i.Help, i.Optional || i.Default != nil, i.EnumValues})
		}
	}
	return json.Marshal(out)
}

type running struct {
	listener string
	now      *atomic.Pointer[string]
	stop     context.CancelFunc
	done     chan struct{}
}

// Run works until ctx ends, and returns once every source has ended.
func (m *Manager) Run(ctx context.Context) error {
	active := map[string]*running{}
	defer func() {
		for _, r := range active {
			r.stop()
			<-r.done
		}
	}()
	for {
		live, changed := m.cases.Live()
		wanted := map[string]source{}
		for _, d := range live {
			if _, paused := m.cases.Paused(d.Project, d.Definition.Workflow); paused {
				continue
			}
			for _, t := range d.Definition.Triggers {
				for _, b := range d.Definition.Builds {
					if t.Build != "" && b.Digest == t.Build && b.Kind == "Source" {
						s := source{d, t, b, &atomic.Pointer[string]{}}
						wanted[s.place()] = s
					}
				}
			}
		}
		again := m.mine(ctx, wanted)
		for place, r := range active {
			w, ok := wanted[place]
			if ok && w.deployment.Listens() == r.listener {
				r.now.Store(&w.deployment.ID)
				continue
			}
			r.stop()
			<-r.done
			delete(active, place)
		}
		for place, s := range wanted {
			if active[place] == nil {
				own, stop := context.WithCancel(ctx)
				s.now.Store(&s.deployment.ID)
				r := &running{s.deployment.Listens(), s.now, stop, make(chan struct{})}
				active[place] = r
				go func() {
					defer close(r.done)
					m.keep(own, s)
				}()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

// mine keeps those of the wanted sources that this replica is to run; the others are another's. What
// could not be asked is not ours for now, and asked again soon.
func (m *Manager) mine(ctx context.Context, wanted map[string]source) (again <-chan time.Time) {
	for place := range wanted {
		mine, err := m.cases.HoldSource(ctx, place)
		if err != nil {
			again = time.After(time.Second)
			if !fault.Is(err, fault.Unavailable) && ctx.Err() == nil {
				m.log.Warn("who keeps a source is not known", "source", place, "err", err)
			}
		}
		if !mine {
			delete(wanted, place)
		}
	}
	return again
}

// keep runs a source again and again, with pauses that grow while it fails at once.
func (m *Manager) keep(ctx context.Context, s source) {
	wait := time.Second
	for first := true; ctx.Err() == nil; first = false {
		began := time.Now()
		e := m.once(ctx, s, first)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		message := "it returned"
		if e.Error != nil {
			message = e.Error.Kind + ": " + e.Error.Message
		}
		m.log.Warn("a source has ended; it is started again", "workflow", s.deployment.Definition.Workflow, "trigger", s.trigger.ID, "why", message, "after", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(wait*2, 30*time.Second)
	}
}

// once runs the source until it ends. The first time it is looked for: a process of ours that was
// killed may have left it running.
func (m *Manager) once(ctx context.Context, s source, look bool) app.Ended {
	cursor, err := m.cases.SourceCursor(ctx, s.deployment.Listens(), s.trigger.ID)
	if err != nil {
		return app.Ended{Error: &domain.StepError{Kind: "unavailable", Message: err.Error()}}
	}
	inputs, hide, err := m.cases.SourceSettings(s.deployment.Project, s.trigger)
	if err != nil {
		return app.Ended{Error: &domain.StepError{Kind: "invalid_input", Message: err.Error()}}
	}
	x := app.Execution{ID: "source-" + s.deployment.Listens() + "-" + s.trigger.ID, Project: s.deployment.Project, Workflow: s.deployment.Definition.Workflow,
		Step: s.trigger.ID, Attempt: 1, Inputs: inputs, Secrets: hide, Build: s.build, Cursor: cursor}
	if s.build.DynamicOutputs {
		if x.DynamicOutputs, err = s.definitions(); err != nil {
			return app.Ended{Error: &domain.StepError{Kind: "internal", Message: err.Error()}}
		}
	}
	k := &sink{m: m, s: s, id: x.ID, events: make(chan app.Output, 1024), ended: make(chan app.Ended, 1)}
	work, stop := context.WithCancel(ctx)
	defer stop()
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		k.handle(work)
	}()
	defer func() { stop(); <-handled; m.exec.Forget(x.ID) }()
	if look {
		m.exec.Attach(x, k)
		if e, over := k.wait(ctx); !over || (e.Outcome != app.Unknown && e.Outcome != app.Lost) {
			return m.end(k, x.ID, e, over)
		}
	}
	m.exec.Start(x, k)
	e, over := k.wait(ctx)
	return m.end(k, x.ID, e, over)
}

// end stops a source that is still under way, and waits until it is gone.
func (m *Manager) end(k *sink, id string, e app.Ended, over bool) app.Ended {
	if over {
		return e
	}
	m.exec.Cancel(id, "the deployment has changed or the platform is stopping", 2*time.Second)
	select {
	case e = <-k.ended:
	case <-time.After(10 * time.Second):
	}
	return e
}

// sink hands a source's events on in their order.
type sink struct {
	m      *Manager
	s      source
	id     string
	events chan app.Output
	ended  chan app.Ended
}

func (k *sink) wait(ctx context.Context) (e app.Ended, over bool) {
	select {
	case e = <-k.ended:
		return e, true
	case <-ctx.Done():
		return e, false
	}
}

// Phase implements app.Sink.
func (k *sink) Phase(string, time.Time) {}

// Progress implements app.Sink.
func (k *sink) Progress(float64, string) {}

// Log implements app.Sink.
func (k *sink) Log(l domain.LogLine) {
	k.m.log.Info("source", "workflow", k.s.deployment.Definition.Workflow, "trigger", k.s.trigger.ID, "level", l.Level, "line", l.Line)
}

// Output implements app.Sink. A source has few events without an answer: each create_run waits.
func (k *sink) Output(o app.Output) {
	select {
	case k.events <- o:
	default: // beyond what one may have unanswered: it is refused, and create_run raises
		k.m.exec.Ack(k.id, o.EventSeq, "")
	}
}

// Ended implements app.Sink.
func (k *sink) Ended(e app.Ended) { k.ended <- e }

func (k *sink) handle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-k.events:
			k.event(ctx, o)
		}
	}
}

// event makes a run of an event; it is tried until the run is durable or the event refused.
func (k *sink) event(ctx context.Context, o app.Output) {
	event, err := json.Marshal(o.Values)
	if err != nil {
		k.m.exec.Ack(k.id, o.EventSeq, "")
		return
	}
	inputs := domain.Values{}
	for _, it := range k.s.deployment.Definition.Inputs {
		if v, ok := o.Values[it.Name]; ok && k.s.trigger.Inputs[it.Name] == nil {
			inputs[it.Name] = v
		}
	}
	for wait := 50 * time.Millisecond; ; wait = min(wait*2, 5*time.Second) {
		run, err := k.m.cases.StartRun(ctx, app.StartRun{Project: k.s.deployment.Project, DeploymentID: *k.s.now.Load(), Trigger: app.Trigger{Kind: "source", ID: k.s.trigger.ID},
			Inputs: inputs, Event: event, EventKey: o.EventKey, Cursor: o.Cursor})
		switch {
		case err == nil:
			k.m.exec.Ack(k.id, o.EventSeq, run.ID)
			return
		case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Internal), fault.Is(err, fault.Exhausted), fault.Is(err, fault.Timeout):
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		default:
			if ctx.Err() == nil {
				k.m.log.Error("an event was refused", "workflow", k.s.deployment.Definition.Workflow, "trigger", k.s.trigger.ID, "err", err)
				k.m.exec.Ack(k.id, o.EventSeq, "")
			}
			return
		}
	}
}
