package events

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	builderv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/builder/v1"
	repositoryv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/repository/v1"
	runnerv1 "github.com/pelton-run/pelton/eventing/bridge/internal/infra/contracts/runner/v1"
	"github.com/pelton-run/pelton/eventing/bus"
)

// fake takes down what messages ask for.
type fake struct {
	events   []domain.Event
	triggers []string
	armed    int64
}

func (f *fake) Occurred(_ context.Context, _, _ string, e ...domain.Event) error {
	f.events = append(f.events, e...)
	return nil
}

func (f *fake) TriggersChanged(_ context.Context, _ string, t app.Trigger, live bool) error {
	f.triggers = nil
	if live {
		f.triggers = t.Types
	}
	return nil
}

func (f *fake) Armed(_ context.Context, _ string, version int64) error {
	f.armed = version
	return nil
}

// TestEvents: every message becomes a valid CloudEvent of a type whose schema takes its data, and every type
// has one.
func TestEvents(t *testing.T) {
	run := &runnerv1.Run{Id: "r", Project: "p", Workflow: "w", Revision: 3, TriggerKind: "http", TriggerId: "t", CreatedUnixMs: 1000}
	f := &fake{}
	c := consumer{f}
	seen := map[string]bool{}
	for _, x := range []struct {
		key     string
		handler bus.Handler
		m       proto.Message
		want    string
		says    string
	}{
		{"RunStarted", c.run, &runnerv1.RunStarted{Run: run, AtUnixMs: 1000}, domain.RunStarted, `"trigger":{"kind":"http","id":"t"}`},
		{"RunEnded", c.run, &runnerv1.RunEnded{Run: run, State: "completed", ResultJson: []byte(`{"a":[1]}`), AtUnixMs: 3500}, domain.RunCompleted, `"duration_ms":2500,"result":{"a":[1]}}`},
		{"RunEnded", c.run, &runnerv1.RunEnded{Run: run, State: "completed", ResultLeftOut: true, AtUnixMs: 3500}, domain.RunCompleted, `"result_left_out":true}`},
		{"RunEnded", c.run, &runnerv1.RunEnded{Run: run, State: "failed", ErrorKind: "user_error", Error: "no", Step: "s", AtUnixMs: 2000}, domain.RunFailed, `"error":{"kind":"user_error","message":"no","step":"s"}`},
		{"RunEnded", c.run, &runnerv1.RunEnded{Run: run, State: "cancelled", AtUnixMs: 2000}, domain.RunCancelled, `"state":"cancelled"`},
		{"StepFailed", c.run, &runnerv1.StepFailed{Run: run, Step: "s", Item: []int32{0, 2}, ErrorKind: "k", Error: "m", Caught: true, AtUnixMs: 2000}, domain.StepFailed, `"item":[0,2],"error":{"kind":"k","message":"m"},"caught":true`},
		{"DeploymentChanged", c.deployment, &runnerv1.DeploymentChanged{DeploymentId: "d", Project: "p", Workflow: "w", State: "live", Endpoints: []*runnerv1.Endpoint{{Trigger: "t", Method: "GET", Path: "/x"}}}, domain.WorkflowDeployed, `"endpoints":[{"trigger":"t","method":"GET","path":"/x"}]`},
		{"DeploymentChanged", c.deployment, &runnerv1.DeploymentChanged{DeploymentId: "d", Project: "p", Workflow: "w", State: "failed", Reason: "no"}, domain.DeploymentFailed, `"reason":"no"`},
		{"DeploymentChanged", c.deployment, &runnerv1.DeploymentChanged{DeploymentId: "d", Project: "p", Workflow: "w", State: "stopped"}, domain.WorkflowStopped, `"state":"stopped"`},
		{"ActionOffered", c.action, &repositoryv1.ActionOffered{Project: "p", Build: "sha256:1", ActionJson: `{"id":"a","version":"1.10"}`, Repository: "x", Path: "actions/a"}, domain.ActionBuilt, `"action":"a","version":"1.10"`},
		{"BuildFailed", c.build, &builderv1.BuildFailed{Project: "p", Build: "sha256:1", OrderId: "o", Kind: "compile", Message: "m"}, domain.BuildFailed, `"kind":"compile"`},
	} {
		body, err := proto.Marshal(x.m)
		require.NoError(t, err)
		f.events = nil
		require.NoError(t, x.handler(t.Context(), bus.Message{ID: "0190", Key: x.key, Body: body, Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}))
		require.Len(t, f.events, 1)
		require.Equal(t, x.want, f.events[0].Type)
		require.Equal(t, "p", f.events[0].Project)
		text, err := f.events[0].JSON("http://x")
		require.NoError(t, err)
		require.Contains(t, string(text), x.says)
		var e cloudevent.Event
		require.NoError(t, json.Unmarshal(text, &e))
		require.NoError(t, e.Validate())
		require.Equal(t, "0190", e.ID())
		schema, err := jsonschema.NewCompiler().Compile("../../../schemas/" + x.want + ".json")
		require.NoError(t, err)
		var data any
		require.NoError(t, json.Unmarshal(e.Data(), &data))
		require.NoError(t, schema.Validate(data), x.want)
		seen[x.want] = true
	}
	files, err := os.ReadDir("../../../schemas")
	require.NoError(t, err)
	require.Len(t, files, len(domain.Types))
	for _, x := range domain.Types {
		require.True(t, seen[x.Name], x.Name)
	}
}

// TestOther: what is no event, and what is wanted and armed.
func TestOther(t *testing.T) {
	f := &fake{}
	c := consumer{f}
	call := func(h bus.Handler, key string, m proto.Message) error {
		body, err := proto.Marshal(m)
		require.NoError(t, err)
		return h(t.Context(), bus.Message{Key: key, Body: body})
	}
	require.NoError(t, call(c.deployment, "DeploymentChanged", &runnerv1.DeploymentChanged{State: "deploying", EventTypes: []string{"x"}}))
	require.Empty(t, f.events)
	require.Empty(t, f.triggers)
	require.NoError(t, call(c.deployment, "DeploymentChanged", &runnerv1.DeploymentChanged{State: "live", EventTypes: []string{"x"}}))
	require.Equal(t, []string{"x"}, f.triggers)
	require.NoError(t, call(c.deployment, "DeploymentChanged", &runnerv1.DeploymentChanged{State: "stopped", EventTypes: []string{"x"}}))
	require.Empty(t, f.triggers)
	require.NoError(t, call(c.deployment, "EventsArmed", &runnerv1.EventsArmed{Version: 7}))
	require.Equal(t, int64(7), f.armed)
	require.Error(t, call(c.run, "RunEnded", &runnerv1.RunEnded{State: "odd"}))
	for key, h := range map[string]bus.Handler{"RunStarted": c.run, "RunEnded": c.run, "StepFailed": c.run, "DeploymentChanged": c.deployment, "EventsArmed": c.deployment, "ActionOffered": c.action, "BuildFailed": c.build} {
		require.Error(t, h(t.Context(), bus.Message{Key: key, Body: []byte{0xff}, At: time.Now()}), key)
	}
}
