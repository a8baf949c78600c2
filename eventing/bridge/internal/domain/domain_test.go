package domain

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRest(t *testing.T) {
	r := Retry{Attempts: 5, First: time.Second, Cap: 10 * time.Second}
	for _, c := range []struct {
		tries int
		asked time.Duration
		want  time.Duration
		again bool
	}{
		{1, 0, time.Second, true}, {2, 0, 4 * time.Second, true}, {3, 0, 10 * time.Second, true}, {4, 0, 10 * time.Second, true}, {5, 0, 0, false},
		{1, 7 * time.Second, 7 * time.Second, true}, {1, time.Hour, 10 * time.Second, true}, {2, time.Second, 4 * time.Second, true},
	} {
		d, again := r.Rest(c.tries, c.asked, 0)
		require.Equal(t, c.again, again)
		require.Equal(t, c.want, d)
	}
	d, _ := r.Rest(1, 0, 0.5)
	require.Equal(t, 1050*time.Millisecond, d)
	_, again := Retry{Attempts: 1000, First: time.Hour, Cap: 24 * time.Hour}.Rest(999, 0, 0)
	require.True(t, again)
}

func TestEventJSON(t *testing.T) {
	e := Event{ID: "i", Type: RunCompleted, Project: "p", Source: "/projects/p/workflows/w", Subject: "r", Workflow: "w", Time: time.UnixMilli(1500).UTC(), Data: map[string]int{"a": 1}}
	data, err := e.JSON("http://x/schemas")
	require.NoError(t, err)
	require.JSONEq(t, `{"specversion":"1.0","id":"i","source":"/projects/p/workflows/w","type":"io.pelton.run.completed.v1","subject":"r","time":"1970-01-01T00:00:01.5Z",
"datacontenttype":"application/json","dataschema":"http://x/schemas/io.pelton.run.completed.v1.json","project":"p","workflow":"w","partitionkey":"r","data":{"a":1}}`, string(data))
}

func TestSubscriptionCheck(t *testing.T) {
	for _, c := range []struct {
		s    Subscription
		says string
	}{
		{Subscription{Name: "a-1", Sink: Sink{Kind: SinkWebhook, URL: "https://x/y"}}, ""},
		{Subscription{Name: "a", Sink: Sink{Kind: SinkRabbitMQ, URL: "amqp://x/y", Exchange: "e"}}, ""},
		{Subscription{Name: "a", Sink: Sink{Kind: SinkRabbitMQ, URL: "amqp://x/y"}}, "sink.exchange"},
		{Subscription{Name: "a", Sink: Sink{Kind: SinkWebhook, URL: "https://x/y", Key: "e"}}, "sink.exchange"},
		{Subscription{Name: "A", Sink: Sink{Kind: SinkWebhook, URL: "https://x/y"}}, "name"},
		{Subscription{Name: "a", Sink: Sink{Kind: "mail", URL: "https://x/y"}}, "sink.kind"},
	} {
		bad := c.s.Check()
		if c.says == "" {
			require.Empty(t, bad)
			continue
		}
		require.Len(t, bad, 1)
		require.Equal(t, c.says, bad[0].Path)
		require.NotEmpty(t, bad[0].Remedy)
	}
}

func TestWants(t *testing.T) {
	is := func(names ...string) func(string) bool {
		return func(s string) bool {
			for _, n := range names {
				if n == s {
					return true
				}
			}
			return false
		}
	}
	require.True(t, WantsOf().None())
	require.True(t, WantsOf(is(WorkflowDeployed)).None())
	require.Equal(t, Wants{Ended: true}, WantsOf(is(RunCancelled), is(ActionBuilt)))
	require.Equal(t, Wants{Started: true, Failed: true}, WantsOf(is(RunStarted), is(StepFailed)))
}

func TestStates(t *testing.T) {
	s := Subscription{}
	require.Equal(t, StateArming, s.State())
	s.Armed = true
	require.Equal(t, StateActive, s.State())
	s.Paused = true
	require.Equal(t, StatePaused, s.State())
	s.Disabled = "gone"
	require.Equal(t, StateDisabled, s.State())
	require.Equal(t, `"a\"b"`, quote(`a"b`))
	require.True(t, json.Valid([]byte(quote("x"))))
}
