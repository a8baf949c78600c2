package app

import (
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// watcher is one reader of a run's events. Only the run's shard sends to it.
type watcher struct {
	ch     chan RunEvent
	missed bool
}

// tell sends without blocking. A reader that fell behind is told so before the next event.
func (w *watcher) tell(ev RunEvent) {
	if w.missed {
		select {
		case w.ch <- RunEvent{Kind: "resync"}:
			w.missed = false
		default:
			return
		}
	}
	select {
	case w.ch <- ev:
	default:
		w.missed = true
	}
}

// close sends the last event, making room for it if it must, and closes the stream.
func (w *watcher) close(last *RunSummary) {
	if last != nil {
		for sent := false; !sent; {
			select {
			case w.ch <- RunEvent{Kind: "run", Run: last}:
				sent = true
			default:
				select {
				case <-w.ch:
				default:
				}
			}
		}
	}
	close(w.ch)
}

func (r *liveRun) tell(ev RunEvent) {
	for _, w := range r.watchers {
		w.tell(ev)
	}
}

// publish tells watchers what a durable row holds.
func (sh *shard) publish(r *liveRun, row []byte) {
	facts, err := domain.DecodeRow(row)
	if err != nil {
		return
	}
	for i := range facts {
		f := &facts[i]
		switch f.Kind {
		case domain.FactRunStarted, domain.FactCancelling, domain.FactRunQueued, domain.FactRunAdmitted, domain.FactPaused, domain.FactResumed, domain.FactConcluding:
			sum := r.ended()
			r.tell(RunEvent{Kind: "run", Run: &sum})
		case domain.FactRunEnded: // told last, by drop
		case domain.FactSignal, domain.FactHandled, domain.FactReminded:
		default:
			sh.publishStep(r, f)
		}
	}
}

func (sh *shard) publishStep(r *liveRun, f *domain.Fact) {
	id := r.s.Plan.Nodes[f.Step].Spec.ID
	at := time.UnixMicro(f.At).UTC()
	st := &StepRun{Step: id, ItemPath: f.Path, Items: -1}
	var a *Attempt
	switch f.Kind {
	case domain.FactExpanded, domain.FactForEach:
		st.State, st.Items, st.StartedAt = domain.StepRunning, int(f.N), at
	case domain.FactRepeating:
		st.State, st.StartedAt = domain.StepRunning, at
	case domain.FactWaitStarted:
		st.State, st.Reason, st.Wait = domain.StepWaiting, r.s.ReasonOf(f.Step, f.Path), waitView(f.Wait.String(), f.Reason, f.Due)
		if f.Wait == domain.WaitSlot {
			st.State = domain.StepQueued
		}
	case domain.FactApproved:
		st.State, st.Reason = domain.StepPending, f.Reason
	case domain.FactAttemptStarted:
		st.State, st.StartedAt = domain.StepRunning, at
		a = &Attempt{Number: f.Attempt, State: domain.AttemptStarted, StartedAt: at}
	case domain.FactAttemptEnded:
		a = &Attempt{Number: f.Attempt, State: attemptState(f.Outcome), FinishedAt: at, Instance: f.Instance, Phases: f.Phases, Error: f.Err, Usage: f.Usage}
		st = nil
		if f.Outcome == domain.OutcomeCompleted {
			st = &StepRun{Step: id, ItemPath: f.Path, Items: -1, State: domain.StepCompleted, FinishedAt: at}
		}
	case domain.FactRetry:
		st.State, st.Reason = domain.StepWaiting, "backing off until "+time.UnixMicro(f.Due).UTC().Format("15:04:05")
	case domain.FactStepEnded:
		st.State, st.Reason, st.Error, st.FinishedAt = f.State, f.Reason, f.Err, at
	}
	if a != nil {
		a.Execution = domain.ExecutionID(r.s.ID, id, f.Path, f.Attempt)
		r.tell(RunEvent{Kind: "attempt", StepID: id, ItemPath: f.Path, Attempt: a})
	}
	if st != nil {
		r.tell(RunEvent{Kind: "step", StepID: id, ItemPath: f.Path, Step: st})
	}
}

func waitView(kind, text string, due int64) *WaitView {
	return &WaitView{Kind: kind, Text: text, Until: micros(due)}
}

func attemptState(o domain.Outcome) domain.AttemptState { return o.AttemptState() }
