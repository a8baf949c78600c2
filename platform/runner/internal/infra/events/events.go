// Package events takes deployments from the studio and tells how far they are.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	runnerv1 "github.com/pelton-run/pelton/platform/runner/contracts/runner/v1"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	authorizationv1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/authorization/v1"
	studiov1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/studio/v1"
)

// The queues. Deploying and undeploying keep their order.
var (
	deploymentQueue = bus.Queue{Name: "runner.deployments", Exchange: "studio.v1", Keys: []string{"WorkflowDeployed", "WorkflowUndeployed"}}
	endedQueue      = bus.Queue{Name: "runner.RunEnded", Exchange: "runner.v1", Keys: []string{"RunEnded"}, Prefetch: 8, Shared: true}
	wantedQueue     = bus.Queue{Name: "runner.EventsWanted", Exchange: "bridge.v1", Keys: []string{"EventsWanted"}}
	occurredQueue   = bus.Queue{Name: "runner.EventOccurred", Exchange: "bridge.v1", Keys: []string{"EventOccurred"}, Prefetch: 8, Shared: true}
	revokedQueue    = bus.Queue{Name: "runner.KeyRevoked", Exchange: "authorization.v1", Keys: []string{"KeyRevoked"}}
)

// Queues are what Subscribe declares.
func Queues() []bus.Queue {
	return []bus.Queue{deploymentQueue, revokedQueue, endedQueue, wantedQueue, occurredQueue}
}

// Subscribe declares the queues. revoked is told of API keys that are no longer valid.
func Subscribe(ctx context.Context, s bus.Subscriber, cases app.UseCases, ready <-chan struct{}, revoked func(keyID string)) error {
	c := consumer{cases, ready, revoked}
	return errors.Join(s.Subscribe(ctx, deploymentQueue, c.deployment), s.Subscribe(ctx, revokedQueue, c.keyRevoked),
		s.Subscribe(ctx, endedQueue, c.runEnded), s.Subscribe(ctx, wantedQueue, c.eventsWanted), s.Subscribe(ctx, occurredQueue, c.eventOccurred))
}

type consumer struct {
	cases   app.UseCases
	ready   <-chan struct{}
	revoked func(string)
}

func (c consumer) keyRevoked(_ context.Context, m bus.Message) error {
	var e authorizationv1.KeyRevoked
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	c.revoked(e.KeyId)
	return nil
}

func (c consumer) deployment(ctx context.Context, m bus.Message) error {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.Key == "WorkflowUndeployed" {
		var e studiov1.WorkflowUndeployed
		if err := proto.Unmarshal(m.Body, &e); err != nil {
			return fault.Wrap(err, fault.Invalid, "message cannot be read")
		}
		return c.cases.Undeploy(ctx, e.Project, e.DeploymentId)
	}
	var e studiov1.WorkflowDeployed
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	d := app.DeployWorkflow{ID: e.DeploymentId, Project: e.Project, Definition: definition(e.Definition), At: time.UnixMilli(e.AtUnixMs), Weight: int(e.Weight)}
	for _, sh := range e.Shares {
		if sh.Definition == nil {
			return fault.New(fault.Invalid, "the message names a revision without its definition")
		}
		d.Shares = append(d.Shares, app.Share{Deployment: sh.DeploymentId, Weight: int(sh.Weight), Definition: definition(sh.Definition)})
	}
	return c.cases.Deploy(ctx, d)
}

func raw(m map[string]string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(m))
	for k, v := range m {
		out[k] = json.RawMessage(v)
	}
	return out
}

func items(list []*studiov1.Item) []domain.Item {
	var out []domain.Item
	for _, i := range list {
		out = append(out, domain.Item{Name: i.Name, Type: i.Type, Title: i.Title, Help: i.Help, Optional: i.Optional, Default: i.DefaultJson, EnumValues: i.EnumValues, Schema: i.SchemaJson, Accept: i.Accept})
	}
	return out
}

// Announcer implements app.Announcer.
type Announcer struct{}

// DeploymentChanged implements app.Announcer.
func (Announcer) DeploymentChanged(messageID string, d app.Deployment) (app.Message, error) {
	e := &runnerv1.DeploymentChanged{DeploymentId: d.ID, Project: d.Project, Workflow: d.Definition.Workflow, State: d.State, Reason: d.Reason, AtUnixMs: d.ChangedAt.UnixMilli()}
	if d.State == app.DeploymentLive {
		e.EventTypes = app.EventTypes(d.Definition)
		for _, t := range app.OutsideEvents(d.Definition) {
			e.EventTriggers = append(e.EventTriggers, &runnerv1.EventTrigger{Id: t.ID, Types: t.Types, FilterJson: string(t.Filter)})
		}
	}
	for _, t := range d.Definition.Triggers {
		if t.Uses != "http" {
			continue
		}
		var with struct{ Method, Path string }
		_ = json.Unmarshal(t.With, &with) // the studio checked it
		if with.Method == "" {
			with.Method = "POST"
		}
		if with.Path == "" {
			with.Path = "/" + d.Definition.Workflow
		}
		e.Endpoints = append(e.Endpoints, &runnerv1.Endpoint{Trigger: t.ID, Method: with.Method, Path: "/user-api/" + d.Project + with.Path})
	}
	body, err := proto.Marshal(e)
	return app.Message{ID: messageID, Key: "DeploymentChanged", Payload: body}, err
}
