package userapi_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/kit/aead"
	"github.com/pelton-run/pelton/platform/kit/authn"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pgtest"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/app/apptest"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/cel"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/dirfiles"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/events"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/postgres"
	"github.com/pelton-run/pelton/platform/runner/internal/infra/userapi"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// people are the owners of keys: pk_<role>.
type people struct{}

func (people) PublicKey(context.Context, string) (ed25519.PublicKey, error) {
	return nil, fault.New(fault.Unauthenticated, "no tokens here")
}

func (people) Introspect(_ context.Context, key string) (authn.Principal, error) {
	role := authn.ParseRole(strings.TrimPrefix(key, "pk_"))
	if role == authn.None {
		return authn.Principal{}, fault.New(fault.Unauthenticated, "no such key")
	}
	return authn.Principal{Subject: key, Key: true, Roles: map[string]authn.Role{"p": role}}, nil
}

// bench is the engine on a real database with its triggers served.
type bench struct {
	t    *testing.T
	app  *app.Service
	api  *userapi.API
	url  string
	hold chan struct{} // executions of the step "slow" end once it is closed
	seen chan string   // runs whose step "slow" has begun
}

// carry is what the steps do: same gives its input back, fail fails, slow waits.
func (b *bench) carry(_ context.Context, x app.Execution) apptest.Result {
	switch x.Step {
	case "fail":
		return apptest.Result{Err: &domain.StepError{Kind: "user_error", Message: "short and stout", Code: "418"}}
	case "slow":
		b.seen <- x.Run
		<-b.hold
	}
	return apptest.Result{Outputs: []domain.Values{x.Inputs}}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, hold: make(chan struct{}), seen: make(chan string, 100)}
	b.start(apptest.NewExecutor(b.carry))
	return b
}

func (b *bench) start(exec app.Executor) {
	t := b.t
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	store := postgres.New(pgtest.New(t, "runner", postgres.Migrations, "migrations"), log, nil)
	files := dirfiles.Store{Dir: t.TempDir()}
	cipher, err := aead.Open(filepath.Join(t.TempDir(), "secrets.key"))
	require.NoError(t, err)
	b.app = app.New(app.Config{CancelGrace: time.Second}, app.Deps{Store: store, Journal: func(fence int64) app.Journal { return store.NewJournal(fence, nil) },
		Compiler: cel.New(), Deployer: &apptest.Deployer{}, Executor: exec, Files: files, Cipher: cipher, Announce: events.Announcer{},
		Now: time.Now, NewID: id.New, Jitter: func() float64 { return 0.5 }, Log: log})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.app.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	<-b.app.Ready()
	b.api = userapi.New(userapi.Config{UseCases: b.app, Files: files, Verify: authn.NewVerifier(people{}, time.Now), Now: time.Now, PublicURL: func() string { return b.url }})
	server := httptest.NewServer(b.api.Handler())
	t.Cleanup(server.Close)
	b.url = server.URL
}

// deploy makes a workflow live with one step and one http trigger.
func (b *bench) deploy(name, step, item, with string, mapped map[string]string) {
	b.t.Helper()
	spec := domain.TriggerSpec{ID: "t", Uses: "http", With: json.RawMessage(with)}
	if mapped != nil {
		spec.Inputs = map[string]json.RawMessage{}
		for k, v := range mapped {
			spec.Inputs[k], _ = json.Marshal(v)
		}
	}
	x := []domain.Item{{Name: "x", Type: item}}
	dep := id.New()
	require.NoError(b.t, b.app.Deploy(b.t.Context(), app.DeployWorkflow{ID: dep, Project: "p", At: time.Now(), Definition: domain.Definition{
		Workflow: name, RevisionID: id.New(), Revision: 1, Inputs: x, Triggers: []domain.TriggerSpec{spec},
		Steps:  []domain.StepSpec{{ID: step, Kind: "action", Uses: "same@1.0", Build: "sha256:same", With: map[string]json.RawMessage{"x": json.RawMessage(`"${inputs.x}"`)}}},
		Result: map[string]string{"x": "${steps." + step + ".x}"},
		Builds: []domain.Build{{Digest: "sha256:same", Action: "same@1.0", Kind: "Processor", Runtime: "python3", Inputs: x, Outputs: x}}}}))
	got, err := b.app.Deployment(b.t.Context(), "p", dep)
	require.NoError(b.t, err)
	require.Equal(b.t, app.DeploymentLive, got.State, got.Reason)
}

