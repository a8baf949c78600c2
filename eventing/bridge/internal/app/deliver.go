package app

import (
	"context"
	"sync"
	"time"
)

const (
	underWay = 64 // deliveries at a time
	each     = 8  // of them for one subscription
	poll     = time.Second
	// stopAfter is how long a delivery under way may take when the process ends.
	stopAfter = 3 * time.Second
)

// Run delivers until ctx ends. What is under way then is finished or, after a moment, left to the next one: a lease
// in the database says who delivers, so that several processes share the work.
func (s *Service) Run(ctx context.Context) error {
	send, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var flight sync.WaitGroup
	slots := make(chan struct{}, underWay)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		free := cap(slots) - len(slots)
		var list []Claimed
		if free > 0 {
			var err error
			if list, err = s.Store.Claim(ctx, free, each, s.Timeout+30*time.Second); err != nil && ctx.Err() == nil {
				s.Log.Warn("deliveries could not be looked for; trying again", "err", err)
			}
		}
		for _, c := range list {
			slots <- struct{}{}
			flight.Go(func() {
				s.deliver(send, c)
				<-slots
				s.poke() // what comes after it may go now
			})
		}
		if len(list) > 0 && len(list) == free {
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-tick.C:
		}
	}
	late := time.AfterFunc(stopAfter, cut)
	defer late.Stop()
	flight.Wait()
	return nil
}

// deliver tries once. When its end cannot be written, the lease runs out, and it is sent again.
func (s *Service) deliver(ctx context.Context, c Claimed) {
	o := s.send(ctx, c)
	if ctx.Err() != nil {
		return
	}
	var err error
	switch {
	case o.Problem == "":
		err = s.Store.Delivered(ctx, c.Delivery)
	case o.Gone:
		s.Log.Info("a subscription takes no more events", "project", c.Project, "subscription", c.Subscription, "why", o.Problem)
		err = s.Store.DisableSubscription(ctx, c.Project, c.Subscription, o.Problem, s.settle(c.Project))
	default:
		rest, again := s.Retry.Rest(c.Tries, o.RetryAfter, s.Jitter())
		err = s.Store.Failed(ctx, c.Delivery, o.Problem, rest, o.Final || !again)
	}
	if err != nil {
		s.Log.Warn("the end of a delivery could not be written; it is sent again", "delivery", c.ID, "err", err)
	}
}

func (s *Service) send(ctx context.Context, c Claimed) Outcome {
	sender := s.Senders[c.Sink.Kind]
	if sender == nil {
		return Outcome{Problem: "this version knows no sinks of the kind " + c.Sink.Kind}
	}
	var secret []byte
	if c.Sealed != nil {
		var err error
		if secret, err = s.Cipher.Open(c.Sealed, sealContext(c.Subscription)); err != nil {
			return Outcome{Problem: "the secret cannot be opened: make the subscription anew", Final: true}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return sender.Send(ctx, c.Sink, secret, c.Delivery)
}
