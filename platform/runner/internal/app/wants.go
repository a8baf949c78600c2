package app

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Wants says which events of a project's runs are told as messages: those alone that somebody wants,
// since each costs a row beside the journal's.
type Wants struct{ Started, Ended, Failed bool }

func (w Wants) any() bool { return w.Started || w.Ended || w.Failed }

// Told is what a message about a run says.
type Told struct {
	Run    RunSummary
	Result domain.Values // of a run that completed
	Depth  int           // how many triggers of the kind workflow-end led here
	// Of a step that failed:
	Step   string
	Item   []int32
	Error  *domain.StepError
	Caught bool
	At     int64 // Unix microseconds
}

// maxChain is how many runs may start each other by triggers of the kind workflow-end.
const maxChain = 32

// wants is what is wanted of a project. Nobody wants anything: it costs one load.
func (e *engine) wants(project string) Wants {
	all := e.wanted.Load()
	if all == nil {
		return Wants{}
	}
	return (*all)[project]
}

// WantEvents notes what is wanted of a project, unless a later version was noted before. See UseCases.
func (s *Service) WantEvents(ctx context.Context, project string, w Wants, version int64) error {
	told, err := s.deps.Announce.EventsArmed(s.deps.NewID(), project, version)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "encode EventsArmed")
	}
	// What is told to be armed must be: memory comes first, and the database is read again after it.
	if err := s.deps.Store.PutWants(ctx, project, w, version, told); err != nil {
		return err
	}
	if err := s.loadWants(ctx); err != nil {
		return err
	}
	s.signal(0, signalSettings)
	return nil
}

// loadWants reads what is wanted.
func (s *Service) loadWants(ctx context.Context) error {
	s.wanting.Lock() // one reading at a time, so that an older one does not come last
	defer s.wanting.Unlock()
	asked, err := s.deps.Store.Wants(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = asked
	s.arm()
	return nil
}

// arm puts together what others want and what live triggers do. It needs s.mu.
func (s *Service) arm() {
	all := maps.Clone(s.asked)
	if all == nil {
		all = map[string]Wants{}
	}
	for _, d := range s.live {
		for _, t := range d.Definition.Triggers {
			if t.Uses == TriggerWorkflowEnd {
				w := all[d.Project]
				w.Ended = true
				all[d.Project] = w
			}
		}
	}
	if len(all) == 0 {
		s.engine.wanted.Store(nil)
		return
	}
	s.engine.wanted.Store(&all)
}

// tell adds the messages that a row of a run gives rise to, to be committed with it.
func (sh *shard) tell(r *liveRun, x *Entry, row []byte) {
	w := sh.e.wants(r.s.Project)
	if !w.any() {
		return
	}
	svc := sh.e.svc
	add := func(m Message, err error) {
		if err != nil {
			sh.e.log.Error("an event of a run could not be told", "run", r.s.ID, "error", err)
			return
		}
		x.Messages = append(x.Messages, m)
	}
	if w.Started && x.Start != nil {
		add(svc.deps.Announce.RunStarted(svc.deps.NewID(), Told{Run: r.summary, At: r.summary.CreatedAt.UnixMicro()}))
	}
	if w.Failed {
		for _, f := range failures(row) {
			add(svc.deps.Announce.StepFailed(svc.deps.NewID(), Told{Run: r.summary, Step: r.s.Plan.Nodes[f.Step].Spec.ID, Item: f.Path, Error: f.Err, Caught: f.Caught, At: f.At}))
		}
	}
	if w.Ended && x.End != nil {
		add(svc.deps.Announce.RunEnded(svc.deps.NewID(), Told{Run: *x.End, Result: r.s.Result, Depth: r.chain(), Error: r.s.Err, At: r.s.Finished}))
	}
}

// failures are the step runs that failed with a row.
func failures(row []byte) (out []domain.Fact) {
	facts, err := domain.DecodeRow(row)
	if err != nil {
		return nil
	}
	for _, f := range facts {
		if f.Kind == domain.FactStepEnded && f.State == domain.StepFailed && f.Reason != domain.ReasonKept {
			out = append(out, f)
		}
	}
	return out
}

// chain is how many triggers of the kind workflow-end led to this run.
func (r *liveRun) chain() int {
	if r.summary.Trigger.Kind != TriggerWorkflowEnd {
		return 0
	}
	var e struct{ Depth int }
	_ = json.Unmarshal(r.s.Event, &e)
	return e.Depth
}

// EndedRun is the end of a run, for triggers of the kind workflow-end.
type EndedRun struct {
	Project  string `json:"-"`
	Run      string `json:"run"`
	Workflow string `json:"workflow"`
	Revision int    `json:"revision"`
	State    string `json:"state"`
	Step     string `json:"step,omitempty"`
	Depth    int    `json:"depth"`

	Result json.RawMessage `json:"result,omitempty"`
	Error  *EndedError     `json:"error,omitempty"`
}

// EndedError is why a run did not complete.
type EndedError struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// workflowEnd are the settings of a trigger of the kind workflow-end.
type workflowEnd struct {
	Workflow string `json:"workflow"`
	On       string `json:"on"` // success | failure | any, "" = any
}

func (w workflowEnd) takes(e EndedRun) bool {
	switch w.On {
	case "success":
		return w.Workflow == e.Workflow && e.State == string(domain.RunCompleted)
	case "failure":
		return w.Workflow == e.Workflow && e.State == string(domain.RunFailed)
	}
	return w.Workflow == e.Workflow
}

// RunEnded starts what waits for the end of a workflow's runs, once for each run. See UseCases.
func (s *Service) RunEnded(ctx context.Context, e EndedRun) error {
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	if e.Depth++; e.Depth > maxChain {
		s.deps.Log.Warn("the end of a run starts nothing: triggers of the kind workflow-end start each other without end", "run", e.Run, "workflow", e.Workflow, "deep", maxChain)
		return nil
	}
	event, err := json.Marshal(e)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "encode the end of run %s", e.Run)
	}
	return s.startFor(ctx, e.Project, TriggerWorkflowEnd, e.Run, event, func(_ string, with json.RawMessage) (bool, error) {
		var w workflowEnd
		if err := json.Unmarshal(with, &w); err != nil {
			return false, err
		}
		return w.takes(e), nil
	})
}

