package rabbitmq

import (
	"context"
	"log/slog"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Kind of the triggers.
const Kind = app.TriggerRabbitMQ

// Runs is what of the use cases messages ask for.
type Runs interface {
	Live() ([]app.Deployment, <-chan struct{})
	Paused(project, workflow string) (app.PausedWorkflow, bool)
	HoldSource(ctx context.Context, place string) (bool, error)
	SourceSettings(project string, t domain.TriggerSpec) (domain.Values, [][]byte, error)
	StartRun(ctx context.Context, s app.StartRun) (app.StartedRun, error)
	Await(ctx context.Context, project, runID string) (app.RunResult, error)
}

// Manager consumes the queues of live deployments' triggers, each in one replica at a time.
type Manager struct {
	runs Runs
	log  *slog.Logger
}

// New makes a Manager.
func New(runs Runs, log *slog.Logger) *Manager { return &Manager{runs, log} }

// trigger is one trigger of a live deployment.
type trigger struct {
	deployment app.Deployment
	spec       domain.TriggerSpec
}

// place names the trigger across revisions: a new revision consumes after the old one has stopped.
func (t trigger) place() string {
	return t.deployment.Project + "/" + t.deployment.Definition.Workflow + "/" + t.spec.ID
}

type running struct {
	deployment string
	stop       context.CancelFunc
	done       chan struct{}
}

func (r *running) end() {
	r.stop()
	<-r.done
}

// Run works until ctx ends; messages under way are delivered again then.
func (m *Manager) Run(ctx context.Context) error {
	active := map[string]*running{}
	defer func() {
		for _, r := range active {
			r.end()
		}
	}()
	for {
		live, changed := m.runs.Live()
		wanted, again := m.mine(ctx, m.triggers(live))
		for place, r := range active {
			if w, ok := wanted[place]; !ok || w.deployment.ID != r.deployment {
				r.end()
				delete(active, place)
			}
		}
		for place, t := range wanted {
			if active[place] == nil {
				own, stop := context.WithCancel(ctx)
				r := &running{t.deployment.ID, stop, make(chan struct{})}
				active[place] = r
				go func() {
					defer close(r.done)
					m.keep(own, t)
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

func (m *Manager) triggers(live []app.Deployment) map[string]trigger {
	out := map[string]trigger{}
	for _, d := range live {
		if _, paused := m.runs.Paused(d.Project, d.Definition.Workflow); paused {
			continue // messages wait in their queue
		}
		for _, t := range d.Definition.Triggers {
			if t.Uses == Kind {
				x := trigger{d, t}
				out[x.place()] = x
			}
		}
	}
	return out
}

// mine leaves those that this replica is to consume.
func (m *Manager) mine(ctx context.Context, wanted map[string]trigger) (map[string]trigger, <-chan time.Time) {
	var again <-chan time.Time
	for place := range wanted {
		mine, err := m.runs.HoldSource(ctx, place)
		if err != nil {
			again = time.After(time.Second)
			if !fault.Is(err, fault.Unavailable) && ctx.Err() == nil {
				m.log.Warn("who consumes a queue is not known", "trigger", place, "err", err)
			}
		}
		if !mine {
			delete(wanted, place)
		}
	}
	return wanted, again
}

// keep consumes until ctx ends; a connection that ends is made anew, with the settings as they are then.
func (m *Manager) keep(ctx context.Context, t trigger) {
	last := ""
	for wait := time.Duration(0); ctx.Err() == nil; wait = min(2*wait+200*time.Millisecond, 15*time.Second) {
		began := time.Now()
		err := m.consume(ctx, t)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait, last = 0, ""
		}
		if text := harmless(err.Error()); text != last {
			m.log.Warn("a queue is not consumed; trying again", "workflow", t.deployment.Definition.Workflow, "trigger", t.spec.ID, "why", text)
			last = text
		}
		rest(ctx, wait)
	}
}

// rest waits; false once ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
