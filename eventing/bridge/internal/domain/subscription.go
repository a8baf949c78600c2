package domain

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// The kinds of sinks.
const (
	SinkWebhook     = "webhook"     // an HTTP endpoint, signed as Standard Webhooks 1.0 says, structured mode
	SinkRabbitMQ    = "rabbitmq"    // an exchange of a RabbitMQ, binary mode
	SinkCloudEvents = "cloudevents" // an HTTP endpoint that takes CloudEvents in binary mode
	SinkBroker      = "broker"      // the project's Knative Broker, binary mode
)

// Sinks are the kinds.
var Sinks = []string{SinkWebhook, SinkCloudEvents, SinkRabbitMQ, SinkBroker}

// Sink is where a subscription's events go.
type Sink struct {
	Kind     string
	URL      string // without credentials; of broker ""
	Exchange string // of rabbitmq
	Key      string // of rabbitmq: the routing key, "" = the event's type
}

// Subscription is somebody's wish to be told of events of a project.
type Subscription struct {
	ID        string // UUIDv7
	Project   string
	Name      string
	Sink      Sink
	Types     []string        // patterns, none = all
	Filter    json.RawMessage // clauses, see functions/formats/eventfilter
	Sealed    []byte          // the secret that webhooks are signed with, sealed
	Paused    bool            // what happens meanwhile waits
	Disabled  string          // why it takes nothing any more, "" = it does
	CreatedAt time.Time
	Version   int64 // of the wish that has to be armed before everything is told
	Armed     bool  // it is

	Delivered   int64
	DeliveredAt time.Time // zero = never
	LastError   string    // of the newest try, "" = it went well
	Waiting     int       // deliveries that are on their way
	Dead        int       // deliveries that were given up
}

// The states of a subscription.
const (
	StateArming   = "arming"
	StateActive   = "active"
	StatePaused   = "paused"
	StateDisabled = "disabled"
)

// State in one word.
func (s *Subscription) State() string {
	switch {
	case s.Disabled != "":
		return StateDisabled
	case s.Paused:
		return StatePaused
	case !s.Armed:
		return StateArming
	}
	return StateActive
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Check finds everything that is wrong with a subscription but its address and filter.
func (s *Subscription) Check() (bad []fault.Field) {
	if !namePattern.MatchString(s.Name) {
		bad = append(bad, fault.Field{Path: "name", Message: "is " + quote(s.Name), Remedy: "give 1 to 63 of a-z, 0-9 and -"})
	}
	if !slices.Contains(Sinks, s.Sink.Kind) {
		remedy := "give " + strings.Join(Sinks, ", ")
		bad = append(bad, fault.Field{Path: "sink.kind", Message: "is " + quote(s.Sink.Kind), Remedy: remedy})
	}
	if s.Sink.Kind == SinkRabbitMQ && s.Sink.Exchange == "" {
		bad = append(bad, fault.Field{Path: "sink.exchange", Message: "is missing", Remedy: "name the exchange that events go to"})
	}
	if s.Sink.Kind != SinkRabbitMQ && (s.Sink.Exchange != "" || s.Sink.Key != "") {
		bad = append(bad, fault.Field{Path: "sink.exchange", Message: "is given for a sink that has none", Remedy: "leave exchange and key out, or give kind: rabbitmq"})
	}
	if len(s.Sink.Exchange) > 255 || len(s.Sink.Key) > 255 {
		bad = append(bad, fault.Field{Path: "sink.exchange", Message: "is longer than 255 bytes, or key is", Remedy: "give shorter ones"})
	}
	return bad
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

// Wants says which events the runner is asked to tell.
type Wants struct{ Started, Ended, Failed bool }

// None tells that there is nothing to tell.
func (w Wants) None() bool { return w == Wants{} }

// WantsOf puts together what filters may take.
func WantsOf(takes ...func(eventType string) bool) (w Wants) {
	for _, t := range takes {
		w.Started = w.Started || t(RunStarted)
		w.Failed = w.Failed || t(StepFailed)
		w.Ended = w.Ended || t(RunCompleted) || t(RunFailed) || t(RunCancelled)
	}
	return w
}