// startFor starts a run of each live workflow of a project that has a matching trigger of a kind; key tells
// the event from others, for ever. A paused workflow leaves it out. What went wrong is told after all were tried:
// unavailable if anything may work later, else invalid.
func (s *Service) startFor(ctx context.Context, project, kind, key string, event domain.Value, match func(workflow string, with json.RawMessage) (bool, error)) error {
	live, _ := s.Live()
	var wrong []string
	for _, d := range live {
		if d.Project != project {
			continue
		}
		for _, t := range d.Definition.Triggers {
			if t.Uses != kind {
				continue
			}
			ok, err := match(d.Definition.Workflow, t.With)
			if err == nil && ok {
				_, err = s.StartRun(ctx, StartRun{Project: project, DeploymentID: d.ID, Trigger: Trigger{Kind: kind, ID: t.ID}, Event: event, EventKey: key})
			}
			switch f := fault.As(err); {
			case err == nil:
			case f != nil && f.Code == codePaused:
				s.deps.Log.Info("an event starts no run: the workflow is paused", "workflow", d.Definition.Workflow, "trigger", t.ID, "event", key)
			case fault.Is(err, fault.Invalid) || fault.Is(err, fault.Unprocessable) || fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound):
				wrong = append(wrong, d.Definition.Workflow+"."+t.ID+": "+err.Error())
			default: // it may work later; what was started by now is found by its key
				return fault.Wrap(err, fault.Unavailable, "start %s for its trigger %s", d.Definition.Workflow, t.ID)
			}
		}
	}
	if wrong != nil {
		return fault.New(fault.Invalid, "%s", strings.Join(wrong, "; "))
	}
	return nil
}
