package cli_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// server answers fixed routes ("GET /path") and keeps what it was sent.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	sent []string
}

func serve(t *testing.T, routes map[string]http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			s.mu.Lock()
			s.sent = append(s.sent, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+string(body)))
			s.mu.Unlock()
			h(w, r)
		})
	}
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.sent...)
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

const runs = "/runner/v1/projects/default/runs"

const ended = `{"id":"r1","workflow":"w","revision":3,"state":"completed","created_at":"2026-01-01T00:00:00.000Z","finished_at":"2026-01-01T00:00:01.500Z",
"result":{"n":2},"steps":[{"step":"all","state":"completed","attempts":[]},{"step":"a","state":"completed","item_path":[1],"attempts":[{"number":1,"state":"lost"},{"number":2,"state":"completed",
"started_at":"2026-01-01T00:00:00.000Z","finished_at":"2026-01-01T00:00:00.100Z","phases":[
{"kind":"scheduled","at":"2026-01-01T00:00:00.001Z"},{"kind":"booted","at":"2026-01-01T00:00:00.003Z"},{"kind":"loaded","at":"2026-01-01T00:00:00.006Z"},{"kind":"started","at":"2026-01-01T00:00:00.010Z"}]}]}]}`

func TestExitCodes(t *testing.T) {
	problem := func(status int, title string) http.HandlerFunc {
		return text(status, fmt.Sprintf(`{"status":%d,"title":%q,"detail":"the detail"}`, status, title))
	}
	for _, c := range []struct {
		answer http.HandlerFunc
		code   int
		err    string
	}{
		{problem(401, "x"), 4, "pelton: the detail\n  sign in with `pelton login`, or set PELTON_TOKEN to an API key\n"},
		{problem(403, "x"), 4, "pelton: the detail\n  ask an admin of the project for the role, or use another project with --project NAME\n"},
		{problem(404, "x"), 5, "pelton: the detail\n"},
		{problem(409, "x"), 1, "pelton: the detail\n"},
		{problem(500, "x"), 1, "pelton: the detail\n  the server's log says more\n"},
		{text(502, ""), 1, "pelton: the server answered 502 Bad Gateway\n  the server's log says more\n"},
		{text(400, `{"detail":"the input is not valid","errors":[{"field":"inputs.n","message":"is no integer","remedy":"give 1"},{"message":"m","line":2,"column":3}]}`), 1,
			"pelton: the input is not valid\n  inputs.n: is no integer (give 1)\n  line 2, column 3: m\n"},
		{text(200, "<html>"), 1, "pelton: read the answer of GET /runner/v1/projects/default/runs/r1: invalid character '<' looking for beginning of value\n"},
	} {
		s := serve(t, map[string]http.HandlerFunc{"GET " + runs + "/r1": c.answer})
		r := pelton(t, nil, "", "run", "show", "r1", "--server", s.URL)
		require.Equal(t, c.err, r.err)
		require.Equal(t, c.code, r.code)
	}
}

// TestStartAndWait: a file is uploaded, the run followed by its events, the table printed.
func TestStartAndWait(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("a.csv", []byte("1,2"), 0o644))
	var mu sync.Mutex
	reads := 0
	s := serve(t, map[string]http.HandlerFunc{
		"POST /runner/v1/projects/default/files": text(201, `{"$file":"sha256:aa","size":3,"name":"a.csv"}`),
		"POST " + runs:                           text(201, `{"id":"r1","state":"pending"}`),
		"GET " + runs + "/r1": func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if reads++; reads == 1 {
				fmt.Fprint(w, `{"id":"r1","state":"running"}`)
				return
			}
			fmt.Fprint(w, ended)
		},
		"GET " + runs + "/r1/events": text(200, "event: log\ndata: {\"kind\":\"log\"}\n\nevent: step\ndata: {\"kind\":\"step\"}\n\n"),
	})
	r := pelton(t, map[string]string{"PELTON_TOKEN": "tok"}, "", "run", "start", "w", "--wait", "--server", s.URL,
		"-i", "data=@a.csv", "-i", "n=2", "-i", "name=Ada", "-i", `zip="0123"`, "--inputs", `{"n":1,"x":[1]}`, "--idempotency-key", "k")
	require.Zero(t, r.code, r.err)
	require.Equal(t, `run r1 of w revision 3: completed in 1500 ms
STEP  STATE      ATTEMPTS  QUEUE  BOOT  LOAD  RUN    ALL     NOTE
all   completed  0
a[1]  completed  2         1 ms   2 ms  3 ms  90 ms  100 ms
result {"n":2}
`, r.out)
	sent := s.requests()
	require.Contains(t, sent[0], "POST /runner/v1/projects/default/files?name=a.csv&type=")
	require.Contains(t, sent[0], "Bearer tok 1,2")
	require.Equal(t, `POST `+runs+` Bearer tok {"idempotency_key":"k","inputs":{"data":{"$file":"sha256:aa","size":3,"name":"a.csv"},"n":2,"name":"Ada","x":[1],"zip":"0123"},"workflow":"w"}`, sent[1])
}