type reply struct {
	code   int
	header http.Header
	body   string
}

func (b *bench) call(method, path string, header map[string]string, body io.Reader) reply {
	b.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = b.url + "/user-api/p" + path
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, path, body)
	require.NoError(b.t, err)
	r.Header.Set("Authorization", "Bearer pk_operator")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return reply{resp.StatusCode, resp.Header, string(data)}
}

// problem: the answer is a problem of that status whose text holds what it should.
func (r reply) problem(t *testing.T, code int, says string) {
	t.Helper()
	require.Equal(t, code, r.code, r.body)
	require.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
	require.Contains(t, r.body, says)
}

var asJSON = map[string]string{"Content-Type": "application/json"}

// form is a multipart body: name, file name ("" = a field), content.
func form(t *testing.T, parts ...[3]string) (map[string]string, io.Reader) {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range parts {
		h := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q`, p[0])}}
		if p[1] != "" {
			h.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename=%q`, p[0], p[1]))
		}
		part, err := w.CreatePart(h)
		require.NoError(t, err)
		_, err = io.WriteString(part, p[2])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return map[string]string{"Content-Type": w.FormDataContentType()}, &body
}

// TestFileAnswers: a file as the body streams with its type, the status and headers that the
// trigger gives, and in ranges.
func TestFileAnswers(t *testing.T) {
	b := newBench(t)
	b.deploy("plain", "same", "file", `{"path": "/plain", "body": "x", "response": {"body": "${steps.same.x}"}}`, nil)
	b.deploy("made", "same", "file", `{"path": "/made", "body": "x", "response": {"status": 201, "headers": {"Content-Type": "text/x-special", "X-Own": "yes", "Set-Cookie": "a=b", "Pelton-Run": "forged"}, "body": "${steps.same.x}"}}`, nil)
	upload := func(path string, header map[string]string) reply {
		h := map[string]string{"Content-Type": "text/csv", "Content-Disposition": `attachment; filename="a.csv"`}
		for k, v := range header {
			h[k] = v
		}
		return b.call("POST", path, h, strings.NewReader("0123456789"))
	}
	whole := upload("/plain", nil)
	require.Equal(t, 200, whole.code, whole.body)
	require.Equal(t, "0123456789", whole.body)
	require.Equal(t, "text/csv", whole.header.Get("Content-Type"))
	require.Equal(t, "bytes", whole.header.Get("Accept-Ranges"))
	require.Contains(t, whole.header.Get("Content-Security-Policy"), "sandbox")
	require.NotEmpty(t, whole.header.Get("Pelton-Run"))

	made := upload("/made", nil)
	require.Equal(t, 201, made.code)
	require.Equal(t, "0123456789", made.body)
	require.Equal(t, "10", made.header.Get("Content-Length"))
	require.Equal(t, "text/x-special", made.header.Get("Content-Type"))
	require.Equal(t, "yes", made.header.Get("X-Own"))
	require.Empty(t, made.header.Get("Set-Cookie"))
	require.True(t, id.Valid(made.header.Get("Pelton-Run")))
	require.Contains(t, made.header.Get("Content-Security-Policy"), "sandbox")

	link := b.url + "/user-api/p/-/runs/" + whole.header.Get("Pelton-Run") + "/result"
	for name, c := range map[string]struct {
		method, ask string
		header      map[string]string
		code        int
		body        string
		says        string // Content-Range
	}{
		"first":           {"GET", "bytes=0-3", nil, 206, "0123", "bytes 0-3/10"},
		"last":            {"GET", "bytes=-2", nil, 206, "89", "bytes 8-9/10"},
		"open":            {"GET", "bytes=7-", nil, 206, "789", "bytes 7-9/10"},
		"beyond":          {"GET", "bytes=20-", nil, 416, "invalid range: failed to overlap\n", "bytes */10"},
		"whole":           {"GET", "", nil, 200, "0123456789", ""},
		"head":            {"HEAD", "", nil, 200, "", ""},
		"not modified":    {"GET", "", map[string]string{"If-None-Match": whole.header.Get("ETag")}, 304, "", ""},
		"changed":         {"GET", "bytes=0-3", map[string]string{"If-Range": `"other"`}, 200, "0123456789", ""},
		"same as it was":  {"GET", "bytes=0-3", map[string]string{"If-Range": whole.header.Get("ETag")}, 206, "0123", "bytes 0-3/10"},
		"of another unit": {"GET", "lines=1-2", nil, 416, "invalid range\n", ""},
	} {
		h := map[string]string{}
		if c.ask != "" {
			h["Range"] = c.ask
		}
		for k, v := range c.header {
			h[k] = v
		}
		got := b.call(c.method, link, h, nil)
		require.Equal(t, c.code, got.code, "%s: %s", name, got.body)
		require.Equal(t, c.body, got.body, name)
		require.Equal(t, c.says, got.header.Get("Content-Range"), name)
		require.Equal(t, whole.header.Get("Pelton-Run"), got.header.Get("Pelton-Run"), name)
	}

	// The links of a JSON answer.
	b.deploy("links", "same", "file", `{"path": "/links", "body": "x"}`, nil)
	var out struct{ X struct{ URL string } }
	answer := upload("/links", nil)
	require.NoError(t, json.Unmarshal([]byte(answer.body), &out), answer.body)
	got := b.call("GET", out.X.URL, map[string]string{"Range": "bytes=2-4"}, nil)
	require.Equal(t, 206, got.code, got.body)
	require.Equal(t, "234", got.body)
	require.Equal(t, answer.header.Get("Pelton-Run"), got.header.Get("Pelton-Run"))
	b.call("GET", out.X.URL, map[string]string{"Authorization": "Bearer pk_viewer"}, nil).problem(t, 403, "operator")
}

