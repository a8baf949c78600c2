package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/aead"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cel"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/events"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/httpapi"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/jsonschema"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// people know the credentials pk_<user|key>_<name>_<role>.
type people struct{}

func (people) PublicKey(context.Context, string) (ed25519.PublicKey, error) {
	return nil, fault.New(fault.Unauthenticated, "no tokens here")
}

func (people) Introspect(_ context.Context, key string) (authn.Principal, error) {
	parts := strings.Split(key, "_")
	if len(parts) != 4 || authn.ParseRole(parts[3]) == authn.None {
		return authn.Principal{}, fault.New(fault.Unauthenticated, "no such key")
	}
	return authn.Principal{Subject: key, Name: parts[2], Key: parts[1] == "key", Roles: map[string]authn.Role{"p": authn.ParseRole(parts[3])}}, nil
}

const operator = "pk_user_bob_operator"

// bench is the engine on a real database behind the interface; every answer is held to the
// document.
type bench struct {
	*testing.T
	app    *app.Service
	url    string
	client *http.Client
	broken chan struct{} // executions of the step "bad" fail until it is closed
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, broken: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	store := postgres.New(pgtest.New(t, "runner", postgres.Migrations, "migrations"), log, nil)
	files := dirfiles.Store{Dir: t.TempDir()}
	cipher, err := aead.Open(filepath.Join(t.TempDir(), "secrets.key"))
	require.NoError(t, err)
	exec := apptest.NewExecutor(func(_ context.Context, x app.Execution) apptest.Result {
		select {
		case <-b.broken:
		default:
			if x.Step == "bad" {
				return apptest.Result{Err: &domain.StepError{Kind: "user_error", Message: "out of order"}}
			}
		}
		return apptest.Result{Outputs: []domain.Values{x.Inputs}}
	})
	b.app = app.New(app.Config{CancelGrace: time.Second}, app.Deps{Store: store, Journal: func(fence int64) app.Journal { return store.NewJournal(fence, nil) },
		Compiler: cel.New(), Deployer: &apptest.Deployer{}, Executor: exec, Files: files, Cipher: cipher, Announce: events.Announcer{}, Schemas: jsonschema.Schemas{},
		Now: time.Now, NewID: id.New, Jitter: func() float64 { return 0.5 }, Log: log})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.app.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	<-b.app.Ready()
	api := httpapi.New(httpapi.Config{UseCases: b.app, Files: files, Verify: authn.NewVerifier(people{}, time.Now), Now: time.Now, PublicURL: func() string { return b.url }})
	server := httptest.NewServer(api.Handler())
	t.Cleanup(server.Close)
	b.url = server.URL
	document, err := os.ReadFile(filepath.Join("..", "..", "..", "openapi.yaml"))
	require.NoError(t, err)
	doc, err := contract.Load(document)
	require.NoError(t, err)
	b.client = &http.Client{Transport: &contract.Transport{Base: http.DefaultTransport, Find: func(string) (*contract.Contract, error) { return doc, nil },
		Report: func(err error) { t.Errorf("differs from the document: %v", err) }}}
	return b
}

func (b *bench) deploy(name string, change func(*domain.Definition), steps ...domain.StepSpec) {
	b.Helper()
	d := apptest.Workflow(name, steps...)
	item := []domain.Item{{Name: "x", Type: "json", Optional: true}}
	d.Builds[0].Inputs, d.Builds[0].Outputs = item, item
	if change != nil {
		change(&d)
	}
	dep := id.New()
	require.NoError(b, b.app.Deploy(b.Context(), app.DeployWorkflow{ID: dep, Project: "p", At: time.Now(), Definition: d}))
	got, err := b.app.Deployment(b.Context(), "p", dep)
	require.NoError(b, err)
	require.Equal(b, app.DeploymentLive, got.State, got.Reason)
}

type step struct {
	Step, State, Kind, Reason, Child, Undoes string
	Caught                                   bool
	Outputs                                  json.RawMessage
	Wait                                     *struct {
		Kind, Text string
		Form       []struct{ Name, Type string }
		Approvers  []string
		HeldBy     []string `json:"held_by"`
		Position   int
	}
}