func TestWaitOutcomes(t *testing.T) {
	failed := `{"id":"r1","workflow":"w","state":"failed","error":{"kind":"user_error","message":"no","step":"a","stack":"File x"}}`
	s := serve(t, map[string]http.HandlerFunc{
		"GET " + runs + "/r1": text(200, failed), "GET " + runs + "/r1/events": text(200, ""),
		"GET " + runs + "/r2": text(200, `{"id":"r2","state":"running"}`),
		"GET " + runs + "/r2/events": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	})
	r := pelton(t, nil, "", "run", "watch", "r1", "--server", s.URL)
	require.Equal(t, result{1, "run r1 of w revision 0: failed\nno step has begun\nerror (user_error) in step a: no\nFile x\n", "pelton: run r1 failed\n"}, r)
	r = pelton(t, nil, "", "run", "watch", "r2", "--server", s.URL, "--timeout", "50ms")
	require.Equal(t, result{8, "", "pelton: run r2 has not ended within 50ms: it still runs; `pelton run watch r2` goes on waiting\n"}, r)
}

func TestLogs(t *testing.T) {
	pages := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("after") {
		case "0":
			fmt.Fprint(w, `{"items":[{"cursor":1,"step":"a","line":"one"},{"cursor":2,"step":"b","item_path":[0,3],"line":"two"}]}`)
		case "2":
			fmt.Fprint(w, `{"items":[{"cursor":7,"step":"a","line":"three"}]}`)
		default:
			fmt.Fprint(w, `{"items":[]}`)
		}
	}
	s := serve(t, map[string]http.HandlerFunc{
		"GET " + runs + "/r1": text(200, ended), "GET " + runs + "/r1/logs": pages,
		"GET " + runs + "/r1/events": text(200, "data: {\"log\":{\"cursor\":7}}\n\n"),
	})
	for _, follow := range []string{"--follow=false", "--follow"} {
		r := pelton(t, nil, "", "run", "logs", "r1", "--server", s.URL, follow)
		require.Equal(t, result{0, "[a] one\n[b[0][3]] two\n[a] three\n", ""}, r)
	}
}

func TestFormats(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"GET " + runs: text(200, `{"items":[{"id":"r1","workflow":"1.10","state":"running","revision":12345678901234567}],"next_cursor":"c"}`),
	})
	for format, want := range map[string]string{
		"name": "r1\n",
		"json": "{\n  \"items\": [\n    {\n      \"id\": \"r1\",\n      \"workflow\": \"1.10\",\n      \"state\": \"running\",\n      \"revision\": 12345678901234567\n    }\n  ],\n  \"next_cursor\": \"c\"\n}\n",
		"yaml": "items:\n  - id: r1\n    workflow: \"1.10\"\n    state: running\n    revision: 12345678901234567\nnext_cursor: c\n",
	} {
		require.Equal(t, result{0, want, ""}, pelton(t, nil, "", "run", "list", "--server", s.URL, "-o", format), format)
	}
}

