// Package events consumes the messages of the repository and the runner.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/studio/internal/app"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
	repositoryv1 "github.com/pelton-run/pelton/platform/studio/internal/infra/contracts/repository/v1"
	runnerv1 "github.com/pelton-run/pelton/platform/studio/internal/infra/contracts/runner/v1"
)

// The queues. What the repository tells is dealt with in its order.
var (
	repositoryQueue = bus.Queue{Name: "studio.repository", Exchange: "repository.v1", Keys: []string{"ActionOffered", "WorkflowFound"}}
	deploymentQueue = bus.Queue{Name: "studio.DeploymentChanged", Exchange: "runner.v1", Keys: []string{"DeploymentChanged"}}
)

// Queues are what Subscribe declares.
func Queues() []bus.Queue { return []bus.Queue{repositoryQueue, deploymentQueue} }

// Subscribe declares the queues.
func Subscribe(ctx context.Context, s bus.Subscriber, service *app.Service) error {
	c := consumer{service}
	return errors.Join(s.Subscribe(ctx, repositoryQueue, c.repository), s.Subscribe(ctx, deploymentQueue, c.deployment))
}

type consumer struct{ service *app.Service }

func (c consumer) repository(ctx context.Context, m bus.Message) error {
	if m.Key == "WorkflowFound" {
		return c.found(ctx, m)
	}
	var e repositoryv1.ActionOffered
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	var a action.Action
	if err := json.Unmarshal([]byte(e.ActionJson), &a); err != nil {
		return fault.Wrap(err, fault.Invalid, "metadata of the message cannot be read")
	}
	return c.service.Offered(ctx, m.ID, domain.Build{
		Project: e.Project, Build: e.Build, Action: a.ID, Version: a.Version, ActionJSON: e.ActionJson, Artifact: e.Artifact,
		RepositoryID: e.RepositoryId, Repository: e.Repository, Commit: e.Commit, Path: e.Path, OfferedAt: time.UnixMilli(e.AtUnixMs),
	})
}

func (c consumer) found(ctx context.Context, m bus.Message) error {
	var e repositoryv1.WorkflowFound
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	name := workflow.NameOf(e.Path, []byte(e.Yaml))
	if name == "" {
		return nil
	}
	return c.service.Found(ctx, domain.Workflow{
		Project: e.Project, Source: e.RepositoryId, Path: e.Path, WantedYAML: e.Yaml, Builds: e.Builds, Broken: e.Broken, AutoDeploy: e.AutoDeploy,
	}, name)
}

func (c consumer) deployment(ctx context.Context, m bus.Message) error {
	var e runnerv1.DeploymentChanged
	if err := proto.Unmarshal(m.Body, &e); err != nil {
		return fault.Wrap(err, fault.Invalid, "message cannot be read")
	}
	d := domain.Deployment{ID: e.DeploymentId, State: e.State, Reason: e.Reason, ChangedAt: time.UnixMilli(e.AtUnixMs)}
	for _, p := range e.Endpoints {
		d.Endpoints = append(d.Endpoints, domain.Endpoint{Trigger: p.Trigger, Method: p.Method, Path: p.Path})
	}
	return c.service.Changed(ctx, m.ID, d)
}
