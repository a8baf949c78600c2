package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// The kinds of inbox commands.
const (
	orderCancel   = "cancel"
	orderSignal   = "signal"
	orderDecision = "decision"
	orderPause    = "pause"
	orderResume   = "resume"
)

// signalOrder and decisionOrder are the payloads of inbox commands.
type signalOrder struct {
	Name    string       `json:"name"`
	Payload domain.Value `json:"payload,omitempty"`
}

type decisionOrder struct {
	Step     string        `json:"step"`
	Path     []int32       `json:"path,omitempty"`
	Approved bool          `json:"approved"`
	By       string        `json:"by"`
	Comment  string        `json:"comment,omitempty"`
	Values   domain.Values `json:"values,omitempty"`
}

// event is what a command of the inbox means to the state machine.
func (c InboxCommand) event(p *domain.Plan) (domain.Event, error) {
	switch c.Kind {
	case orderCancel:
		return domain.EventCancel{Command: c.ID, Reason: c.Reason}, nil
	case orderPause:
		return domain.EventPause{Reason: c.Reason}, nil
	case orderResume:
		return domain.EventUnpause{}, nil
	case orderSignal:
		var o signalOrder
		if err := json.Unmarshal(c.Payload, &o); err != nil {
			return nil, err
		}
		return domain.EventSignal{Name: o.Name, Payload: o.Payload}, nil
	case orderDecision:
		var o decisionOrder
		if err := json.Unmarshal(c.Payload, &o); err != nil {
			return nil, err
		}
		i, _ := p.StepIndex(o.Step)
		return domain.EventDecision{Step: i, Path: o.Path, Approved: o.Approved, By: o.By, Comment: o.Comment, Values: o.Values}, nil
	}
	return nil, fmt.Errorf("command %s is of the kind %q, which this version does not know", c.ID, c.Kind)
}

// order lets a run carry out a command of its inbox, once.
func (sh *shard) order(r *liveRun, c InboxCommand) {
	if r.orders[c.ID] {
		return
	}
	if r.orders == nil {
		r.orders = map[string]bool{}
	}
	r.orders[c.ID] = true
	ev, err := c.event(r.s.Plan)
	if err != nil {
		sh.e.log.Error("command left in the inbox", "run", r.s.ID, "error", err)
		return
	}
	sh.step(r, ev, func(q *queued) { q.Command = c.ID })
}

// send makes a command durable and hands it to its run, which is taken into memory for it.
func (s *Service) send(ctx context.Context, project string, c InboxCommand) error {
	if c.ID == "" {
		c.ID = s.deps.NewID()
	}
	c.At = s.now().UTC()
	if err := s.writable(); err != nil {
		return err
	}
	sum, err := s.deps.Store.RunSummary(ctx, project, c.Run)
	if err != nil {
		return err
	}
	ending := sum.State.Ended()
	if !ending {
		if _, err := s.find(ctx, project, c.Run, func(_ *shard, r *liveRun) { ending = r.s.Status.Ended() }); err != nil {
			return err
		}
	}
	if ending {
		return fault.New(fault.Conflict, "the run has already ended: it is %s", sum.State).WithCode("run_ended")
	}
	if err := s.deps.Store.AddCommand(ctx, c); err != nil {
		return err
	}
	return s.rouse(ctx, project, c.Run, func(sh *shard, r *liveRun) { sh.order(r, c) })
}

// Signal sends a signal to a run. See UseCases.
func (s *Service) Signal(ctx context.Context, project, runID, commandID, name string, payload domain.Value) error {
	plan, err := s.planOf(ctx, project, runID)
	if err != nil {
		return err
	}
	var names []string
	for i := range plan.Steps {
		w := plan.Steps[i].Wait
		if w == nil || w.Signal == "" {
			continue
		}
		if w.Signal != name {
			names = append(names, w.Signal)
			continue
		}
		if problem := s.checkPayload(w.Schema, payload); problem != "" {
			return fault.InvalidField("payload", problem, "send what the schema of the step "+plan.Steps[i].ID+" asks for")
		}
		b, _ := json.Marshal(signalOrder{name, payload})
		return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderSignal, Payload: b})
	}
	remedy := "its workflow waits for no signal"
	if len(names) > 0 {
		slices.Sort(names)
		remedy = "it knows " + strings.Join(slices.Compact(names), ", ")
	}
	return fault.InvalidField("name", fmt.Sprintf("the workflow %s waits for no signal %q", plan.Workflow, name), remedy)
}

