package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
)

// TestBadRequests: every wrong call gets a problem that names the field and the remedy.
func TestBadRequests(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(
		python("actions/echo", "[{name: n, type: integer}, {name: when, type: enum, enum: [now, later], default: now}]", "[{name: n, type: integer}]", "def handle(inputs):\n    return {'n': inputs['n']}\n"),
		python("actions/fail", "[]", "[]", "class Teapot(Exception):\n    code = 418\n\ndef handle(inputs):\n    raise Teapot('short and stout')\n"),
		map[string]string{
			"workflows/echo.yaml": workflowYAML("echo", "  inputs: [{name: n, type: integer}, {name: data, type: file, optional: true}]\n  triggers:\n    - {id: a, uses: http, with: {method: POST, path: \"/echo/{n}\"}}\n    - {id: b, uses: http, with: {method: POST, path: /echo, mode: async}}\n  steps: [{id: e, uses: ./actions/echo, with: {n: \"${inputs.n}\"}}]\n  result: {n: \"${steps.e.n}\"}\n"),
			"workflows/fail.yaml": workflowYAML("fail", "  triggers: [{id: a, uses: http, with: {method: GET, path: /fail, auth: none}}]\n  steps: [{id: e, uses: ./actions/fail}]\n"),
		})), "echo", "fail")
	const runs = "/runner/v1/projects/default/runs"
	for name, c := range map[string]struct {
		method, path, contentType, body string
		status                          int
		says                            string
	}{
		"not an integer":        {"POST", "/user-api/default/echo/seven", "", "", 400, `n: is "seven" (give a whole number)`},
		"unknown query":         {"POST", "/user-api/default/echo/7?x=1", "", "", 400, "x: is no input of the workflow (query) (its inputs are n, data)"},
		"file in the query":     {"POST", "/user-api/default/echo/7?data=x", "", "", 400, "data: is a file and cannot be given in the query (send it in the body: curl -F data=@FILE)"},
		"body of another type":  {"POST", "/user-api/default/echo/7", "text/csv", "a,b", 415, "the body's type is text/csv: send application/json or multipart/form-data"},
		"no JSON":               {"POST", "/user-api/default/echo/7", "application/json", "{", 400, "the body is not a JSON object"},
		"unknown field":         {"POST", "/user-api/default/echo", "application/json", `{"n":1,"m":2}`, 400, "m: is no input of the workflow (its inputs are n, data)"},
		"missing input":         {"POST", "/user-api/default/echo", "application/json", `{}`, 400, "n"},
		"wrong input":           {"POST", "/user-api/default/echo", "application/json", `{"n":"x"}`, 400, "n"},
		"no such trigger":       {"POST", "/user-api/default/nothing", "", "", 404, "no deployed workflow of project default listens to /user-api/default/nothing"},
		"wrong method":          {"PUT", "/user-api/default/echo", "", "", 405, "call it with POST"},
		"author's code":         {"GET", "/user-api/default/fail", "", "", 418, "short and stout"},
		"no workflow":           {"POST", runs, "application/json", `{}`, 400, "workflow: is missing (name a deployed workflow)"},
		"unknown workflow":      {"POST", runs, "application/json", `{"workflow":"nope"}`, 404, "nope"},
		"misspelt field":        {"POST", runs, "application/json", `{"workflw":"echo"}`, 400, "workflw: is not a field of this request (did you mean workflow?)"},
		"field of another type": {"POST", runs, "application/json", `{"workflow":7}`, 400, "workflow: is a number (give a string)"},
		"more after the JSON":   {"POST", runs, "application/json", `{"workflow":"echo"} x`, 400, "there is more after the JSON value (send one JSON object)"},
		"empty body":            {"POST", runs, "application/json", ``, 400, "the body is empty (send a JSON object)"},
		"media type":            {"POST", runs, "text/plain", `{}`, 415, "the body's type is text/plain: send Content-Type: application/json"},
		"limit":                 {"GET", runs + "?limit=0", "", "", 400, `limit: is "0" (give a number from 1 to 200)`},
		"cursor":                {"GET", runs + "?cursor=!", "", "", 400, "cursor: is not a cursor (pass next_cursor of the page before unchanged)"},
		"state":                 {"GET", runs + "?state=done", "", "", 400, "state: is done (give queued, running, waiting, paused, cancelling, undoing, completed, failed or cancelled)"},
		"query parameter":       {"GET", runs + "?workflw=x", "", "", 400, "workflw: is not a parameter of this list (did you mean workflow?)"},
		"no id":                 {"GET", runs + "/7", "", "", 404, `there is no run "7"`},
		"unknown run":           {"GET", runs + "/0190b5c0-7c3e-7000-8000-000000000000", "", "", 404, "run"},
		"unknown file":          {"GET", "/runner/v1/projects/default/files/sha256:00", "", "", 404, "there is no file"},
		"repository without":    {"POST", "/repository/v1/projects/default/repositories", "application/json", `{"name":"x"}`, 400, "url: is missing (give url (https://… or file:///…) or path (a folder of the server))"},
		"both":                  {"POST", "/repository/v1/projects/default/repositories", "application/json", `{"url":"https://x/y","path":"/x"}`, 400, "path: is given beside url (give one of them)"},
		"odd URL":               {"POST", "/repository/v1/projects/default/repositories", "application/json", `{"url":"ftp://x/y"}`, 400, "url: is ftp://x/y (give https://…, http://… or file:///…)"},
		"no such folder":        {"POST", "/repository/v1/projects/default/repositories", "application/json", `{"path":"/no/such/folder"}`, 400, "path: the folder /no/such/folder cannot be read: there is none"},
		"relative folder":       {"POST", "/repository/v1/projects/default/repositories", "application/json", `{"path":"x"}`, 400, "path: is not absolute (give the whole path, starting with /)"},
		"no Git repository":     {"POST", "/repository/v1/projects/default/repositories", "application/json", `{"url":"file:///tmp"}`, 400, "there is no Git repository at file:///tmp (check the URL)"},
		"key role":              {"POST", "/authorization/v1/projects/default/keys", "application/json", `{"name":"x","role":"king"}`, 400, `role: is "king" (give viewer, operator, developer or admin)`},
		"key name":              {"POST", "/authorization/v1/projects/default/keys", "application/json", `{"name":""}`, 400, "name: is empty (give 1 to 63 letters, digits, spaces, . _ and -)"},
		"key of the past":       {"POST", "/authorization/v1/projects/default/keys", "application/json", `{"name":"x","expires_at":"2001-01-01T00:00:00Z"}`, 400, "expires_at: lies in the past (give a later time, or leave it out)"},
		"login without":         {"POST", "/authorization/v1/login", "application/json", `{}`, 400, "username: is missing (the first user is admin)"},
		"unknown project":       {"GET", "/runner/v1/projects/default/secrets/x/y", "", "", 404, ""},
		"deploy unknown":        {"POST", "/studio/v1/projects/default/workflows/nope/deploy", "", "", 404, `there is no workflow "nope", or it has no revision yet`},
		"unknown revision":      {"POST", "/studio/v1/projects/default/workflows/echo/deploy", "application/json", `{"revision":99}`, 404, "workflow echo has no revision 99: its newest is 1"},
		"rollback to nothing":   {"POST", "/studio/v1/projects/default/workflows/echo/rollback", "", "", 409, "no other revision of echo was deployed before: give the number of one"},
		"unknown run input":     {"POST", runs, "application/json", `{"workflow":"echo","inputs":{"n":1,"dat":2}}`, 400, "inputs.dat: the workflow has no such input (its inputs are n, data)"},
		"negative revision":     {"POST", "/studio/v1/projects/default/workflows/echo/deploy", "application/json", `{"revision":-1}`, 400, "revision: is negative (give the number of a revision, or leave it out)"},
		"bad workflow":          {"PUT", "/studio/v1/projects/default/workflows/w", "application/yaml", "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: w}\nspec: {steps: [{id: a, uses: nope}]}", 400, `spec.steps[0].uses: there is no action "nope" in the library`},
		"undeploy what is not":  {"POST", "/studio/v1/projects/default/workflows/nope/undeploy", "", "", 409, `the workflow "nope" is not deployed`},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := p.Do(deadline(t, 30*time.Second), c.method, c.path, c.contentType, strings.NewReader(c.body))
			require.NoError(t, err)
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, resp.StatusCode, "%s", data)
			if c.says == "" {
				return
			}
			problem := harness.Problem{Detail: string(data)}
			require.NoError(t, json.Unmarshal(data, &problem), "%s", data)
			require.Contains(t, problem.Error(), c.says)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		})
	}
	t.Run("no credential", func(t *testing.T) {
		for _, path := range []string{runs, "/user-api/default/-/openapi.json", "/repository/v1/projects/default/builds", "/studio/v1/projects/default/workflows", "/authorization/v1/me"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+path, nil)
			require.NoError(t, err)
			resp, err := p.HTTP.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode, path)
		}
	})
	t.Run("another site's name", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/healthz", nil)
		require.NoError(t, err)
		req.Host = "evil.example"
		resp, err := p.HTTP.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
	})
	t.Run("asynchronous", func(t *testing.T) {
		resp, err := p.Do(t.Context(), http.MethodPost, "/user-api/default/echo", "application/json", strings.NewReader(`{"n":5}`))
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusAccepted, resp.StatusCode)
		link := strings.TrimPrefix(resp.Header.Get("Location"), p.URL)
		var out struct{ N int }
		require.NoError(t, harness.Until(deadline(t, 30*time.Second), "the result is there", func() (bool, error) {
			r, err := p.Do(t.Context(), http.MethodGet, link, "", nil)
			if err != nil {
				return false, err
			}
			defer r.Body.Close()
			return r.StatusCode == http.StatusOK, json.NewDecoder(r.Body).Decode(&out)
		}))
		require.Equal(t, 5, out.N)
	})
	t.Run("idempotency key", func(t *testing.T) {
		call := func(body string) (int, string) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/user-api/default/echo", strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+p.Token)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", "order-7")
			resp, err := p.HTTP.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			return resp.StatusCode, resp.Header.Get("Pelton-Run")
		}
		code, first := call(`{"n":1}`)
		require.Equal(t, http.StatusAccepted, code)
		_, second := call(`{"n":1}`)
		require.Equal(t, first, second)
		code, _ = call(`{"n":2}`)
		require.Equal(t, http.StatusConflict, code)
	})
}

