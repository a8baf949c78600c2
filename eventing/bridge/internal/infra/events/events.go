// Package events takes what the other services tell and makes CloudEvents of it.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	bridgev1 "github.com/pelton-run/pelton/eventing/bridge/contracts/bridge/v1"
	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	builderv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/builder/v1"
	repositoryv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/repository/v1"
	runnerv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/runner/v1"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// The queues. What is told of runs keeps its order.
var (
	runQueue        = bus.Queue{Name: "bridge.runs", Exchange: "runner.v1", Keys: []string{"RunStarted", "RunEnded", "StepFailed"}}
	deploymentQueue = bus.Queue{Name: "bridge.deployments", Exchange: "runner.v1", Keys: []string{"DeploymentChanged", "EventsArmed"}}
	actionQueue     = bus.Queue{Name: "bridge.ActionOffered", Exchange: "repository.v1", Keys: []string{"ActionOffered"}}
	buildQueue      = bus.Queue{Name: "bridge.BuildFailed", Exchange: "builder.v1", Keys: []string{"BuildFailed"}}
)

// Queues are what Subscribe declares.
func Queues() []bus.Queue { return []bus.Queue{runQueue, deploymentQueue, actionQueue, buildQueue} }

// UseCases is what messages ask for.
type UseCases interface {
	Occurred(ctx context.Context, queue, messageID string, events ...domain.Event) error
	TriggersChanged(ctx context.Context, project string, t app.Trigger, live bool) error
	Armed(ctx context.Context, project string, version int64) error
}

// Subscribe declares the queues.
func Subscribe(ctx context.Context, s bus.Subscriber, cases UseCases) error {
	c := consumer{cases}
	return errors.Join(s.Subscribe(ctx, runQueue, c.run), s.Subscribe(ctx, deploymentQueue, c.deployment), s.Subscribe(ctx, actionQueue, c.action), s.Subscribe(ctx, buildQueue, c.build))
}

type consumer struct{ cases UseCases }

func read(m bus.Message, into proto.Message) error {
	return fault.Wrap(proto.Unmarshal(m.Body, into), fault.Invalid, "message cannot be read")
}

func (c consumer) run(ctx context.Context, m bus.Message) error {
	e, err := runEvent(m)
	if err != nil {
		return err
	}
	return c.cases.Occurred(ctx, runQueue.Name, m.ID, e)
}

func (c consumer) deployment(ctx context.Context, m bus.Message) error {
	if m.Key == "EventsArmed" {
		var e runnerv1.EventsArmed
		if err := read(m, &e); err != nil {
			return err
		}
		return c.cases.Armed(ctx, e.Project, e.Version)
	}
	var d runnerv1.DeploymentChanged
	if err := read(m, &d); err != nil {
		return err
	}
	if d.State != "deploying" {
		t := app.Trigger{Workflow: d.Workflow, Deployment: d.DeploymentId, Types: d.EventTypes}
		for _, x := range d.EventTriggers {
			t.Outside = append(t.Outside, domain.EventTrigger{ID: x.Id, Types: x.Types, Filter: raw([]byte(x.FilterJson))})
		}
		if err := c.cases.TriggersChanged(ctx, d.Project, t, d.State == "live"); err != nil {
			return err
		}
	}
	e, ok := deploymentEvent(m, &d)
	if !ok {
		return nil
	}
	return c.cases.Occurred(ctx, deploymentQueue.Name, m.ID, e)
}

func (c consumer) action(ctx context.Context, m bus.Message) error {
	var a repositoryv1.ActionOffered
	if err := read(m, &a); err != nil {
		return err
	}
	return c.cases.Occurred(ctx, actionQueue.Name, m.ID, actionEvent(m, &a))
}

func (c consumer) build(ctx context.Context, m bus.Message) error {
	var b builderv1.BuildFailed
	if err := read(m, &b); err != nil {
		return err
	}
	return c.cases.Occurred(ctx, buildQueue.Name, m.ID, buildEvent(m, &b))
}

// Announcer implements app.Announcer.
type Announcer struct{}

func message(id, key string, m proto.Message) (app.Message, error) {
	body, err := proto.Marshal(m)
	return app.Message{ID: id, Key: key, Payload: body}, err
}

// EventsWanted implements app.Announcer.
func (Announcer) EventsWanted(messageID, project string, version int64, w domain.Wants) (app.Message, error) {
	return message(messageID, "EventsWanted", &bridgev1.EventsWanted{Project: project, Version: version, RunStarted: w.Started, RunEnded: w.Ended, StepFailed: w.Failed})
}

// EventOccurred implements app.Announcer.
func (Announcer) EventOccurred(messageID, project string, event []byte) (app.Message, error) {
	return message(messageID, "EventOccurred", &bridgev1.EventOccurred{Project: project, EventJson: string(event)})
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func raw(b []byte) json.RawMessage {
	if len(b) == 0 || !json.Valid(b) {
		return nil
	}
	return b
}