// TestLogin: the login is kept for its owner alone, used afterwards, and never sent elsewhere.
func TestLogin(t *testing.T) {
	routes := map[string]http.HandlerFunc{
		"POST /authorization/v1/login": text(200, `{"token":"jwt"}`),
		"GET /authorization/v1/me":     text(200, `{"name":"ada"}`),
		"GET " + runs:                  text(200, `{"items":[]}`),
	}
	s, other := serve(t, routes), serve(t, routes)
	file := filepath.Join(t.TempDir(), "pelton", "config.json")
	env := map[string]string{"PELTON_CONFIG": file}
	r := pelton(t, env, "secret word\n", "login", "--server", s.URL+"/", "--username", "ada")
	require.Equal(t, result{0, "signed in at " + s.URL + "\n", ""}, r)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Zero(t, pelton(t, env, "", "run", "list").code)
	require.Zero(t, pelton(t, env, "", "run", "list", "--server", other.URL).code)
	require.Equal(t, []string{
		`POST /authorization/v1/login  {"password":"secret word","username":"ada"}`,
		"GET /authorization/v1/me Bearer jwt",
		"GET " + runs + "?limit=50 Bearer jwt",
	}, s.requests())
	require.Equal(t, []string{"GET " + runs + "?limit=50"}, other.requests())
}

func TestScanTellsEveryError(t *testing.T) {
	const p = "/repository/v1/projects/default"
	s := serve(t, map[string]http.HandlerFunc{
		"GET " + p + "/repositories":           text(200, `{"items":[{"id":"i1","name":"mine"}]}`),
		"POST " + p + "/repositories/i1/scans": text(202, `{"id":"s1","state":"pending"}`),
		"GET " + p + "/scans/s1": text(200, `{"id":"s1","state":"completed","commit":"0123456789abcdef","finished_at":"2026-01-01T00:00:00.000Z","actions":[
{"path":"actions/a","id":"a","version":"1.0","state":"ok"},{"path":"actions/b","id":"b","state":"error","errors":[{"file":"actions/b/action.yaml","line":3,"column":5,"message":"m","remedy":"r"},{"message":"n"}]}]}`),
	})
	r := pelton(t, nil, "", "repo", "scan", "mine", "--server", s.URL)
	require.Equal(t, result{1, "scan s1 of mine at 0123456789ab: completed\n" +
		"KIND    NAME  VERSION  STATE  PATH\naction  a     1.0      ok     actions/a\naction  b              error  actions/b\n" +
		"actions/b/action.yaml:3:5: m (r)\nactions/b: n\n", "pelton: the scan of mine found 2 errors\n"}, r)
	r = pelton(t, nil, "", "repo", "scan", "other", "--server", s.URL)
	require.Equal(t, result{5, "", "pelton: there is no repository other in project default: `pelton repo list` names them\n"}, r)
}

// TestSecretsAndKeys: a secret never appears among arguments or in what is printed; a new key alone is on standard output.
func TestSecretsAndKeys(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"PUT /runner/v1/projects/p/secrets/token":    text(204, ""),
		"POST /authorization/v1/projects/p/keys":     text(201, `{"id":"k1","key":"pk_a_b"}`),
		"PUT /runner/v1/projects/p/variables/limits": text(204, ""),
	})
	r := pelton(t, nil, "hush\n", "secret", "set", "token", "--project", "p", "--server", s.URL)
	require.Equal(t, result{0, "secret token is set; workflows reach it as ${secrets.token}\n", ""}, r)
	r = pelton(t, nil, "", "key", "create", "ci", "--project", "p", "--server", s.URL)
	require.Equal(t, result{0, "pk_a_b\n", "key ci (operator, id k1), shown this once:\n"}, r)
	require.Zero(t, pelton(t, nil, "", "variable", "set", "limits", `{"a":1}`, "--project", "p", "--server", s.URL).code)
	require.Equal(t, []string{
		`PUT /runner/v1/projects/p/secrets/token  {"value":"hush"}`,
		`POST /authorization/v1/projects/p/keys  {"name":"ci","role":"operator"}`,
		`PUT /runner/v1/projects/p/variables/limits  {"value":{"a":1}}`,
	}, s.requests())
}

