package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
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
	switch {
	case r.s.Held == "":
		sh.obey(r, c)
	case c.Kind == orderCancel:
		r.s.Held = ""
		sh.obey(r, c) // first, so that nothing is started
		sh.goOn(r)
	case c.Kind == orderResume:
		r.s.Held = ""
		sh.goOn(r)
		sh.obey(r, c)
	default:
		r.parked = append(r.parked, c)
	}
}

// goOn takes up a run that was held, with what it was sent meanwhile.
func (sh *shard) goOn(r *liveRun) {
	if r.s.Status.Ended() { // a cancel has ended it already
		return
	}
	sh.event(r, domain.EventResume{})
	parked := r.parked
	r.parked = nil
	for _, c := range parked {
		sh.obey(r, c)
	}
}

// obey carries out a command.
func (sh *shard) obey(r *liveRun, c InboxCommand) {
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
	} else {
		c.ID = c.Run + "/" + c.ID // callers name their orders to one run: another run's may have the same name
	}
	c.At = s.now().UTC()
	if err := s.writable(); err != nil {
		return err
	}
	var sum RunSummary
	here, err := s.find(ctx, project, c.Run, func(_ *shard, r *liveRun) { sum = r.ended() })
	if err != nil {
		return err
	}
	if !here {
		if sum, err = s.deps.Store.RunSummary(ctx, project, c.Run); err != nil {
			return err
		}
	}
	if sum.State.Ended() {
		return fault.New(fault.Conflict, "the run has already ended: it is %s", sum.State).WithCode("run_ended")
	}
	if err := s.keepFiles(ctx, project, c.Payload); err != nil {
		return err
	}
	if err := s.deps.Store.AddCommand(ctx, c); err != nil {
		return err
	}
	err = s.rouse(ctx, project, c.Run, func(sh *shard, r *liveRun) { sh.order(r, c) })
	if errors.Is(err, errElsewhere) { // it is durable: who acts for the run finds it
		s.wakeOwner(ctx, c.Run)
		return nil
	}
	return err
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
	By       string        // who decides: a user's name, or key:<name> of an API key
	Roles    []string      // what they may be in the project: their role and those that it holds
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
	if err := d.Check(plan.Steps[i].Asks(domain.WaitKindOf(w.Kind)), w.Kind == domain.WaitApproval.String()); err != nil {
		return err
	}
	b, _ := json.Marshal(decisionOrder{Step: d.Step, Path: d.Path, Approved: d.Approved, By: d.By, Comment: d.Comment, Values: d.Values})
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderDecision, Payload: b})
}

// Check tells what is wrong with a decision: who makes it, and what the form holds. asks is
// nil where the engine itself asks.
func (d *Decision) Check(asks *domain.ApprovalSpec, form bool) error {
	var approvers []string
	if asks != nil {
		approvers = asks.Approvers
	}
	if err := d.allowed(approvers); err != nil {
		return err
	}
	switch {
	case !d.Approved && len(d.Values) > 0:
		return fault.InvalidField("values", "are given with a rejection", "leave them out, or say why in comment")
	case !d.Approved:
		return nil
	case !form || asks == nil || len(asks.Form) == 0:
		if len(d.Values) > 0 {
			return fault.InvalidField("values", "are given, and the step has no form", "leave them out")
		}
		return nil
	}
	if d.Values == nil {
		d.Values = domain.Values{}
	}
	bad := domain.CheckInputs(asks.Form, d.Values)
	if len(bad) == 0 {
		return nil
	}
	fields := make([]fault.Field, len(bad))
	for i, b := range bad {
		fields[i] = fault.Field{Path: "values." + b.Where, Message: b.Message}
	}
	return fault.InvalidFields(fields...)
}

func (d *Decision) allowed(approvers []string) error {
	if slices.Contains(approvers, d.By) || slices.Contains(d.Roles, "admin") {
		return nil
	}
	words := approvers
	if len(approvers) == 0 {
		approvers, words = []string{"role:operator"}, []string{"those who may operate runs"}
	}
	for _, r := range d.Roles {
		if slices.Contains(approvers, "role:"+r) {
			return nil
		}
	}
	return fault.New(fault.Forbidden, "only %s may decide this", strings.Join(words, ", "))
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

// cursor is the place of w in a list of waits; steps of one run often begin to wait together.
func (w Wait) cursor() string {
	b, _ := json.Marshal(waitPlace{w.Since.UTC(), w.Run, w.Step, w.Path})
	return string(b)
}

type waitPlace struct {
	Since time.Time
	Run   string
	Step  string
	Path  []int32
}

// WaitAt is the place in a list of waits that a cursor of it tells: Since, Run, Step and Path.
func WaitAt(cursor string) (Wait, error) {
	var p waitPlace
	if err := json.Unmarshal([]byte(cursor), &p); err != nil || !id.Valid(p.Run) {
		return Wait{}, fault.InvalidField("cursor", "is none that a list gave", "pass next_cursor as it was given")
	}
	return Wait{Since: p.Since, Run: p.Run, Step: p.Step, Path: p.Path}, nil
}

// Pause lets what is under way in a run end and starts nothing new. See UseCases.
func (s *Service) Pause(ctx context.Context, project, runID, commandID, reason string) error {
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderPause, Reason: reason})
}

// Resume ends a pause. See UseCases.
func (s *Service) Resume(ctx context.Context, project, runID, commandID string) error {
	if err := s.release(ctx, project, runID); err != nil {
		return err
	}
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderResume})
}

// Cancel orders the end of a run. See UseCases.
func (s *Service) Cancel(ctx context.Context, project, runID, commandID, reason string) error {
	if err := s.release(ctx, project, runID); err != nil {
		return err
	}
	return s.send(ctx, project, InboxCommand{ID: commandID, Run: runID, Kind: orderCancel, Reason: reason})
}

// release ends the hold of a run before it is sent what ends it in memory: after a crash in between it
// just goes on. Its builds are made callable again, which nothing has done while it was held.
func (s *Service) release(ctx context.Context, project, runID string) error {
	if err := s.writable(); err != nil {
		return err
	}
	deployment, err := s.deps.Store.Release(ctx, project, runID)
	if err == nil && deployment != "" {
		s.ensureFor(ctx, deployment)
	}
	return err
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
