package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/functions/formats/eventfilter"
	"github.com/pelton-run/pelton/platform/kit/fault"
)

// maxSubscriptions is how many a project may have: each is looked at for each event.
const maxSubscriptions = 100

// Service is the use cases. Safe for concurrent use.
type Service struct {
	Store    Store
	Announce Announcer
	Senders  map[string]Sender // by kind of sink
	Cipher   Cipher
	Retry    domain.Retry
	Runner   Runner
	// Timeout is how long a receiver may take.
	Timeout time.Duration
	// Schemas is the URL under which the schemas of data lie.
	Schemas func() string
	Now     func() time.Time
	NewID   func() string
	NewKey  func() []byte // 32 random bytes
	Jitter  func() float64
	Log     *slog.Logger

	Brokers     Brokers // nil = none are managed
	BrokerStore BrokerStore
	BrokerSink  string        // where events for Brokers go where none are managed, "" = nowhere
	BrokerEvery time.Duration // how often what a cluster has is looked at

	wake    chan struct{}
	tending chan struct{}
}

// New makes the use cases ready.
func New(s Service) *Service {
	s.wake, s.tending = make(chan struct{}, 1), make(chan struct{}, 1)
	return &s
}

// Subscribe describes a subscription to add.
type Subscribe struct {
	Project string
	Name    string // "" = one is made
	Sink    domain.Sink
	Types   []string
	Filter  json.RawMessage
	Secret  string // of webhooks: whsec_ and base64, "" = one is made; of rabbitmq: USER:PASSWORD
}

// secretPrefix begins a secret (Standard Webhooks 1.0, "signature scheme").
const secretPrefix = "whsec_"

// Subscribe adds a subscription; the secret is told this once.
func (s *Service) Subscribe(ctx context.Context, o Subscribe) (domain.Subscription, string, error) {
	sub := domain.Subscription{ID: s.NewID(), Project: o.Project, Name: o.Name, Sink: o.Sink, Types: o.Types, Filter: o.Filter, CreatedAt: s.Now().UTC()}
	if string(o.Filter) == "null" {
		o.Filter, sub.Filter = nil, nil
	}
	if sub.Name == "" {
		sub.Name = "s-" + sub.ID[len(sub.ID)-12:]
	}
	bad := sub.Check()
	check := checkAddress
	if o.Sink.Kind == domain.SinkBroker {
		check = s.checkBrokerSink
	}
	if f := check(o.Sink); f != nil {
		bad = append(bad, *f)
	}
	_, problems := eventfilter.Compile(o.Types, o.Filter)
	for _, p := range problems {
		bad = append(bad, fault.Field{Path: p.Path, Message: p.Message, Remedy: p.Remedy})
	}
	for i, t := range o.Types {
		if !known(t) {
			names := make([]string, len(domain.Types))
			for j, x := range domain.Types {
				names[j] = x.Name
			}
			remedy := "`pelton events types` lists them"
			if near := fault.Nearest(t, names); near != "" {
				remedy = "did you mean " + near + "?"
			}
			bad = append(bad, fault.Field{Path: "types[" + itoa(i) + "]", Message: "no platform event has the type " + t, Remedy: remedy})
		}
	}
	secret, field := s.newSecret(o)
	if field != nil {
		bad = append(bad, *field)
	}
	if bad != nil {
		return sub, "", fault.InvalidFields(bad...)
	}
	if secret != "" {
		var err error
		if sub.Sealed, err = s.Cipher.Seal([]byte(secret), sealContext(sub.ID)); err != nil {
			return sub, "", fault.Wrap(err, fault.Internal, "seal the secret")
		}
	}
	all, err := s.Store.Subscriptions(ctx, o.Project)
	if err != nil {
		return sub, "", err
	}
	if len(all) >= maxSubscriptions {
		return sub, "", fault.New(fault.Exhausted, "project %s has %d subscriptions, which is its limit: remove one first", o.Project, maxSubscriptions)
	}
	if err := s.Store.AddSubscription(ctx, sub, s.settle(o.Project)); err != nil {
		return sub, "", err
	}
	if sub.Sink.Kind != domain.SinkWebhook {
		secret = "" // it is theirs
	}
	sub, err = s.Store.Subscription(ctx, o.Project, sub.ID)
	return sub, secret, err
}

func sealContext(subscription string) string { return "subscription/" + subscription }

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// known tells whether a pattern covers a type that there is.
func known(pattern string) bool {
	f, bad := eventfilter.Compile([]string{pattern}, nil)
	return bad != nil || slices.ContainsFunc(domain.Types, func(t struct{ Name, Title string }) bool { return f.Takes(t.Name) })
}