// TestBuild: the repository is scanned anew, and the build of the action followed with its log.
func TestBuild(t *testing.T) {
	const p = "/repository/v1/projects/default"
	routes := map[string]http.HandlerFunc{
		"GET " + p + "/repositories": text(200, `{"items":[{"id":"i1","name":"mine"}]}`),
		"POST " + p + "/repositories/i1/scans": text(201, `{"id":"s1","state":"completed","finished_at":"2026-01-01T00:00:00.000Z","actions":[
{"path":"actions/a","id":"a","build":"sha256:aa","state":"ok"},{"path":"actions/b","id":"b","state":"error","errors":[{"file":"actions/b/action.yaml","message":"m"}]},
{"path":"actions/c","id":"c","build":"sha256:cc","state":"ok","errors":[{"file":"actions/c/action.yaml","line":1,"message":"w","warning":true}]}]}`),
		"GET " + p + "/builds":        text(200, `{"items":[{"id":"b1","build":"sha256:aa","state":"queued"}]}`),
		"GET " + p + "/builds/b1":     text(200, `{"id":"b1","build":"sha256:aa","state":"failed","message":"no such package"}`),
		"GET " + p + "/builds/b1/log": text(200, "fetching\nno such package\n"),
	}
	s := serve(t, routes)
	r := pelton(t, nil, "", "action", "build", "mine", "actions/a/", "--server", s.URL)
	require.Equal(t, result{1, "build b1 of actions/a: failed\n", "fetching\nno such package\npelton: the build of actions/a failed: no such package\n"}, r)
	r = pelton(t, nil, "", "action", "build", "mine", "actions/b", "--server", s.URL)
	require.Equal(t, result{1, "", "actions/b/action.yaml: m\npelton: actions/b cannot be built\n"}, r)
	r = pelton(t, nil, "", "action", "build", "mine", "actions/c", "--server", s.URL)
	require.Equal(t, result{0, "actions/c is built already as sha256:cc\n", "actions/c/action.yaml:1: warning: w\n"}, r)
	r = pelton(t, nil, "", "action", "build", "mine", "actions/d", "--server", s.URL)
	require.Equal(t, result{5, "", "pelton: repository mine has no action in actions/d: it has actions/a, actions/b, actions/c\n"}, r)
}

// TestWorkflowShow: what is live and how it is called, what it takes, and what is wrong with it.
func TestWorkflowShow(t *testing.T) {
	const w = "/studio/v1/projects/default/workflows/"
	s := serve(t, map[string]http.HandlerFunc{
		"GET " + w + "a": text(200, `{"name":"a","revision":2,"deployment":{"revision":1,"state":"live","endpoints":[{"trigger":"http","method":"POST","path":"/user-api/default/a"}]},
"definition":{"inputs":[{"name":"n","type":"integer"},{"name":"city","type":"string","default":"Paris"},{"name":"note","type":"string","optional":true}]},
"problems":[{"file":"workflows/a.yaml","line":7,"column":3,"path":"spec.steps[0].uses","message":"there is no action b","proposal":"did you mean c?","severity":"error"}]}`),
		"GET " + w + "a/revisions": text(200, `{"items":[{"revision":2,"created_at":"2026-01-01T00:00:00Z"},{"revision":1,"created_at":"2026-01-01T00:00:00Z"}]}`),
		"GET " + w + "b":           text(404, `{"status":404,"detail":"there is no workflow \"b\": is not there","errors":[{"field":"workflow","message":"is not there","remedy":"add it first"}]}`),
	})
	env := map[string]string{"PELTON_TOKEN": "tok"}
	r := pelton(t, env, "", "workflow", "show", "a", "--server", s.URL)
	require.Zero(t, r.code, r.err)
	saved := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Local().Format("2006-01-02 15:04:05")
	require.Equal(t, `workflow a, newest revision 2
revision 1 is live
  trigger http: POST `+s.URL+`/user-api/default/a
workflows/a.yaml:7:3: spec.steps[0].uses: there is no action b (did you mean c?)
INPUT  TYPE
n      integer  required
city   string   default "Paris"
note   string   optional
REVISION  SAVED
2         `+saved+`
1         `+saved+`  deployed
`, r.out)
	r = pelton(t, env, "", "workflow", "show", "b", "--server", s.URL)
	require.Equal(t, result{5, "", "pelton: there is no workflow \"b\": is not there (add it first)\n"}, r)
}