// answer is what the tests read of any answer.
type answer struct {
	status   int
	location string
	ID       string
	State    string
	Result   map[string]json.RawMessage
	Steps    []step
	Parent   *struct{ Run, Workflow, Step string }
	Handler  *struct{ Run, Problem string }
	Items    []struct {
		ID, Run, Workflow, Step, Kind, Text, State string
	}
	NextCursor string `json:"next_cursor"`
	Code       string
	Detail     string
	Errors     []struct{ Field, Message, Remedy string }
}

func (b *bench) as(who, method, path, body string) answer {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, b.url+"/runner/v1/projects/p"+path, strings.NewReader(body))
	require.NoError(b, err)
	r.Header.Set("Authorization", "Bearer "+who)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.client.Do(r)
	require.NoError(b, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	a := answer{status: resp.StatusCode, location: resp.Header.Get("Location")}
	require.NoError(b, json.Unmarshal(data, &a), "%s", data)
	return a
}

func (b *bench) call(method, path, body string) answer {
	b.Helper()
	return b.as(operator, method, path, body)
}

// begin starts a run and waits until it is in a state.
func (b *bench) begin(workflow, state string) string {
	b.Helper()
	a := b.call("POST", "/runs", fmt.Sprintf(`{"workflow":%q}`, workflow))
	require.Equal(b, 201, a.status, a.Detail)
	b.reach(a.ID, state)
	return a.ID
}

// reach follows a run's events until it is in a state.
func (b *bench) reach(run, state string) answer {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", b.url+"/runner/v1/projects/p/runs/"+run+"/events", nil)
	require.NoError(b, err)
	r.Header.Set("Authorization", "Bearer "+operator)
	resp, err := b.client.Do(r)
	require.NoError(b, err)
	defer resp.Body.Close()
	require.Equal(b, 200, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var e struct {
			Type string
			Run  *struct{ State string }
		}
		require.NoError(b, json.Unmarshal(data, &e))
		// An end counts once it is durable, which the last event tells.
		if e.Run != nil && e.Run.State == state && (e.Type == "end" || !domain.RunState(state).Ended()) {
			return b.call("GET", "/runs/"+run, "")
		}
	}
	b.Fatalf("run %s did not become %s: %+v", run, state, b.call("GET", "/runs/"+run, ""))
	return answer{}
}

// feed gives the types of the events of the project that come from now on.
func (b *bench) feed() func() string {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", b.url+"/runner/v1/projects/p/events?logs=false", nil)
	require.NoError(b, err)
	r.Header.Set("Authorization", "Bearer "+operator)
	resp, err := b.client.Do(r)
	require.NoError(b, err)
	b.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		for lines.Scan() {
			var e struct{ Type, Step, Text string }
			if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
				require.NoError(b, json.Unmarshal(data, &e))
				return strings.TrimSpace(e.Type + " " + e.Step + " " + e.Text)
			}
		}
		return "end"
	}
}

func waits(id string, w domain.WaitSpec) domain.StepSpec {
	return domain.StepSpec{ID: id, Kind: "wait", Wait: &w}
}

func needs(s domain.StepSpec, id string) domain.StepSpec { s.Needs = []string{id}; return s }

func TestSignalIsTaken(t *testing.T) {
	b := newBench(t)
	b.deploy("w", func(d *domain.Definition) { d.Result = map[string]string{"paid": "${steps.paid.payload}"} },
		waits("paid", domain.WaitSpec{Signal: "payment", Schema: json.RawMessage(`{"type":"integer"}`)}))
	run, other := b.begin("w", "waiting"), b.begin("w", "waiting")

	list := b.call("GET", "/waits?kind=signal&kind=approval&limit=1", "")
	require.Len(t, list.Items, 1)
	require.Equal(t, run, list.Items[0].Run)
	require.Equal(t, "payment", list.Items[0].Text)
	list = b.call("GET", "/waits?kind=signal&limit=1&cursor="+list.NextCursor, "")
	require.Equal(t, other, list.Items[0].Run)
	require.Empty(t, list.NextCursor)
	require.Empty(t, b.call("GET", "/waits?kind=lost", "").Items)
	require.Len(t, b.call("GET", "/waits?run="+run, "").Items, 1)
	require.Len(t, b.call("GET", "/runs?state=waiting", "").Items, 2)

	a := b.call("POST", "/runs/"+run+"/signals/payment", `{"payload":41,"command_id":"once"}`)
	require.Equal(t, 202, a.status, a.Detail)
	require.Equal(t, "41", string(b.reach(run, "completed").Result["paid"]))
	a = b.call("POST", "/runs/"+other+"/signals/payment", `{"payload":42,"command_id":"once"}`)
	require.Equal(t, 202, a.status, "the name of an order counts in its run alone")
	require.Equal(t, "42", string(b.reach(other, "completed").Result["paid"]))
	require.Equal(t, "run_ended", b.call("POST", "/runs/"+run+"/signals/payment", `{"payload":1}`).Code)
}

