package app

import (
	"context"
	"sync"
	"sync/atomic"
)

// ProjectEvent is one thing that happened to any run of a project.
type ProjectEvent struct {
	Kind string      // run_started | run_finished | waits_changed | decision_wanted | log | resync
	Run  *RunSummary // run_started, run_finished, waits_changed, decision_wanted
	Step string      // decision_wanted: the step that asks
	Text string      // decision_wanted: what it asks
	// Reminder tells that it was asked before.
	Reminder bool
	ID       string // log: the run
	Of       string // log: its workflow
	Log      *LogRecord
}

// feed hands what happens to the runs of a project to its readers. It costs the engine one
// atomic load while nobody reads. A reader that falls behind loses events and is told so.
type feed struct {
	readers atomic.Int32
	mu      sync.Mutex
	of      map[string]map[*feedReader]bool
}

type feedReader struct {
	ch     chan ProjectEvent
	missed bool
}

func (f *feed) watched() bool { return f.readers.Load() > 0 }

func (f *feed) tell(project string, ev ProjectEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.of[project] {
		r.tell(ev)
	}
}

// tell sends without blocking. A reader that fell behind is told so before the next event.
func (r *feedReader) tell(ev ProjectEvent) {
	if r.missed {
		select {
		case r.ch <- ProjectEvent{Kind: "resync"}:
			r.missed = false
		default:
			return
		}
	}
	select {
	case r.ch <- ev:
	default:
		r.missed = true
	}
}

// watchProjectHere streams what happens to the runs of a project that this replica acts for.
func (s *Service) watchProjectHere(ctx context.Context, project string) <-chan ProjectEvent {
	f := &s.engine.feed
	r := &feedReader{ch: make(chan ProjectEvent, 1024)}
	f.mu.Lock()
	if f.of == nil {
		f.of = map[string]map[*feedReader]bool{}
	}
	if f.of[project] == nil {
		f.of[project] = map[*feedReader]bool{}
	}
	f.of[project][r] = true
	f.readers.Add(1)
	f.mu.Unlock()
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.readers.Add(-1)
		delete(f.of[project], r)
		if len(f.of[project]) == 0 {
			delete(f.of, project)
		}
		close(r.ch)
	})
	return r.ch
}
