package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// quick are settings of the bridge that give up after a moment.
var quick = []string{"PELTON_BRIDGE_ATTEMPTS=3", "PELTON_BRIDGE_BACKOFF=20ms", "PELTON_BRIDGE_BACKOFF_CAP=100ms", "PELTON_BRIDGE_TIMEOUT=10s"}

// cloudEvent is what tests read of an event.
type cloudEvent struct {
	ID, Source, Type, Subject, Workflow, DataSchema string
	Data                                            struct {
		Run, State, Step, Workflow string
		Result                     map[string]any
		Error                      struct{ Kind, Message string }
	}
}

// receiver takes webhooks, whose signatures it checks with the specification's own library.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	refuse func(e cloudEvent) int // a status to answer with, 0 = it is taken
	taken  []cloudEvent
	tries  map[string]int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{tries: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		body, err := io.ReadAll(q.Body)
		var e cloudEvent
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		var wh *standardwebhooks.Webhook
		if err == nil {
			wh, err = standardwebhooks.NewWebhook(r.secret)
		}
		if err == nil {
			err = wh.Verify(body, q.Header)
		}
		if err != nil || q.Header.Get("webhook-id") != e.ID {
			t.Errorf("a webhook that is not as the specification says: %v", err)
		}
		r.tries[e.ID]++
		if r.refuse != nil {
			if status := r.refuse(e); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		r.taken = append(r.taken, e)
	}))
	t.Cleanup(r.Close)
	return r
}

// of are the types of what was taken about one run, in the order in which it came.
func (r *receiver) of(run string) (types []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.taken {
		if e.Subject == run {
			types = append(types, strings.TrimSuffix(strings.TrimPrefix(e.Type, "io.pelton."), ".v1"))
		}
	}
	return types
}

