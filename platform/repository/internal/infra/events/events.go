// Package events consumes the builder's messages.
package events

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
	"github.com/pelton-run/pelton/platform/repository/internal/domain"
	builderv1 "github.com/pelton-run/pelton/platform/repository/internal/infra/contracts/builder/v1"
)

// Messages of one order keep their order: one queue has them all, and one worker deals with it.
var buildsQueue = bus.Queue{Name: "repository.builds", Exchange: "builder.v1", Keys: []string{"BuildStarted", "BuildLogged", "BuildSucceeded", "BuildFailed"}}

// Queues are what Subscribe declares.
func Queues() []bus.Queue { return []bus.Queue{buildsQueue} }

// Subscribe declares the queues.
func Subscribe(ctx context.Context, s bus.Subscriber, store app.Store, events app.Events) error {
	c := consumer{store, events}
	return s.Subscribe(ctx, buildsQueue, c.take)
}

type consumer struct {
	store  app.Store
	events app.Events
}

func decode[T proto.Message](m bus.Message, v T) error {
	return fault.Wrap(proto.Unmarshal(m.Body, v), fault.Invalid, "message %s cannot be read", m.Key)
}

func (c consumer) take(ctx context.Context, m bus.Message) error {
	switch m.Key {
	case "BuildStarted":
		var e builderv1.BuildStarted
		if err := decode(m, &e); err != nil {
			return err
		}
		return c.update(ctx, m, e.OrderId, app.Event{Type: "build_started"}, func(b *domain.Build) bool {
			if b.State == domain.Queued {
				b.State, b.StartedAt = domain.Building, time.UnixMilli(e.AtUnixMs)
			}
			return false
		})
	case "BuildLogged":
		var e builderv1.BuildLogged
		if err := decode(m, &e); err != nil {
			return err
		}
		if err := c.store.AppendLog(ctx, m.ID, e.OrderId, e.Seq, e.Lines); err != nil {
			return err
		}
		c.events.Publish(e.Project, app.Event{Type: "build_log", Order: e.OrderId, Lines: e.Lines})
		return nil
	case "BuildSucceeded":
		var e builderv1.BuildSucceeded
		if err := decode(m, &e); err != nil {
			return err
		}
		event := app.Event{Type: "build_succeeded", Cached: e.Cached, PhasesMS: e.PhasesMs, Notes: e.Notes}
		return c.update(ctx, m, e.OrderId, event, func(b *domain.Build) bool {
			if b.State == domain.Cancelled {
				return false
			}
			b.State, b.Artifact, b.PhasesMS, b.Notes, b.FinishedAt = domain.Succeeded, e.Artifact, e.PhasesMs, e.Notes, time.UnixMilli(e.AtUnixMs)
			return true
		})
	case "BuildFailed":
		var e builderv1.BuildFailed
		if err := decode(m, &e); err != nil {
			return err
		}
		return c.update(ctx, m, e.OrderId, app.Event{Type: "build_failed", Message: e.Message}, func(b *domain.Build) bool {
			if b.State == domain.Cancelled {
				return false
			}
			b.State, b.Kind, b.Message, b.Host, b.Setting = domain.Failed, e.Kind, e.Message, e.Host, e.Setting
			b.File, b.Line, b.FinishedAt = e.File, int(e.Line), time.UnixMilli(e.AtUnixMs)
			if e.Kind == "cancelled" {
				b.State = domain.Cancelled
			}
			return false
		})
	}
	return nil
}

func (c consumer) update(ctx context.Context, m bus.Message, order string, e app.Event, f func(b *domain.Build) bool) error {
	b, err := c.store.UpdateBuild(ctx, m.ID, order, func(b *domain.Build) (bool, error) { return f(b), nil })
	if fault.Is(err, fault.NotFound) {
		return nil // the order is gone with its repository
	}
	if err != nil {
		return err
	}
	e.Repository, e.Order, e.Build, e.Path, e.Action = b.RepositoryID, b.ID, b.Build, b.Path, b.Action
	c.events.Publish(b.Project, e)
	return nil
}