func TestDecision(t *testing.T) {
	b := newBench(t)
	ask := &domain.ApprovalSpec{Title: json.RawMessage(`"Ship?"`), Form: []domain.Item{{Name: "price", Type: "integer", Title: "Price"}}, Approvers: []string{"ada", "role:developer"}}
	b.deploy("w", func(d *domain.Definition) {
		d.Result = map[string]string{"by": "${steps.ok.by}", "price": "${steps.ok.values.price}", "comment": "${steps.ok.comment}"}
	}, waits("ok", domain.WaitSpec{Approval: ask}))
	b.deploy("free", nil, waits("ok", domain.WaitSpec{Approval: &domain.ApprovalSpec{Title: json.RawMessage(`"Go on?"`)}}))

	run := b.begin("w", "waiting")
	w := b.call("GET", "/runs/"+run, "").Steps[0].Wait
	require.Equal(t, "approval Ship?", w.Kind+" "+w.Text)
	require.Equal(t, "price", w.Form[0].Name)
	require.Equal(t, []string{"ada", "role:developer"}, w.Approvers)

	decide := func(who, body string) answer { return b.as(who, "POST", "/runs/"+run+"/decisions", body) }
	yes := `{"step":"ok","approved":true,"comment":"fine","values":{"price":7}}`
	require.Equal(t, 403, decide(operator, yes).status, "the step names others")
	require.Equal(t, 403, decide("pk_key_ada_operator", yes).status, "a key is not the user of its name")
	bad := decide("pk_user_ada_viewer", `{"step":"ok","approved":true,"values":{"price":"x","cost":1}}`)
	require.Equal(t, 400, bad.status)
	require.Len(t, bad.Errors, 2)
	require.Equal(t, 202, decide("pk_user_ada_viewer", yes).status, "an approver by name needs no right to operate runs")
	got := b.reach(run, "completed").Result
	require.Equal(t, `"ada" 7 "fine"`, fmt.Sprintf("%s %s %s", got["by"], got["price"], got["comment"]))

	run = b.begin("w", "waiting")
	require.Equal(t, 202, decide("pk_key_ci_admin", `{"step":"ok","approved":false,"comment":"too dear"}`).status)
	require.Contains(t, b.reach(run, "failed").Steps[0].State, "failed")

	next := b.feed()
	run = b.begin("free", "waiting")
	require.Equal(t, 403, decide("pk_user_eve_viewer", `{"step":"ok","approved":true}`).status)
	require.Equal(t, 202, decide(operator, `{"step":"ok","approved":true,"item_path":[]}`).status)
	b.reach(run, "completed")
	require.Equal(t, []string{"run_started", "waits_changed", "decision_wanted ok Go on?", "waits_changed", "run_finished"}, []string{next(), next(), next(), next(), next()})
}

