package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/pelton-run/pelton/functions/formats/doc"
	"github.com/pelton-run/pelton/functions/formats/eventfilter"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// The kinds of triggers that take events.
const (
	TriggerPlatformEvent = "platform-event" // what happens in the project
	TriggerCloudEvent    = "cloudevent"     // from outside
	TriggerRabbitMQ      = "rabbitmq"       // from a queue of the user's RabbitMQ
)

// replyTimeout is how long a sender waits for a workflow's reply where its trigger does not say.
const replyTimeout = 30 * time.Second

// eventTrigger are the settings of a trigger that takes events.
type eventTrigger struct {
	Types   []string        `json:"types"`
	Filter  json.RawMessage `json:"filter"`
	Reply   *replySettings  `json:"reply"`
	Timeout json.RawMessage `json:"timeout"` // 30s, or a number of seconds
}

type replySettings struct {
	Type   string `json:"type"`
	Source string `json:"source"`
}

func readEventTrigger(with json.RawMessage) (t eventTrigger, f *eventfilter.Filter, err error) {
	if len(with) > 0 {
		if err := json.Unmarshal(with, &t); err != nil {
			return t, nil, fault.Wrap(err, fault.Invalid, "the settings of the trigger cannot be read")
		}
	}
	f, bad := eventfilter.Compile(t.Types, t.Filter)
	if bad != nil {
		return t, nil, fault.New(fault.Invalid, "%s %s", bad[0].Path, bad[0].Message)
	}
	return t, f, nil
}

// eventKey tells an event from all others: source and id are unique together (CloudEvents 1.0, section 3.1).
func eventKey(event []byte) (key, id string, err error) {
	var e struct{ SpecVersion, ID, Source, Type string }
	if err := json.Unmarshal(event, &e); err != nil {
		return "", "", fault.Wrap(err, fault.Invalid, "the event is no JSON object")
	}
	var bad []fault.Field
	for _, f := range []struct{ path, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if f.value == "" {
			bad = append(bad, fault.Field{Path: "event." + f.path, Message: "is missing", Remedy: "give every event id, source and type"})
		}
	}
	if bad != nil {
		return "", "", fault.InvalidFields(bad...)
	}
	key = e.Source + " " + e.ID
	if len(key) > 512 {
		sum := sha256.Sum256([]byte(e.Source + "\x00" + e.ID))
		key = hex.EncodeToString(sum[:])
	}
	return key, e.ID, nil
}

// EventStarted is a run that an event started.
type EventStarted struct {
	Workflow string
	Trigger  string
	Run      string
	Created  bool // false: the event was known
}

// EventReply is what a workflow answers an event with.
type EventReply struct {
	ID, Source, Type string
	Time             time.Time
	Result           domain.Values
}

// ReceiveEvent starts the runs whose triggers of the kind cloudevent take an event in the JSON format of
// CloudEvents. See UseCases.
func (s *Service) ReceiveEvent(ctx context.Context, project string, event []byte, reply bool) ([]EventStarted, *EventReply, error) {
	key, _, err := eventKey(event)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Refresh(ctx); err != nil {
		return nil, nil, err
	}
	started, replying, err := s.startAll(ctx, project, key, event)
	if err != nil || replying == nil || !reply {
		return started, nil, err
	}
	wait, cancel := context.WithTimeout(ctx, replying.patience)
	defer cancel()
	res, err := s.Await(wait, project, replying.run)
	if wait.Err() != nil || err != nil || res.State != domain.RunCompleted {
		return started, nil, ctx.Err() // the runs are durable; there is no reply, or not in time
	}
	source := replying.Source
	if source == "" {
		source = "/projects/" + project + "/workflows/" + replying.workflow
	}
	return started, &EventReply{ID: replying.run, Source: source, Type: replying.Type, Time: s.now().UTC(), Result: res.Result}, nil
}

// replier is a run whose result is the reply.
type replier struct {
	replySettings
	run, workflow string
	patience      time.Duration
}

// startAll starts a run for each trigger that takes the event. The first of the workflows that reply, by name, does.
func (s *Service) startAll(ctx context.Context, project, key string, event []byte) (started []EventStarted, reply *replier, err error) {
	live, _ := s.Live()
	live = slices.DeleteFunc(live, func(d Deployment) bool { return d.Project != project })
	slices.SortFunc(live, func(a, b Deployment) int { return strings.Compare(a.Definition.Workflow, b.Definition.Workflow) })
	var refused []string
	for _, d := range live {
		for _, t := range d.Definition.Triggers {
			if t.Uses != TriggerCloudEvent {
				continue
			}
			with, filter, err := readEventTrigger(t.With)
			if err != nil {
				return nil, nil, err
			}
			if !filter.Match(event) {
				continue
			}
			run, err := s.StartRun(ctx, StartRun{Project: project, DeploymentID: d.ID, Trigger: Trigger{Kind: TriggerCloudEvent, ID: t.ID}, Event: event, EventKey: key})
			switch {
			case fault.Is(err, fault.Invalid) || fault.Is(err, fault.Unprocessable):
				refused = append(refused, d.Definition.Workflow+"."+t.ID+": "+err.Error())
				continue
			case err != nil:
				return nil, nil, err
			}
			started = append(started, EventStarted{d.Definition.Workflow, t.ID, run.ID, run.Created})
			if with.Reply != nil && reply == nil {
				reply = &replier{*with.Reply, run.ID, d.Definition.Workflow, replyTimeout}
				if p, ok := doc.ParseDuration(strings.Trim(string(with.Timeout), `"`)); ok && p > 0 {
					reply.patience = p
				}
			}
		}
	}
	if refused != nil {
		return nil, nil, fault.New(fault.Unprocessable, "the event is taken by workflows whose inputs it does not fit: %s", strings.Join(refused, "; ")).WithCode("event_refused")
	}
	return started, reply, nil
}

// PlatformEvent starts the runs whose triggers of the kind platform-event take an event. See UseCases.
func (s *Service) PlatformEvent(ctx context.Context, project string, event []byte) error {
	_, id, err := eventKey(event)
	if err != nil {
		return err
	}
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	about := aboutRun(event)
	return s.startFor(ctx, project, TriggerPlatformEvent, id, event, func(workflow string, with json.RawMessage) (bool, error) {
		_, filter, err := readEventTrigger(with)
		// What happens to its own runs would start more of them, for ever.
		return err == nil && about != workflow && filter.Match(event), err
	})
}

// aboutRun is the workflow whose runs or deployments an event is about, "" = none.
func aboutRun(event []byte) string {
	var e struct{ Workflow string }
	_ = json.Unmarshal(event, &e) // eventKey has read it
	return e.Workflow
}

// EventTypes are the types of platform events that a deployment's triggers take.
func EventTypes(d domain.Definition) (types []string) {
	for _, t := range d.Triggers {
		if t.Uses != TriggerPlatformEvent {
			continue
		}
		var with eventTrigger
		_ = json.Unmarshal(t.With, &with) // the studio checked it
		types = append(types, with.Types...)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// OutsideEvent is a trigger that takes events from outside.
type OutsideEvent struct {
	ID     string
	Types  []string        // none = all
	Filter json.RawMessage // clauses, nil = none
}

// OutsideEvents are a deployment's triggers for events from outside.
func OutsideEvents(d domain.Definition) (out []OutsideEvent) {
	for _, t := range d.Triggers {
		if t.Uses != TriggerCloudEvent {
			continue
		}
		var with eventTrigger
		_ = json.Unmarshal(t.With, &with) // the studio checked it
		out = append(out, OutsideEvent{t.ID, with.Types, with.Filter})
	}
	return out
}
