package app

import (
	"context"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Bounds are what is kept for a subscription at most.
type Bounds struct {
	Waiting int           // deliveries; a subscription with more is disabled
	Dead    int           // dead letters; beyond it the oldest are forgotten
	Age     time.Duration // of a dead letter
}

// bounds of every subscription: what waits for a receiver that is away must not fill the database of all. All dead
// letters may be sent again without being too many that wait.
var bounds = Bounds{Waiting: 100_000, Dead: 50_000, Age: 30 * 24 * time.Hour}

const tidyEvery = 5 * time.Minute

// Tidy holds subscriptions to the bounds now and then until ctx ends.
func (s *Service) Tidy(ctx context.Context) error {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		if err := s.TidyNow(ctx, bounds); err != nil && ctx.Err() == nil {
			s.Log.Warn("subscriptions are not held to their bounds for now", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// TidyNow disables subscriptions for which too much waits, and forgets dead letters that are too many or too old.
func (s *Service) TidyNow(ctx context.Context, b Bounds) error {
	list, err := s.Store.Crowded(ctx, b.Waiting)
	if err != nil {
		return err
	}
	for _, c := range list {
		reason := fmt.Sprintf("more than %d events waited for it: they are dead letters now", b.Waiting)
		s.Log.Warn("a subscription takes no more events", "project", c.Project, "subscription", c.Subscription, "why", reason)
		err := s.Store.DisableSubscription(ctx, c.Project, c.Subscription, reason, s.settle(c.Project))
		if err != nil && !fault.Is(err, fault.NotFound) { // it was removed just now
			return err
		}
	}
	n, err := s.Store.ForgetDead(ctx, b.Dead, b.Age)
	if n > 0 {
		s.Log.Info("dead letters are forgotten", "count", n)
	}
	return err
}
