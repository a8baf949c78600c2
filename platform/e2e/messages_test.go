package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/rabbittest"
)

// putSecret keeps a secret of the project.
func putSecret(ctx context.Context, t *testing.T, p *harness.Platform, name, value string) {
	t.Helper()
	require.NoError(t, p.JSON(ctx, http.MethodPut, "/runner/v1/projects/default/secrets/"+name, map[string]any{"value": value}, nil))
}

// TestPublishing: the example's actions publish to a RabbitMQ, as plain messages and as CloudEvents, and send CloudEvents
// over HTTP; what nobody takes is an error that a workflow can tell.
func TestPublishing(t *testing.T) {
	p := startWith(t, harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t)})
	ctx := deadline(t, 5*time.Minute)
	urls, err := rabbittest.Shared(t).Tenant(ctx, map[string]rabbittest.Permissions{"shop": {Configure: ".*", Write: ".*", Read: ".*"}})
	require.NoError(t, err)
	conn, err := amqp.Dial(urls["shop"])
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	_, err = ch.QueueDeclare("orders", true, false, false, false, nil)
	require.NoError(t, err)
	putSecret(ctx, t, p, "rabbit", urls["shop"])
	putSecret(ctx, t, p, "events_key", p.Token)
	deploy(t, p, filepath.Join(harness.Root(), "functions", "examples", "messages"), "message-publish", "message-event")
	deploy(t, p, workspace(t, map[string]string{
		"workflows/elsewhere.yaml": workflowYAML("elsewhere", `  inputs: [{name: exchange, type: string}, {name: key, type: string}]
  steps:
    - id: publish
      uses: rabbitmq-publish
      with: {url: "${secrets.rabbit}", exchange: "${inputs.exchange}", key: "${inputs.key}", body: a text, content_type: text/plain, headers: {tries: 3, fast: true}, id: mine}
`)}), "elsewhere")

	run := func(workflow string, inputs map[string]any) harness.Run {
		r, err := p.StartRun(ctx, workflow, inputs)
		require.NoError(t, err)
		r, err = p.WaitRun(ctx, r.ID)
		require.NoError(t, err)
		return r
	}
	next := func() amqp.Delivery {
		var d amqp.Delivery
		require.NoError(t, harness.Until(ctx, "a message is in the queue", func() (ok bool, err error) {
			d, ok, err = ch.Get("orders", true)
			return ok, err
		}))
		return d
	}
	r := run("message-publish", map[string]any{"order": map[string]any{"id": 7}})
	require.Equal(t, "completed", r.State, "%+v", r.Error)
	d := next()
	require.JSONEq(t, `{"id":7}`, string(d.Body))
	require.Equal(t, `"`+d.MessageId+`"`, string(r.Result["message"]))
	require.Contains(t, d.MessageId, r.ID+":publish")
	require.Equal(t, []any{"application/json", amqp.Persistent, "com.example.order.created"}, []any{d.ContentType, d.DeliveryMode, d.Type})
	require.Equal(t, []any{"1.0", d.MessageId, "com.example.order.created", "/shop"},
		[]any{d.Headers["cloudEvents:specversion"], d.Headers["cloudEvents:id"], d.Headers["cloudEvents:type"], d.Headers["cloudEvents:source"]})

	r = run("elsewhere", map[string]any{"exchange": "amq.direct", "key": "nobody"})
	require.Equal(t, "unroutable", r.Error.Kind, "%+v", r.Error)
	require.Contains(t, r.Error.Message, `no queue takes what comes to the exchange "amq.direct" with the key "nobody"`)
	r = run("elsewhere", map[string]any{"exchange": "nowhere", "key": "orders"})
	require.Equal(t, "refused", r.Error.Kind, "%+v", r.Error)
	require.Contains(t, r.Error.Message, "there is no such exchange")
	r = run("elsewhere", map[string]any{"exchange": "", "key": "orders"}) // a channel that ended is not used again
	require.Equal(t, "completed", r.State, "%+v", r.Error)
	d = next()
	require.Equal(t, []any{"a text", "mine", "text/plain", true}, []any{string(d.Body), d.MessageId, d.ContentType, d.Headers["fast"]})
	require.EqualValues(t, 3, d.Headers["tries"])

	var mu sync.Mutex
	var got []string
	status := http.StatusAccepted
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		e, err := binding.ToEvent(q.Context(), cehttp.NewMessageFromHttpRequest(q))
		if err == nil {
			err = e.Validate()
		}
		if err != nil || q.Header.Get("Authorization") != "Bearer "+p.Token {
			t.Errorf("no CloudEvent with the key: %v", err)
			return
		}
		text, err := json.Marshal([]string{e.ID(), e.Type(), e.Source(), string(e.Data())})
		if err != nil {
			t.Error(err)
		}
		got = append(got, string(text))
		w.WriteHeader(status)
	}))
	defer sink.Close()
	r = run("message-event", map[string]any{"to": sink.URL, "order": map[string]any{"name": "Käse 5% \"alt\""}})
	require.Equal(t, "completed", r.State, "%+v", r.Error)
	var id string
	require.NoError(t, json.Unmarshal(r.Result["event"], &id))
	require.Contains(t, id, r.ID+":tell")
	want, err := json.Marshal([]string{id, "com.example.order.created", "/shop", `{"name": "Käse 5% \"alt\""}`})
	require.NoError(t, err)
	mu.Lock()
	require.Equal(t, []string{string(want)}, got)
	status = http.StatusForbidden
	mu.Unlock()
	r = run("message-event", map[string]any{"to": sink.URL})
	require.Equal(t, "refused", r.Error.Kind, "%+v", r.Error)
	r = run("message-event", map[string]any{"to": p.URL + "/bridge/v1/projects/default/events"})
	require.Equal(t, "completed", r.State, "%+v", r.Error)
}

// TestBrokerSink: without Brokers of its own the platform sends to the one that the cluster's SinkBinding gives it, and
// says what is missing where there is none.
func TestBrokerSink(t *testing.T) {
	var mu sync.Mutex
	var got []string
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, q.Header.Get("Ce-Type")+" "+q.Header.Get("Ce-Subject"))
		if len(got) == 1 {
			w.WriteHeader(http.StatusGone) // which is not for ever here
		}
	}))
	defer sink.Close()
	p := startWith(t, harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t), Env: append([]string{"K_SINK=" + sink.URL}, quick...)})
	deploy(t, p, workspace(t, adder(nil)), "add")
	code, out := cli(t, p, "events", "subscribe", "--sink", "broker", "--name", "all", "--type", "io.pelton.run.completed.v1")
	require.Zero(t, code, out)
	require.Contains(t, out, "subscription all is active: events go to the Broker of the project")
	run, err := p.StartRun(t.Context(), "add", map[string]any{"n": 1})
	require.NoError(t, err)
	require.NoError(t, harness.Until(deadline(t, time.Minute), "the event has come twice", func() (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 2, nil
	}))
	require.Equal(t, "io.pelton.run.completed.v1 "+run.ID, got[1])
	code, out = cli(t, p, "events", "broker", "show")
	require.Equal(t, 1, code)
	require.Contains(t, out, "this platform manages no Brokers: set bridge.broker to knative:?…")
	code, out = cli(t, p, "events", "subscribe", "http://x.example", "--sink", "broker")
	require.Equal(t, 2, code)
	require.Contains(t, out, "give the URL that events go to, or --sink broker without one")
}