// cli runs the command line against a platform.
func cli(t *testing.T, p *harness.Platform, args ...string) (code int, out string) {
	t.Helper()
	bin, err := harness.Bin()
	require.NoError(t, err)
	cmd := exec.CommandContext(deadline(t, time.Minute), filepath.Join(bin, "pelton"), args...)
	cmd.Env = append(os.Environ(), "PELTON_SERVER="+p.URL, "PELTON_TOKEN="+p.Token, "PELTON_CONFIG="+filepath.Join(t.TempDir(), "config.json"))
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// adder is a workspace with a workflow that adds one, and fails for 13.
func adder(more map[string]string) map[string]string {
	return merge(python("actions/add", "[{name: n, type: integer}]", "[{name: n, type: integer}]", "def handle(inputs):\n    if inputs['n'] == 13:\n        raise ValueError('no thirteens')\n    return {'n': inputs['n'] + 1}\n"),
		map[string]string{"workflows/add.yaml": workflowYAML("add", "  inputs: [{name: n, type: integer}]\n  steps: [{id: a, uses: ./actions/add, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.a.n}\"}\n")}, more)
}

// TestWebhooks: what happens to runs goes out as signed CloudEvents, in the order of each run, however often
// the receiver or the platform fails; what is not taken becomes a dead letter, which can be sent again.
func TestWebhooks(t *testing.T) {
	p := startWith(t, harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t), Env: quick})
	deploy(t, p, workspace(t, adder(nil)), "add")
	r := newReceiver(t)
	r.mu.Lock()
	code, out := cli(t, p, "events", "subscribe", r.URL+"/hook", "--name", "runs", "--type", "io.pelton.run.*", "--type", "io.pelton.step.failed.v1", "--filter", "workflow=add", "-o", "json")
	require.Zero(t, code, out)
	var sub struct{ Secret, ID string }
	require.NoError(t, json.Unmarshal([]byte(out), &sub))
	r.secret = sub.Secret
	// Every third event is refused at first.
	n := 0
	r.refuse = func(e cloudEvent) int {
		if n++; n%3 == 0 && r.tries[e.ID] == 1 {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	r.mu.Unlock()

	var runs []string
	for i := range 12 {
		run, err := p.StartRun(t.Context(), "add", map[string]any{"n": 10 + i})
		require.NoError(t, err)
		runs = append(runs, run.ID)
		if i == 6 { // what is on its way survives
			_, err := p.WaitRun(deadline(t, time.Minute), run.ID)
			require.NoError(t, err)
			p.Kill()
			require.NoError(t, p.Restart(deadline(t, time.Minute)))
		}
	}
	for i, run := range runs {
		want := []string{"run.started", "run.completed"}
		if i == 3 {
			want = []string{"run.started", "step.failed", "run.failed"}
		}
		require.NoError(t, harness.Until(deadline(t, time.Minute), "the events of run "+fmt.Sprint(i), func() (bool, error) {
			return len(once(r.of(run))) >= len(want), nil
		}))
		require.Equal(t, want, once(r.of(run)))
	}
	r.mu.Lock()
	for _, e := range r.taken {
		require.Equal(t, "/projects/default/workflows/add", e.Source)
		require.True(t, strings.HasSuffix(e.DataSchema, "/bridge/v1/schemas/"+e.Type+".json"), e.DataSchema)
		if e.Type == "io.pelton.run.completed.v1" {
			require.Contains(t, e.Data.Result, "n")
		}
	}
	// Nothing is taken any more.
	r.refuse = func(cloudEvent) int { return http.StatusInternalServerError }
	r.mu.Unlock()
	run, err := p.StartRun(t.Context(), "add", map[string]any{"n": 1})
	require.NoError(t, err)
	var dead struct {
		Items []struct {
			ID, Type, Reason string
			Tries            int
		}
	}
	require.NoError(t, harness.Until(deadline(t, time.Minute), "both events are dead letters", func() (bool, error) {
		return len(dead.Items) == 2, p.JSON(t.Context(), http.MethodGet, "/bridge/v1/projects/default/dead-letters", nil, &dead)
	}))
	require.Equal(t, []any{"io.pelton.run.started.v1", "answered 500", 3}, []any{dead.Items[0].Type, dead.Items[0].Reason, dead.Items[0].Tries})
	code, out = cli(t, p, "events", "list")
	require.Zero(t, code)
	require.Regexp(t, `runs +active +webhook +\S+ +io\.pelton\.run\.\*,io\.pelton\.step\.failed\.v1 +\d+ +0 +2`, out)
	code, out = cli(t, p, "events", "dead", "show", dead.Items[1].ID)
	require.Zero(t, code)
	require.Contains(t, out, `"subject": "`+run.ID+`"`)
	r.mu.Lock()
	r.refuse = nil
	r.mu.Unlock()
	code, out = cli(t, p, "events", "dead", "replay", "--all", "--subscription", "runs")
	require.Zero(t, code, out)
	require.Equal(t, "2 on its way again\n", out)
	require.NoError(t, harness.Until(deadline(t, time.Minute), "they are taken", func() (bool, error) { return len(r.of(run.ID)) == 2, nil }))
	require.Equal(t, []string{"run.started", "run.completed"}, r.of(run.ID))

	// A receiver that says that it is gone is left alone.
	r.mu.Lock()
	r.refuse = func(cloudEvent) int { return http.StatusGone }
	r.mu.Unlock()
	_, err = p.StartRun(t.Context(), "add", map[string]any{"n": 1})
	require.NoError(t, err)
	require.NoError(t, harness.Until(deadline(t, time.Minute), "it is disabled", func() (bool, error) {
		code, out = cli(t, p, "events", "show", "runs")
		return strings.Contains(out, "disabled answered 410"), nil
	}))
	code, out = cli(t, p, "events", "unsubscribe", "runs")
	require.Zero(t, code, out)
	code, out = cli(t, p, "events", "show", "runs")
	require.Equal(t, 5, code, out)
}

// once leaves out what came again.
func once(list []string) (out []string) {
	seen := map[string]bool{}
	for _, x := range list {
		if !seen[x] {
			out = append(out, x)
		}
		seen[x] = true
	}
	return out
}

// TestBadSubscriptions: what is wrong is told, all at once.
func TestBadSubscriptions(t *testing.T) {
	p := start(t)
	const path = "/bridge/v1/projects/default/subscriptions"
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"no sink":     {"POST", path, `{}`, 400, `sink: is missing`},
		"kind":        {"POST", path, `{"sink":{"kind":"mail","url":"https://x.example"}}`, 400, `sink.kind: is "mail" (give webhook, cloudevents, rabbitmq, broker)`},
		"no broker":   {"POST", path, `{"sink":{"kind":"broker"}}`, 400, `sink.kind: is broker, and this platform has none`},
		"url":         {"POST", path, `{"sink":{"kind":"webhook","url":"x"}}`, 400, `sink.url: is "x" (give a URL such as`},
		"type":        {"POST", path, `{"sink":{"kind":"webhook","url":"https://x.example"},"types":["io.pelton.run.complete.v1"]}`, 400, `types[0]: no platform event has the type io.pelton.run.complete.v1 (did you mean io.pelton.run.completed.v1?)`},
		"filter":      {"POST", path, `{"sink":{"kind":"webhook","url":"https://x.example"},"filter":[{"cel":"event."}]}`, 400, `filter[0].cel`},
		"secret":      {"POST", path, `{"sink":{"kind":"webhook","url":"https://x.example"},"secret":"x"}`, 400, `secret: is no secret for webhooks`},
		"name":        {"POST", path, `{"name":"A","sink":{"kind":"webhook","url":"https://x.example"}}`, 400, `name: is "A"`},
		"unknown":     {"GET", path + "/nope", "", 404, `project default has no subscription "nope"`},
		"dead letter": {"GET", "/bridge/v1/projects/default/dead-letters/nope", "", 404, `there is no dead letter "nope"`},
		"schema":      {"GET", "/bridge/v1/schemas/nope.json", "", 404, "there is no schema nope.json"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := p.Do(deadline(t, 30*time.Second), c.method, c.path, "application/json", strings.NewReader(c.body))
			require.NoError(t, err)
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", data)
			problem := harness.Problem{}
			require.NoError(t, json.Unmarshal(data, &problem))
			require.Contains(t, problem.Error(), c.says)
		})
	}
	var types struct {
		Items []struct{ Type, Schema string }
	}
	require.NoError(t, p.JSON(t.Context(), http.MethodGet, "/bridge/v1/event-types", nil, &types))
	for _, x := range types.Items {
		var schema struct{ Title string }
		require.NoError(t, p.JSON(t.Context(), http.MethodGet, strings.TrimPrefix(x.Schema, p.URL), nil, &schema))
		require.Equal(t, x.Type, schema.Title)
	}
}