// TestResponses: what `response:` says is what the caller gets.
func TestResponses(t *testing.T) {
	b := newBench(t)
	for i, c := range []struct {
		response string
		code     int
		body     string
		header   [2]string
	}{
		{`{"status": 202, "body": {"said": "${steps.same.x}"}}`, 202, "{\"said\":\"hello\"}", [2]string{"Content-Type", "application/json"}},
		{`{"status": 404, "body": "no ${steps.same.x} here"}`, 404, "no hello here", [2]string{"Content-Type", "text/plain; charset=utf-8"}},
		{`{"status": 302, "headers": {"Location": "/elsewhere"}, "body": ""}`, 302, "", [2]string{"Location", "/elsewhere"}},
		{`{"status": 204}`, 204, "", [2]string{}},
		{`{"headers": {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}, "body": "x"}`, 200, "x", [2]string{"Access-Control-Allow-Credentials", ""}},
	} {
		path := fmt.Sprintf("/r%d", i)
		b.deploy(fmt.Sprintf("r%d", i), "same", "string", `{"path": "`+path+`", "response": `+c.response+`}`, nil)
		got := b.call("POST", path, asJSON, strings.NewReader(`{"x": "hello"}`))
		require.Equal(t, c.code, got.code, "%s: %s", c.response, got.body)
		require.Equal(t, c.body, strings.TrimSpace(got.body), c.response)
		require.True(t, id.Valid(got.header.Get("Pelton-Run")), c.response)
		if c.header[0] != "" {
			require.Equal(t, c.header[1], got.header.Get(c.header[0]), c.response)
		}
	}
	b.deploy("wrong", "same", "string", `{"path": "/wrong", "response": {"status": 99, "body": "x"}}`, nil)
	got := b.call("POST", "/wrong", asJSON, strings.NewReader(`{"x": "hello"}`))
	got.problem(t, 422, "response.status is 99")
	require.True(t, id.Valid(got.header.Get("Pelton-Run")))

	b.deploy("failing", "fail", "string", `{"path": "/failing"}`, nil)
	got = b.call("POST", "/failing", asJSON, strings.NewReader(`{"x": "hello"}`))
	got.problem(t, 418, "short and stout")
	require.Contains(t, got.body, `"run":"`+got.header.Get("Pelton-Run")+`"`)
}