func (s *Service) checkPayload(schema []byte, payload domain.Value) string {
	switch {
	case payload != nil && !domain.Payload(payload):
		return "is no JSON of at most 64 KiB"
	case len(schema) == 0:
		return ""
	}
	if payload == nil {
		payload = domain.Value("null")
	}
	return s.deps.Schemas.Check(schema, payload)
}

// Decision is what a person says to a step that waits for it.
type Decision struct {
	Step     string
	Path     []int32
	Approved bool
	Comment  string
	Values   domain.Values // of the form
	By       string        // who decides: a user's name, or a key's
	Roles    []string      // what they are in the project
}

// Decide carries out a person's decision. See UseCases.
func (s *Service) Decide(ctx context.Context, project, runID, commandID string, d Decision) error {
	plan, err := s.planOf(ctx, project, runID)
	if err != nil {
		return err
	}
	i, ok := plan.StepIndex(d.Step)
	if !ok {
		return fault.InvalidField("step", fmt.Sprintf("the workflow %s has no step %q", plan.Workflow, d.Step), "")
	}
	w, err := s.waitOf(ctx, project, runID, d.Step, d.Path)
	if err != nil {
		return err
	}
	spec := &plan.Steps[i]
	asks := spec.Approval
	if w.Kind == "approval" && spec.Wait != nil {
		asks = spec.Wait.Approval
	}
	if asks != nil && w.Kind != "lost" {
		if err := mayDecide(asks.Approvers, d); err != nil {
			return err
		}
		if d.Approved && w.Kind == "approval" {
			if d.Values == nil {
				d.Values = domain.Values{}
			}
			if bad := domain.CheckInputs(asks.Form, d.Values); len(bad) > 0 {
				fields := make([]fault.Field, len(bad))
				for i, b := range bad {
					fields[i] = fault.Field{Path: "values." + b.Where, Message: b.Message}
				}
				return fault.InvalidFields(fields...)
			}
		}
	}
	b, _ := json.Marshal(decisionOrder{Step: d.Step, Path: d.Path, Approved: d.Approved, By: d.By, Comment: d.Comment, Values: d.Values})
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderDecision, Payload: b})
}

func mayDecide(approvers []string, d Decision) error {
	if len(approvers) == 0 || slices.Contains(approvers, d.By) || slices.Contains(d.Roles, "admin") {
		return nil
	}
	for _, r := range d.Roles {
		if slices.Contains(approvers, "role:"+r) {
			return nil
		}
	}
	return fault.New(fault.Forbidden, "only %s may decide this", strings.Join(approvers, ", "))
}

// waitOf finds what a step run waits for: a decision counts only while it is asked for.
func (s *Service) waitOf(ctx context.Context, project, run, step string, path []int32) (Wait, error) {
	list, err := s.deps.Store.Waits(ctx, WaitQuery{Project: project, Run: run, Kinds: []string{"approval", "consent", "lost"}, Limit: 1000})
	if err != nil {
		return Wait{}, err
	}
	for _, w := range list {
		if w.Step == step && slices.Equal(w.Path, path) {
			return w, nil
		}
	}
	return Wait{}, fault.New(fault.Conflict, "the step %s of this run waits for no decision now", step).WithCode("not_waiting")
}

// Waits lists what runs of a project wait for. See UseCases.
func (s *Service) Waits(ctx context.Context, q WaitQuery) ([]Wait, string, error) {
	if q.Limit <= 0 || q.Limit > 1000 {
		q.Limit = 100
	}
	limit := q.Limit
	q.Limit++
	list, err := s.deps.Store.Waits(ctx, q)
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	list = list[:limit]
	return list, list[limit-1].cursor(), nil
}

func (w Wait) cursor() string { return w.Since.UTC().Format(time.RFC3339Nano) + " " + w.Run }

// Pause lets what is under way in a run end and starts nothing new. See UseCases.
func (s *Service) Pause(ctx context.Context, project, runID, commandID, reason string) error {
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderPause, Reason: reason})
}

// Resume ends a pause. See UseCases.
func (s *Service) Resume(ctx context.Context, project, runID, commandID string) error {
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderResume})
}

// Cancel orders the end of a run. See UseCases.
func (s *Service) Cancel(ctx context.Context, project, runID, commandID, reason string) error {
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderCancel, Reason: reason})
}

func (s *Service) planOf(ctx context.Context, project, runID string) (*domain.Plan, error) {
	if err := s.isReady(); err != nil {
		return nil, err
	}
	sum, err := s.deps.Store.RunSummary(ctx, project, runID)
	if err != nil {
		return nil, err
	}
	return s.plan(ctx, sum.Deployment)
}
