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
			sum := r.told()
			r.shown = sum.State
			r.tell(RunEvent{Kind: "run", Run: &sum})
		case domain.FactRunEnded: // told last, by drop
		case domain.FactSignal, domain.FactHandled, domain.FactReminded:
		default:
			sh.publishStep(r, f)
		}
	}
	if shown := r.s.Shown(); shown != r.shown && !shown.Ended() {
		r.shown = shown
		sum := r.told()
		r.tell(RunEvent{Kind: "run", Run: &sum})
	}
}

func (sh *shard) publishStep(r *liveRun, f *domain.Fact) {
	spec := &r.s.Plan.Nodes[f.Step].Spec
	id := spec.ID
	at := time.UnixMicro(f.At).UTC()
	st := &StepRun{Step: id, ItemPath: f.Path, Items: -1, Kind: spec.Kind, Title: spec.Title, Uses: spec.Uses, Caught: f.Caught}
	if i := r.s.Plan.Nodes[f.Step].Undoes; i >= 0 {
		st.Undoes = r.s.Plan.Nodes[i].Spec.ID
	}
	var a *Attempt
	switch f.Kind {
	case domain.FactExpanded, domain.FactForEach:
		st.State, st.Items, st.StartedAt = domain.StepRunning, int(f.N), at
	case domain.FactRepeating:
		st.State, st.StartedAt = domain.StepRunning, at
	case domain.FactWaitStarted:
		st.State, st.Reason, st.Wait = domain.StepWaiting, r.s.ReasonOf(f.Step, f.Path), waitView(spec, f.Wait, f.Reason, f.Due)
		if f.Wait == domain.WaitSlot {
			st.State = domain.StepQueued
			explainStep(r.s.ID, st, sh.e.limits().Known)
		}
	case domain.FactApproved:
		st.State, st.Reason = domain.StepPending, f.Reason
	case domain.FactAttemptStarted:
		st.State, st.StartedAt = domain.StepRunning, at
		a = &Attempt{Number: f.Attempt, State: domain.AttemptStarted, StartedAt: at}
		if spec.Kind == "workflow" {
			st.Child = domain.ChildID(domain.ExecutionID(r.s.ID, id, f.Path, f.Attempt), f.At)
		}
	case domain.FactAttemptEnded:
		a = &Attempt{Number: f.Attempt, State: attemptState(f.Outcome), FinishedAt: at, Instance: f.Instance, Phases: f.Phases, Error: f.Err, Usage: f.Usage}
		done := st
		st = nil
		if f.Outcome == domain.OutcomeCompleted {
			done.State, done.FinishedAt = domain.StepCompleted, at
			st = done
		}
	case domain.FactRetry:
		st.State, st.Reason = domain.StepWaiting, "backing off until "+time.UnixMicro(f.Due).UTC().Format("15:04:05")
		st.Wait = waitView(spec, domain.WaitRetry, "", f.Due)
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

// waitView tells what a step run waits for, nil if it does not.
func waitView(spec *domain.StepSpec, kind domain.WaitKind, text string, due int64) *WaitView {
	if kind == domain.WaitNone {
		return nil
	}
	w := &WaitView{Kind: kind.String(), Text: text, Until: micros(due)}
	if a := spec.Asks(kind); a != nil {
		w.Approvers = a.Approvers
		if kind == domain.WaitApproval {
			w.Form = a.Form
		}
	}
	return w
}

func attemptState(o domain.Outcome) domain.AttemptState { return o.AttemptState() }