// runsOf gives the runs of a workflow that a kind of trigger started, once there are so many.
func runsOf(t *testing.T, p *harness.Platform, workflow, kind string, n int) (ids []string) {
	t.Helper()
	require.NoError(t, harness.Until(deadline(t, time.Minute), fmt.Sprintf("%s has %d runs", workflow, n), func() (bool, error) {
		var list struct{ Items []struct{ ID string } }
		err := p.JSON(t.Context(), http.MethodGet, "/runner/v1/projects/default/runs?limit=200&workflow="+workflow+"&trigger="+kind, nil, &list)
		ids = nil
		for _, x := range list.Items {
			ids = append(ids, x.ID)
		}
		return err == nil && len(ids) >= n, err
	}))
	require.Len(t, ids, n)
	return ids
}

// TestEventTriggers: the end of a run starts others, as success, failure or any; what happens in the project
// starts runs; each once, over a kill.
func TestEventTriggers(t *testing.T) {
	p := startWith(t, harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t), Env: quick})
	ends := func(on, input string) string {
		return "  inputs: [{name: what, type: string}, {name: n, type: integer, default: 0}]\n  triggers:\n    - {id: end, uses: workflow-end, with: {workflow: add, on: " + on + "}, inputs: {what: \"${event.state}\"" + input + "}}\n  steps: [{id: a, uses: ./actions/add, with: {n: \"${inputs.n}\"}}]\n  result: {what: \"${inputs.what}\", n: \"${steps.a.n}\"}\n"
	}
	deploy(t, p, workspace(t, adder(map[string]string{
		"workflows/good.yaml": workflowYAML("good", ends("success", ", n: \"${event.result.n}\"")),
		"workflows/bad.yaml":  workflowYAML("bad", ends("failure", "")),
		"workflows/each.yaml": workflowYAML("each", ends("any", "")),
		"workflows/watch.yaml": workflowYAML("watch", "  inputs: [{name: of, type: string}]\n  triggers:\n    - {id: failed, uses: platform-event, with: {types: [io.pelton.run.failed.v1], filter: [{exact: {workflow: add}}]}, inputs: {of: \"${event.data.run}\"}}\n"+
			"  steps: [{id: a, uses: ./actions/add, with: {n: 1}}]\n  result: {of: \"${inputs.of}\"}\n"),
	})), "add", "good", "bad", "each", "watch")
	good, err := p.StartRun(t.Context(), "add", map[string]any{"n": 1})
	require.NoError(t, err)
	r, err := p.WaitRun(deadline(t, time.Minute), runsOf(t, p, "good", "workflow-end", 1)[0])
	require.NoError(t, err)
	require.Equal(t, `3`, string(r.Result["n"]))
	require.Equal(t, `"completed"`, string(r.Result["what"]))
	var cause struct {
		Parent  struct{ Run, Workflow string }
		Trigger struct{ Kind, ID string }
	}
	require.NoError(t, p.JSON(t.Context(), http.MethodGet, "/runner/v1/projects/default/runs/"+r.ID, nil, &cause))
	require.Equal(t, []string{good.ID, "add", "workflow-end", "end"}, []string{cause.Parent.Run, cause.Parent.Workflow, cause.Trigger.Kind, cause.Trigger.ID})
	runsOf(t, p, "each", "workflow-end", 1)

	bad, err := p.StartRun(t.Context(), "add", map[string]any{"n": 13})
	require.NoError(t, err)
	p.Kill()
	require.NoError(t, p.Restart(deadline(t, time.Minute)))
	runsOf(t, p, "bad", "workflow-end", 1)
	runsOf(t, p, "each", "workflow-end", 2)
	w, err := p.WaitRun(deadline(t, time.Minute), runsOf(t, p, "watch", "platform-event", 1)[0])
	require.NoError(t, err)
	require.Equal(t, `"`+bad.ID+`"`, string(w.Result["of"]))
	runsOf(t, p, "good", "workflow-end", 1)
}