// TestForms: a field is an input, or something that the trigger's mapping takes from event.body.
func TestForms(t *testing.T) {
	b := newBench(t)
	b.deploy("named", "same", "file", `{"path": "/named", "response": {"body": "${steps.same.x}"}}`, nil)
	b.deploy("mapped", "same", "file", `{"path": "/mapped", "response": {"body": "${steps.same.x}"}}`, map[string]string{"x": "${event.body.picture}"})
	b.deploy("field", "same", "string", `{"path": "/field"}`, map[string]string{"x": "${event.body.a + '-' + event.body.b}"})

	h, body := form(t, [3]string{"x", "a.txt", "hello"})
	got := b.call("POST", "/named", h, body)
	require.Equal(t, 200, got.code, got.body)
	require.Equal(t, "hello", got.body)
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))

	h, body = form(t, [3]string{"x", "a.txt", "hello"}, [3]string{"y", "", "1"})
	b.call("POST", "/named", h, body).problem(t, 400, "is no input of the workflow")

	h, body = form(t, [3]string{"picture", "a.svg", "<svg/>"}, [3]string{"note", "", "not taken"})
	got = b.call("POST", "/mapped", h, body)
	require.Equal(t, 200, got.code, got.body)
	require.Equal(t, "<svg/>", got.body)
	require.Equal(t, "image/svg+xml", got.header.Get("Content-Type"))
	require.Contains(t, got.header.Get("Content-Disposition"), "a.svg")

	h, body = form(t, [3]string{"a", "", "one"}, [3]string{"b", "", "two"})
	got = b.call("POST", "/field", h, body)
	require.Equal(t, 200, got.code, got.body)
	require.Contains(t, got.body, `"one-two"`)
	got = b.call("POST", "/field", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, strings.NewReader("a=one&b=two"))
	require.Equal(t, 200, got.code, got.body)
	require.Contains(t, got.body, `"one-two"`)

	b.call("POST", "/named", map[string]string{"Content-Type": "multipart/form-data"}, strings.NewReader("x")).problem(t, 415, "boundary")
	b.call("POST", "/named", map[string]string{"Content-Type": "multipart/form-data; boundary=b"}, strings.NewReader("--b\r\nnonsense")).problem(t, 400, "the form cannot be read")
}

// unsized hides how long a body is, as a stream does.
type unsized struct{ io.Reader }

// TestTooLarge: beyond the trigger's limit it is 413, told or not beforehand, whatever the body.
func TestTooLarge(t *testing.T) {
	b := newBench(t)
	b.deploy("file", "same", "file", `{"path": "/file", "body": "x", "maxBytes": 1000}`, nil)
	b.deploy("form", "same", "file", `{"path": "/form", "maxBytes": 1000}`, nil)
	b.deploy("text", "same", "string", `{"path": "/text", "maxBytes": 1000}`, nil)
	large := strings.Repeat("x", 2000)
	for name, c := range map[string]struct {
		path string
		make func() (map[string]string, io.Reader)
	}{
		"file": {"/file", func() (map[string]string, io.Reader) {
			return map[string]string{"Content-Type": "text/plain"}, strings.NewReader(large)
		}},
		"form": {"/form", func() (map[string]string, io.Reader) { return form(t, [3]string{"x", "a", large}) }},
		"many fields": {"/form", func() (map[string]string, io.Reader) {
			return form(t, [3]string{"x", "a", "x"}, [3]string{"x", "b", large})
		}},
		"JSON": {"/text", func() (map[string]string, io.Reader) { return asJSON, strings.NewReader(`{"x": "` + large + `"}`) }},
		"url-encoded": {"/text", func() (map[string]string, io.Reader) {
			return map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, strings.NewReader("x=" + large)
		}},
	} {
		h, body := c.make()
		b.call("POST", c.path, h, body).problem(t, 413, "larger than 1000 bytes")
		h, body = c.make()
		b.call("POST", c.path, h, unsized{body}).problem(t, 413, "larger than 1000 bytes")
		_ = name
	}
	got := b.call("POST", "/file", nil, strings.NewReader(large[:1000]))
	require.Equal(t, 200, got.code, got.body)
}

// TestHangUp: a caller who goes does not take the run along.
func TestHangUp(t *testing.T) {
	b := newBench(t)
	b.deploy("slow", "slow", "string", `{"path": "/slow"}`, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/user-api/p/slow", strings.NewReader(`{"x": "hello"}`))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer pk_operator")
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	run := <-b.seen
	hangUp()
	require.ErrorIs(t, <-gone, context.Canceled)
	close(b.hold)
	res, err := b.app.Await(t.Context(), "p", run)
	require.NoError(t, err)
	require.Equal(t, domain.RunCompleted, res.State)
	got := b.call("GET", "/-/runs/"+run+"/result", nil, nil)
	require.Equal(t, 200, got.code)
	require.JSONEq(t, `{"x": "hello"}`, got.body)
}