func TestPauseAndRetry(t *testing.T) {
	b := newBench(t)
	a := apptest.Step("a", "x", `1`)
	a.Undo = &domain.UndoSpec{Uses: "a", Build: "sha256:test", With: map[string]json.RawMessage{"x": json.RawMessage(`"${steps.a.x}"`)}}
	caught := apptest.Step("bad", "x", `1`)
	caught.Catch = []domain.CatchSpec{{Outputs: json.RawMessage(`{"x":0}`)}}
	b.deploy("child", nil, apptest.Step("c", "x", `1`))
	b.deploy("notify", nil, apptest.Step("n", "x", `1`))
	b.deploy("w", func(d *domain.Definition) { d.OnFailure = "notify" }, waits("go", domain.WaitSpec{Signal: "go"}), needs(a, "go"),
		needs(domain.StepSpec{ID: "sub", Kind: "workflow", Workflow: "child"}, "a"), needs(apptest.Step("bad", "x", `"${steps.a.x}"`), "sub"))
	b.deploy("mild", nil, caught)

	run := b.begin("w", "waiting")
	require.Equal(t, 202, b.call("POST", "/runs/"+run+"/pause", `{"reason":"look first"}`).status)
	require.Equal(t, "paused", b.call("GET", "/runs/"+run, "").State)
	require.Eventually(t, func() bool { // the list tells what is written
		items := b.call("GET", "/runs?state=paused", "").Items
		return len(items) == 1 && items[0].ID == run
	}, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, 202, b.call("POST", "/runs/"+run+"/signals/go", "").status)
	require.Equal(t, "run_not_ended", b.call("POST", "/runs/"+run+"/retry", "").Code)
	require.Equal(t, 202, b.call("POST", "/runs/"+run+"/resume", "").status)
	failed := b.reach(run, "failed")
	at := func(r answer, name string) step {
		i := slices.IndexFunc(r.Steps, func(s step) bool { return s.Step == name })
		require.GreaterOrEqual(t, i, 0, name)
		return r.Steps[i]
	}
	require.Equal(t, "a", at(failed, "a.undo").Undoes)
	child := b.reach(at(failed, "sub").Child, "completed")
	require.Equal(t, run+" w sub", child.Parent.Run+" "+child.Parent.Workflow+" "+child.Parent.Step)
	handler := b.reach(failed.Handler.Run, "completed")
	require.Equal(t, run, handler.Parent.Run)

	close(b.broken)
	again := b.call("POST", "/runs/"+run+"/retry", `{"newest":true,"idempotency_key":"k"}`)
	require.Equal(t, 201, again.status, again.Detail)
	require.Equal(t, "/runner/v1/projects/p/runs/"+again.ID, again.location)
	require.Equal(t, 200, b.call("POST", "/runs/"+run+"/retry", `{"newest":true,"idempotency_key":"k"}`).status)
	done := b.reach(again.ID, "completed")
	require.Equal(t, "kept", at(done, "go").Reason)
	require.Equal(t, "run_completed", b.call("POST", "/runs/"+again.ID+"/retry", "").Code)
	b.reach(b.call("POST", "/runs/"+again.ID+"/retry", `{"from":"bad"}`).ID, "completed")
}

func TestCaughtIsTold(t *testing.T) {
	b := newBench(t)
	caught := apptest.Step("bad", "x", `1`)
	caught.Catch = []domain.CatchSpec{{}}
	b.deploy("mild", nil, caught)
	s := b.call("GET", "/runs/"+b.begin("mild", "completed"), "").Steps[0]
	require.Equal(t, "failed true action", fmt.Sprint(s.State, " ", s.Caught, " ", s.Kind))
}