// newSecret is the secret of a webhook: the one given, or a new one of 32 random bytes.
func (s *Service) newSecret(o Subscribe) (string, *fault.Field) {
	if o.Sink.Kind == domain.SinkRabbitMQ {
		if user, password, ok := strings.Cut(o.Secret, ":"); !ok || user == "" || password == "" || len(o.Secret) > 512 {
			return "", &fault.Field{Path: "secret", Message: "is no user with a password", Remedy: "give USER:PASSWORD, of a user who may write to the exchange"}
		}
		return o.Secret, nil
	}
	if o.Sink.Kind != domain.SinkWebhook {
		if o.Secret != "" {
			return "", &fault.Field{Path: "secret", Message: "is given for a sink that is not signed", Remedy: "leave it out, or give sink.kind: webhook"}
		}
		return "", nil
	}
	if o.Secret == "" {
		return secretPrefix + base64.StdEncoding.EncodeToString(s.NewKey()), nil
	}
	text, ok := strings.CutPrefix(o.Secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return "", &fault.Field{Path: "secret", Message: "is no secret for webhooks", Remedy: "give whsec_ and the base64 of 24 to 64 random bytes, or leave it out for a new one"}
	}
	return o.Secret, nil
}

// settle says what the runner is asked to tell.
func (s *Service) settle(project string) Settle {
	return func(i Interests, version int64) (domain.Wants, Message, error) {
		var takes []func(string) bool
		add := func(types []string, filter json.RawMessage) {
			f, _ := eventfilter.Compile(types, filter)
			takes = append(takes, f.Takes)
		}
		for _, x := range i.Subscriptions {
			add(x.Types, nil)
		}
		for _, x := range i.Triggers {
			add(x.Types, nil)
		}
		w := domain.WantsOf(takes...)
		m, err := s.Announce.EventsWanted(s.NewID(), project, version, w)
		return w, m, err
	}
}

// Unsubscribe removes a subscription with what it has not been sent.
func (s *Service) Unsubscribe(ctx context.Context, project, key string) error {
	sub, err := s.Store.Subscription(ctx, project, key)
	if err != nil {
		return err
	}
	return s.Store.RemoveSubscription(ctx, project, sub.ID, s.settle(project))
}

// Pause lets a subscription's events wait. Resume lets them go out again, and enables one that was disabled.
func (s *Service) Pause(ctx context.Context, project, key string) (domain.Subscription, error) {
	sub, err := s.Store.Subscription(ctx, project, key)
	if err == nil {
		err = s.Store.PauseSubscription(ctx, project, sub.ID, true)
	}
	if err != nil {
		return sub, err
	}
	return s.Store.Subscription(ctx, project, sub.ID)
}

// Resume undoes Pause and what disabled the subscription. See Pause.
func (s *Service) Resume(ctx context.Context, project, key string) (domain.Subscription, error) {
	sub, err := s.Store.Subscription(ctx, project, key)
	if err == nil && sub.Disabled != "" {
		err = s.Store.DisableSubscription(ctx, project, sub.ID, "", s.settle(project))
	}
	if err == nil {
		err = s.Store.PauseSubscription(ctx, project, sub.ID, false)
	}
	if err != nil {
		return sub, err
	}
	s.poke()
	return s.Store.Subscription(ctx, project, sub.ID)
}

// Occurred records events that a message tells of, for everybody who wants them.
func (s *Service) Occurred(ctx context.Context, queue, messageID string, events ...domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	project := events[0].Project
	err := s.Store.Record(ctx, queue, messageID, project, func(i Interests) ([]domain.Delivery, []Message, error) {
		var out []domain.Delivery
		var told []Message
		for _, e := range events {
			body, err := e.JSON(s.Schemas())
			if err != nil {
				return nil, nil, fault.Wrap(err, fault.Invalid, "encode the event %s", e.ID)
			}
			for _, sub := range i.Subscriptions {
				f, bad := eventfilter.Compile(sub.Types, sub.Filter)
				if bad != nil || !f.Match(body) {
					continue
				}
				out = append(out, domain.Delivery{ID: s.NewID(), Subscription: sub.ID, Project: project, Order: e.Order(), EventID: e.ID, Type: e.Type, Event: body, CreatedAt: s.Now().UTC()})
			}
			if slices.ContainsFunc(i.Triggers, func(t Trigger) bool { f, _ := eventfilter.Compile(t.Types, nil); return f.Takes(e.Type) }) {
				m, err := s.Announce.EventOccurred(s.NewID(), project, body)
				if err != nil {
					return nil, nil, fault.Wrap(err, fault.Internal, "encode EventOccurred")
				}
				told = append(told, m)
			}
		}
		return out, told, nil
	})
	if err == nil {
		s.poke()
	}
	return err
}

// TriggersChanged notes which events the triggers of a deployment want; one that is not live wants none.
func (s *Service) TriggersChanged(ctx context.Context, project string, t Trigger, live bool) error {
	defer s.tend()
	if live {
		return s.Store.SetTrigger(ctx, project, t, s.settle(project))
	}
	return s.Store.RemoveTrigger(ctx, project, t.Deployment, s.settle(project))
}

// Armed notes that a version of a project's wish is in force.
func (s *Service) Armed(ctx context.Context, project string, version int64) error {
	return s.Store.Armed(ctx, project, version)
}

// Replay sends dead deliveries again; id "" = all of the subscription.
func (s *Service) Replay(ctx context.Context, project, subscription, id string) (int, error) {
	n, err := s.Store.Replay(ctx, project, subscription, id)
	s.poke()
	return n, err
}

// poke lets Run look for deliveries now.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