// TestCloudEventsIn: events of the SDK's client start runs, once for each source and id, by types and filters; a
// workflow replies; an event that does not fit is refused, and starts nothing.
func TestCloudEventsIn(t *testing.T) {
	p := startWith(t, harness.Options{Home: newHome(t), Files: filestore(t), Split: backends(t), Env: quick})
	trigger := func(with, input string) string {
		return "  inputs: [{name: n, type: integer}]\n  triggers:\n    - {id: order, uses: cloudevent, with: {" + with + "}, inputs: {n: \"${" + input + "}\"}}\n  steps: [{id: a, uses: ./actions/add, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.a.n}\"}\n"
	}
	deploy(t, p, workspace(t, adder(map[string]string{
		"workflows/large.yaml":   workflowYAML("large", trigger(`types: ["com.example.order.*"], filter: [{prefix: {source: /shop}}, {cel: "event.data.n > 100"}]`, "event.data.n")),
		"workflows/replies.yaml": workflowYAML("replies", trigger(`types: [com.example.question], reply: {type: com.example.answer}`, "event.data.n")),
		"workflows/picky.yaml":   workflowYAML("picky", trigger(`types: [com.example.picky]`, "event.data.text")),
	})), "add", "large", "replies", "picky")
	url := p.URL + "/bridge/v1/projects/default/events"
	send := func(contentType, body string, header ...string) (int, http.Header, string) {
		req, err := http.NewRequestWithContext(deadline(t, time.Minute), http.MethodPost, url, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+p.Token)
		req.Header.Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := p.HTTP.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header, string(data)
	}
	event := func(id, kind, source, data string) string {
		return `{"specversion":"1.0","id":"` + id + `","type":"` + kind + `","source":"` + source + `","datacontenttype":"application/json","data":` + data + `}`
	}
	const structured, batch = "application/cloudevents+json", "application/cloudevents-batch+json"
	code, _, body := send(structured, event("1", "com.example.order.created", "/shop/eu", `{"n":101}`))
	require.Equal(t, 202, code, body)
	require.Contains(t, body, `"workflow":"large","trigger":"order"`)
	for _, other := range []string{event("2", "com.example.order.created", "/shop/eu", `{"n":99}`), event("3", "com.example.order.created", "/other", `{"n":200}`), event("4", "com.example.else", "/shop", `{"n":200}`)} {
		code, _, body = send(structured, other)
		require.Equal(t, 202, code, body)
		require.JSONEq(t, `{"events":1,"runs":[]}`, body)
	}
	// The same again, in another mode, after a kill: it is known.
	p.Kill()
	require.NoError(t, p.Restart(deadline(t, time.Minute)))
	url = p.URL + "/bridge/v1/projects/default/events"
	code, _, body = send("application/json", `{"n":101}`, "ce-specversion", "1.0", "ce-id", "1", "ce-type", "com.example.order.created", "ce-source", "/shop/eu")
	require.Equal(t, 202, code, body)
	require.Contains(t, body, `"created":false`)
	code, _, body = send(batch, "["+event("5", "com.example.order.paid", "/shop", `{"n":102}`)+","+event("1", "com.example.order.created", "/shop/eu", `{"n":101}`)+"]")
	require.Equal(t, 202, code, body)
	for _, id := range runsOf(t, p, "large", "cloudevent", 2) {
		r, err := p.WaitRun(deadline(t, time.Minute), id)
		require.NoError(t, err)
		require.Equal(t, "completed", r.State)
	}
	for range 2 { // a reply that was lost is given again
		code, h, body := send(structured, event("7", "com.example.question", "/q", `{"n":41}`))
		require.Equal(t, 200, code, body)
		require.Equal(t, []string{"com.example.answer", "/projects/default/workflows/replies"}, []string{h.Get("Ce-Type"), h.Get("Ce-Source")})
		require.JSONEq(t, `{"n":42}`, body)
	}
	code, _, body = send(structured, event("8", "com.example.question", "/q", `{"n":13}`)) // its run fails: there is no reply
	require.Equal(t, 202, code, body)
	code, _, body = send(structured, event("9", "com.example.picky", "/q", `{"text":"x"}`))
	require.Equal(t, 422, code, body)
	require.Contains(t, body, "picky.order")
	runsOf(t, p, "picky", "cloudevent", 0)
	code, _, body = send("application/json", `{}`)
	require.Equal(t, 415, code, body)
}
