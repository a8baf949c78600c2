package events

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	runnerv1 "github.com/pelton-run/pelton/platform/runner/contracts/runner/v1"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	bridgev1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/bridge/v1"
)

// maxResult is how large a result may be to travel in a message, in bytes: beyond it is asked for.
const maxResult = 64 << 10

// maxText bounds an error's message, in bytes.
const maxText = 8 << 10

func (c consumer) awaitReady(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c consumer) eventsWanted(ctx context.Context, m bus.Message) error {
	var e bridgev1.EventsWanted
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	return c.cases.WantEvents(ctx, e.Project, app.Wants{Started: e.RunStarted, Ended: e.RunEnded, Failed: e.StepFailed}, e.Version)
}

func (c consumer) runEnded(ctx context.Context, m bus.Message) error {
	var e runnerv1.RunEnded
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	x := app.EndedRun{Project: e.Run.GetProject(), Run: e.Run.GetId(), Workflow: e.Run.GetWorkflow(), Revision: int(e.Run.GetRevision()), State: e.State, Step: e.Step,
		Depth: int(e.Depth), Result: e.ResultJson}
	if e.ErrorKind != "" {
		x.Error = &app.EndedError{Kind: e.ErrorKind, Message: e.Error}
	}
	return c.cases.RunEnded(ctx, x)
}

func (c consumer) eventOccurred(ctx context.Context, m bus.Message) error {
	var e bridgev1.EventOccurred
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	return c.cases.PlatformEvent(ctx, e.Project, []byte(e.EventJson))
}

// text makes a string that a message takes.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func runOf(r app.RunSummary) *runnerv1.Run {
	return &runnerv1.Run{Id: r.ID, Project: r.Project, Workflow: r.Workflow, Revision: int32(r.Revision), TriggerKind: r.Trigger.Kind, TriggerId: text(r.Trigger.ID),
		Parent: r.Parent, RetryOf: r.RetryOf, CreatedUnixMs: r.CreatedAt.UnixMilli()}
}

func message(id, key string, m proto.Message) (app.Message, error) {
	body, err := proto.Marshal(m)
	return app.Message{ID: id, Key: key, Payload: body}, err
}

func millis(micros int64) int64 { return time.UnixMicro(micros).UnixMilli() }

// EventsArmed implements app.Announcer.
func (Announcer) EventsArmed(messageID, project string, version int64) (app.Message, error) {
	return message(messageID, "EventsArmed", &runnerv1.EventsArmed{Project: project, Version: version})
}

// RunStarted implements app.Announcer.
func (Announcer) RunStarted(messageID string, t app.Told) (app.Message, error) {
	return message(messageID, "RunStarted", &runnerv1.RunStarted{Run: runOf(t.Run), AtUnixMs: millis(t.At)})
}

// RunEnded implements app.Announcer.
func (Announcer) RunEnded(messageID string, t app.Told) (app.Message, error) {
	e := &runnerv1.RunEnded{Run: runOf(t.Run), State: string(t.Run.State), Step: t.Run.ErrorStep, AtUnixMs: millis(t.At), Depth: int32(t.Depth)}
	if t.Error != nil {
		e.ErrorKind, e.Error = text(t.Error.Kind), text(t.Error.Message)
	}
	if t.Run.State == domain.RunCompleted {
		e.ResultJson, e.ResultLeftOut = result(t.Result)
	}
	return message(messageID, "RunEnded", e)
}

// result is a run's result as one JSON object, unless it is large.
func result(v domain.Values) (data []byte, leftOut bool) {
	size := 2
	for name, x := range v {
		size += len(name) + len(x) + 4
	}
	if size > maxResult {
		return nil, true
	}
	if v == nil {
		v = domain.Values{}
	}
	data, err := json.Marshal(v)
	return data, err != nil
}

// StepFailed implements app.Announcer.
func (Announcer) StepFailed(messageID string, t app.Told) (app.Message, error) {
	e := &runnerv1.StepFailed{Run: runOf(t.Run), Step: t.Step, Item: t.Item, Caught: t.Caught, AtUnixMs: millis(t.At)}
	if t.Error != nil {
		e.ErrorKind, e.Error = text(t.Error.Kind), text(t.Error.Message)
	}
	return message(messageID, "StepFailed", e)
}
