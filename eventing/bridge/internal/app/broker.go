package app

import (
	"context"
	"strconv"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Brokers has a project's Broker, and the Trigger that brings its events to the project, in a cluster.
// Safe for concurrent use; every method may be repeated.
type Brokers interface {
	// Apply makes the cluster have what a project wants, whatever it has: key is the API key of the project with which
	// the Broker's events come; without triggers there is a Broker alone.
	Apply(ctx context.Context, project, key string, triggers []domain.EventTrigger) error
	// State reads how that fares.
	State(ctx context.Context, project string) (domain.BrokerState, error)
	// Address is where events for a project's Broker are sent; it may be some seconds old. A fault says why there is none.
	Address(ctx context.Context, project string) (string, error)
	// Remove removes what was made for a project.
	Remove(ctx context.Context, project string) error
}

// BrokerStore keeps which projects have a Broker.
type BrokerStore interface {
	// LinkBroker notes a wish, in place of an older one.
	LinkBroker(ctx context.Context, l domain.BrokerLink) error
	// UnlinkBroker notes that it is to go; NotFound where there is none. ForgetBroker forgets one that has gone.
	UnlinkBroker(ctx context.Context, project string) error
	ForgetBroker(ctx context.Context, project string) error
	// BrokerLinks lists all, also those that are to go, or that of one project.
	BrokerLinks(ctx context.Context, project string) ([]domain.BrokerLink, error)
	// EventTriggers are the live triggers of a project's workflows for events from outside, in the order of their workflows.
	EventTriggers(ctx context.Context, project string) ([]domain.EventTrigger, error)
}

// errNoBrokers tells that the settings name no cluster.
func errNoBrokers() error {
	return fault.New(fault.Conflict, "this platform manages no Brokers: set bridge.broker to knative:?… (platform/docs/events.md)")
}

func brokerContext(project string) string { return "broker/" + project }

// ConnectBroker gives a project a Broker, whose events come in with an API key of the project that the caller has checked.
func (s *Service) ConnectBroker(ctx context.Context, project, key string) error {
	if s.Brokers == nil {
		return errNoBrokers()
	}
	sealed, err := s.Cipher.Seal([]byte(key), brokerContext(project))
	if err != nil {
		return fault.Wrap(err, fault.Internal, "seal the key")
	}
	if err := s.BrokerStore.LinkBroker(ctx, domain.BrokerLink{Project: project, Sealed: sealed, CreatedAt: s.Now().UTC()}); err != nil {
		return err
	}
	s.tend()
	return nil
}

// DisconnectBroker takes a project's Broker away, with what waits in it.
func (s *Service) DisconnectBroker(ctx context.Context, project string) error {
	if s.Brokers == nil {
		return errNoBrokers()
	}
	if err := s.BrokerStore.UnlinkBroker(ctx, project); err != nil {
		return err
	}
	s.tend()
	return nil
}

// Broker tells how a project's Broker fares.
func (s *Service) Broker(ctx context.Context, project string) (domain.BrokerState, error) {
	if s.Brokers == nil {
		return domain.BrokerState{}, errNoBrokers()
	}
	links, err := s.BrokerStore.BrokerLinks(ctx, project)
	if err != nil {
		return domain.BrokerState{}, err
	}
	if len(links) == 0 || links[0].Going {
		return domain.BrokerState{}, fault.New(fault.NotFound, "project %s has no Broker: `pelton events broker connect` gives it one", project)
	}
	return s.Brokers.State(ctx, project)
}

// tend lets KeepBrokers look now.
func (s *Service) tend() {
	select {
	case s.tending <- struct{}{}:
	default:
	}
}

// KeepBrokers makes the cluster have what is wanted until ctx ends: after each change, and every so often, so that
// what others changed or removed there comes back.
func (s *Service) KeepBrokers(ctx context.Context) error {
	if s.Brokers == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.BrokerEvery)
	defer tick.Stop()
	said := "" // what is wrong, told once
	for ctx.Err() == nil {
		problem := ""
		if err := s.keepBrokers(ctx); err != nil && ctx.Err() == nil {
			problem = err.Error()
		}
		if problem != "" && problem != said {
			s.Log.Warn("the cluster's Brokers are not as they are wanted; trying again", "err", problem)
		}
		said = problem
		select {
		case <-ctx.Done():
		case <-s.tending:
		case <-tick.C:
		}
	}
	return nil
}

// keepBrokers goes on with the others where one project's is in trouble, and gives the first of the faults.
func (s *Service) keepBrokers(ctx context.Context) error {
	links, err := s.BrokerStore.BrokerLinks(ctx, "")
	if err != nil {
		return err
	}
	var first error
	note := func(project string, err error) {
		if err != nil && first == nil {
			first = fault.Wrap(err, fault.Unavailable, "project %s", project)
		}
	}
	for _, l := range links {
		if l.Going {
			err := s.Brokers.Remove(ctx, l.Project)
			if err == nil {
				err = s.BrokerStore.ForgetBroker(ctx, l.Project)
			}
			note(l.Project, err)
			continue
		}
		key, err := s.Cipher.Open(l.Sealed, brokerContext(l.Project))
		if err != nil {
			note(l.Project, fault.New(fault.Internal, "the Broker's key cannot be opened: connect it anew"))
			continue
		}
		triggers, err := s.BrokerStore.EventTriggers(ctx, l.Project)
		if err == nil {
			err = s.Brokers.Apply(ctx, l.Project, string(key), triggers)
		}
		note(l.Project, err)
	}
	return first
}

// BrokerSender sends events to the Broker of their project, or to the one sink that the settings name for all.
type BrokerSender struct {
	Brokers Brokers // nil = none are managed
	Sink    string  // "" = none is named
	HTTP    Sender  // of binary mode
}

var _ Sender = BrokerSender{}

// Send implements Sender.
func (b BrokerSender) Send(ctx context.Context, s domain.Sink, secret []byte, d domain.Delivery) Outcome {
	s.URL = b.Sink
	if b.Brokers != nil {
		address, err := b.Brokers.Address(ctx, d.Project)
		switch {
		case err == nil:
			s.URL = address
		case s.URL == "" || !fault.Is(err, fault.NotFound):
			return Outcome{Problem: err.Error()}
		}
	}
	if s.URL == "" {
		return Outcome{Problem: "there is no Broker: set bridge.broker or bridge.sink, or give the platform K_SINK"}
	}
	o := b.HTTP.Send(ctx, s, secret, d)
	// A Broker that is made anew is another one at the same address: nothing is for ever.
	o.Gone = false
	return o
}

// checkBrokerSink finds what is wrong with a subscription whose sink is the project's Broker, nil = nothing.
func (s *Service) checkBrokerSink(sink domain.Sink) *fault.Field {
	switch {
	case sink.URL != "":
		return &fault.Field{Path: "sink.url", Message: "is " + strconv.Quote(sink.URL) + " for a sink that has its own", Remedy: "leave it out, or give kind: cloudevents"}
	case s.Brokers == nil && s.BrokerSink == "":
		return &fault.Field{Path: "sink.kind", Message: "is broker, and this platform has none", Remedy: "set bridge.broker or bridge.sink (platform/docs/events.md), or give kind: cloudevents with the URL of one"}
	}
	return nil
}