// TestAuthorsFirstSteps: scaffolds of every language pass their own tests, without a server.
func TestAuthorsFirstSteps(t *testing.T) {
	unsplit(t, "it needs no platform")
	bin, err := harness.Bin()
	require.NoError(t, err)
	dir := workspace(t, nil)
	pelton := func(args ...string) string {
		cmd := exec.CommandContext(deadline(t, 3*time.Minute), filepath.Join(bin, "pelton"), args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(harness.Root(), "build", "test-cache"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	for _, lang := range []string{"python3", "nodejs", "go"} {
		pelton("action", "new", lang+"-one", "--lang", lang)
		require.Contains(t, pelton("action", "check", "actions/"+lang+"-one"), "no errors")
		require.Contains(t, pelton("action", "test", "actions/"+lang+"-one"), "2 passed, 0 failed")
	}
	require.Contains(t, pelton("action", "run", "actions/python3-one", "-i", "name=Ada"), "Ada")
}

// TestBuildFailures: an action that cannot be built says why, and the others go on. Where images are built, code is not
// read: it is loaded when it is deployed, and a deployment that cannot load it fails.
func TestBuildFailures(t *testing.T) {
	p := start(t)
	deploy(t, p, workspace(t, merge(
		python("actions/good", "[]", "[{name: x, type: integer}]", "def handle(inputs):\n    return {'x': 1}\n"),
		python("actions/syntax", "[]", "[]", "def handle(inputs):\n    return {\n"),
		python("actions/nodep", "[]", "[]", "def handle(inputs):\n    return {}\n"),
		map[string]string{"actions/nodep/requirements.txt": "no-such-package-of-pelton-tests==1.0\n",
			"workflows/syntax.yaml": workflowYAML("syntax", "  steps: [{id: s, uses: ./actions/syntax}]\n"),
			"workflows/good.yaml":   workflowYAML("good", "  steps: [{id: g, uses: ./actions/good}]\n  result: {x: \"${steps.g.x}\"}\n")})), "good")
	ctx := deadline(t, patience())
	want := map[string]string{"actions/syntax": "SyntaxError", "actions/nodep": "no-such-package-of-pelton-tests"}
	if onCluster() {
		delete(want, "actions/syntax")
		require.ErrorContains(t, p.WaitLive(ctx, "syntax"), "deployment of syntax failed: syntax@1.0: its code cannot be loaded: handler.py:2: SyntaxError")
	}
	require.NoError(t, harness.Until(ctx, "the builds have failed in words", func() (bool, error) {
		var list struct {
			Items []struct{ Path, State, Message, Kind string }
		}
		if err := p.JSON(ctx, http.MethodGet, "/repository/v1/projects/default/builds?state=failed", nil, &list); err != nil {
			return false, err
		}
		found := 0
		for _, b := range list.Items {
			if s, ok := want[b.Path]; ok && strings.Contains(b.Message, s) {
				found++
			}
		}
		return found == len(want), nil
	}))
	r, err := p.StartRun(ctx, "good", nil)
	require.NoError(t, err)
	r, err = p.WaitRun(ctx, r.ID)
	require.NoError(t, err)
	require.Equal(t, "completed", r.State)
}