// TestBadOrders: what is wrong is told by field and remedy, and nothing of it happens.
func TestBadOrders(t *testing.T) {
	b := newBench(t)
	b.deploy("w", nil, waits("paid", domain.WaitSpec{Signal: "payment", Schema: json.RawMessage(`{"type":"integer"}`)}),
		waits("ok", domain.WaitSpec{Approval: &domain.ApprovalSpec{Title: json.RawMessage(`"Ship?"`)}}))
	run := b.begin("w", "waiting")
	long := strings.Repeat("x", 201)
	for _, c := range []struct {
		name, who, path, body string
		status                int
		want                  string // field, or part of the detail
	}{
		{"signal of no step", operator, "/signals/paiment", `{}`, 400, "name"},
		{"payload against the schema", operator, "/signals/payment", `{"payload":"x"}`, 400, "payload"},
		{"payload missing", operator, "/signals/payment", ``, 400, "payload"},
		{"payload too large", operator, "/signals/payment", `{"payload":"` + strings.Repeat("x", 65<<10) + `"}`, 400, "payload"},
		{"body too large", operator, "/signals/payment", `{"payload":"` + strings.Repeat("x", 300<<10) + `"}`, 413, "larger"},
		{"unknown field", operator, "/signals/payment", `{"paylod":1}`, 400, "paylod"},
		{"no JSON", operator, "/signals/payment", `{`, 400, ""},
		{"long command", operator, "/signals/payment", `{"payload":1,"command_id":"` + long + `"}`, 400, "command_id"},
		{"signal by a viewer", "pk_user_eve_viewer", "/signals/payment", `{"payload":1}`, 403, "operator"},
		{"signal by nobody", "pk_x", "/signals/payment", `{"payload":1}`, 401, "key"},
		{"decision without fields", operator, "/decisions", `{}`, 400, "approved"},
		{"decision without a body", operator, "/decisions", ``, 400, ""},
		{"no such step", operator, "/decisions", `{"step":"okay","approved":true}`, 400, "step"},
		{"a step that asks nobody", operator, "/decisions", `{"step":"paid","approved":true}`, 409, "no decision"},
		{"no such item", operator, "/decisions", `{"step":"ok","approved":true,"item_path":[0]}`, 409, "no decision"},
		{"a negative item", operator, "/decisions", `{"step":"ok","approved":true,"item_path":[-1]}`, 400, "item_path"},
		{"values without a form", operator, "/decisions", `{"step":"ok","approved":true,"values":{"a":1}}`, 400, "values"},
		{"values with a rejection", operator, "/decisions", `{"step":"ok","approved":false,"values":{"a":1}}`, 400, "values"},
		{"approved is text", operator, "/decisions", `{"step":"ok","approved":"yes"}`, 400, "approved"},
		{"long comment", operator, "/decisions", `{"step":"ok","approved":true,"comment":"` + strings.Repeat("x", 5000) + `"}`, 400, "comment"},
		{"pause by a viewer", "pk_user_eve_viewer", "/pause", ``, 403, "operator"},
		{"pause with a number", operator, "/pause", `{"reason":1}`, 400, "reason"},
		{"resume with a reason", operator, "/resume", `{"reason":"x"}`, 400, "reason"},
		{"retry of a live run", operator, "/retry", ``, 409, "not ended"},
		{"retry with text", operator, "/retry", `{"newest":"yes"}`, 400, "newest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.as(c.who, "POST", "/runs/"+run+c.path, c.body)
			require.Equal(t, c.status, a.status, a.Detail)
			told := a.Detail
			for _, e := range a.Errors {
				told += " " + e.Field
			}
			require.Contains(t, told, c.want)
		})
	}
	require.Equal(t, "waiting", b.call("GET", "/runs/"+run, "").State)
	for _, path := range []string{"/signals/payment", "/decisions", "/pause", "/resume", "/retry"} {
		body := `{}`
		if path == "/decisions" {
			body = `{"step":"ok","approved":true}`
		}
		require.Equal(t, 404, b.call("POST", "/runs/0190b5c0-7c3e-7000-8000-000000000000"+path, body).status, path)
		require.Equal(t, 404, b.call("POST", "/runs/x"+path, body).status, path)
	}
	for query, field := range map[string]string{"kind=approvals": "kind", "run=x": "run", "limit=0": "limit", "cursor=!": "cursor", "cursor=YQ": "cursor", "knd=signal": "knd"} {
		a := b.call("GET", "/waits?"+query, "")
		require.Equal(t, 400, a.status, query)
		require.Equal(t, field, a.Errors[0].Field, query)
	}
	first := b.call("GET", "/waits?limit=1", "")
	second := b.call("GET", "/waits?limit=1&cursor="+first.NextCursor, "")
	require.Equal(t, "ok paid", first.Items[0].Step+" "+second.Items[0].Step, "they began to wait together")
	require.Empty(t, second.NextCursor)
	require.Equal(t, "state", b.call("GET", "/runs?state=wating", "").Errors[0].Field)
}