// TestLate: past the deadline, and where it is asked for, the answer is 202 with a link that
// answers 202 until the run has ended.
func TestLate(t *testing.T) {
	b := newBench(t)
	b.deploy("slow", "slow", "string", `{"path": "/slow", "timeout": "10ms"}`, nil)
	b.deploy("later", "slow", "string", `{"path": "/later", "mode": "async"}`, nil)
	b.deploy("asked", "slow", "string", `{"path": "/asked"}`, nil)
	var links []string
	for path, header := range map[string]map[string]string{"/slow": {}, "/later": {}, "/asked": {"Prefer": "respond-async"}} {
		header["Content-Type"] = "application/json"
		got := b.call("POST", path, header, strings.NewReader(`{"x": "hello"}`))
		require.Equal(t, 202, got.code, got.body)
		require.NotEmpty(t, got.header.Get("Retry-After"))
		require.True(t, id.Valid(got.header.Get("Pelton-Run")))
		link := got.header.Get("Location")
		require.Contains(t, link, got.header.Get("Pelton-Run"))
		got = b.call("GET", link, nil, nil)
		require.Equal(t, 202, got.code)
		require.NotEmpty(t, got.header.Get("Pelton-Run"))
		links = append(links, link)
	}
	close(b.hold)
	for _, link := range links {
		_, run, _ := strings.Cut(link, "/runs/")
		_, err := b.app.Await(t.Context(), "p", strings.TrimSuffix(run, "/result"))
		require.NoError(t, err)
		got := b.call("GET", link, nil, nil)
		require.Equal(t, 200, got.code, got.body)
		b.call("GET", link, map[string]string{"Authorization": ""}, nil).problem(t, 401, "")
	}
}

// TestUnits: what the format of workflows takes as a duration or a size, a trigger takes too.
func TestUnits(t *testing.T) {
	b := newBench(t)
	b.deploy("day", "same", "string", `{"path": "/day", "timeout": "1d", "maxBytes": "1Ki"}`, nil)
	b.deploy("number", "same", "string", `{"path": "/number", "timeout": 60, "maxBytes": "1024"}`, nil)
	for _, path := range []string{"/day", "/number"} {
		header := map[string]string{"Content-Type": "application/json"}
		got := b.call("POST", path, header, strings.NewReader(`{"x": "hello"}`))
		require.Equal(t, 200, got.code, got.body)
		got = b.call("POST", path, header, strings.NewReader(`{"x": "`+strings.Repeat("a", 1024)+`"}`))
		require.Equal(t, 413, got.code, got.body)
		require.Contains(t, got.body, "1024 bytes")
	}
}

// TestMethods: the trigger's own method alone starts a run.
func TestMethods(t *testing.T) {
	b := newBench(t)
	b.deploy("get", "same", "string", `{"path": "/get/{x}", "method": "GET"}`, nil)
	b.deploy("any", "same", "string", `{"path": "/any/{x}", "method": "ANY"}`, nil)
	for _, c := range []struct {
		method, path string
		code         int
		allow        string
	}{
		{"GET", "/get/a", 200, ""},
		{"HEAD", "/get/a", 405, "GET, OPTIONS"},
		{"POST", "/get/a", 405, "GET, OPTIONS"},
		{"OPTIONS", "/get/a", 204, "GET, OPTIONS"},
		{"PATCH", "/any/a", 200, ""},
		{"DELETE", "/any/a", 200, ""},
		{"HEAD", "/any/a", 405, "DELETE, GET, PATCH, POST, PUT, OPTIONS"},
		{"OPTIONS", "/any/a", 204, "DELETE, GET, PATCH, POST, PUT, OPTIONS"},
		{"OPTIONS", "/none", 404, ""},
	} {
		got := b.call(c.method, c.path, map[string]string{"Origin": "https://elsewhere.example.org", "Access-Control-Request-Method": "POST"}, nil)
		require.Equal(t, c.code, got.code, "%s %s: %s", c.method, c.path, got.body)
		require.Equal(t, c.allow, got.header.Get("Allow"), "%s %s", c.method, c.path)
		for k := range got.header {
			require.False(t, strings.HasPrefix(k, "Access-Control-"), "%s %s: %s", c.method, c.path, k)
		}
		require.Equal(t, c.code == 200, got.header.Get("Pelton-Run") != "", "%s %s", c.method, c.path)
	}
}

// TestDrain: a platform that stops refuses new runs and says when to come again.
func TestDrain(t *testing.T) {
	b := newBench(t)
	b.deploy("same", "same", "string", `{"path": "/same"}`, nil)
	b.api.Drain()
	got := b.call("POST", "/same", asJSON, strings.NewReader(`{"x": "hello"}`))
	got.problem(t, 503, "stopping")
	require.NotEmpty(t, got.header.Get("Retry-After"))
}
