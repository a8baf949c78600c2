package cli_test

import (
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

const studioWorkflows = "/studio/v1/projects/default/workflows"

// TestApply: with an error nothing is saved; --plan changes nothing; without, each is saved and deployed.
func TestApply(t *testing.T) {
	t.Chdir(t.TempDir())
	put(t, "w.yaml", "kind: Workflow\nmetadata: {name: w}\n")
	const p = studioWorkflows
	routes := map[string]http.HandlerFunc{
		"POST " + p + "/check":                           text(200, `{"problems":[{"line":2,"column":1,"message":"m","proposal":"p"}]}`),
		"GET " + p + "/w":                                text(404, `{"status":404,"detail":"none"}`),
		"PUT " + p + "/w":                                text(200, `{"name":"w","revision":4}`),
		"POST " + p + "/w/deploy":                        text(200, `{"id":"d1","revision":4,"state":"deploying"}`),
		"GET /runner/v1/projects/default/deployments/d1": text(200, `{"id":"d1","revision":4,"state":"live"}`),
	}
	s := serve(t, routes)
	r := pelton(t, nil, "", "apply", "w.yaml", "--server", s.URL)
	require.Equal(t, result{1, "", "w.yaml:2:1: m (p)\npelton: 1 error: nothing was saved\n"}, r)
	require.Len(t, s.requests(), 1)

	routes["POST "+p+"/check"] = text(200, `{"problems":[]}`)
	s = serve(t, routes)
	r = pelton(t, nil, "", "apply", "w.yaml", "--plan", "--server", s.URL, "--origin", "here")
	require.Equal(t, result{0, "WORKFLOW  CHANGE  REVISION  STATE  FILE    NOTE\nw         create                   w.yaml\n", ""}, r)
	require.Len(t, s.requests(), 2, "checked and looked up, no more")
	r = pelton(t, nil, "", "apply", "w.yaml", "--server", s.URL, "--origin", "here")
	require.Equal(t, result{0, "WORKFLOW  CHANGE  REVISION  STATE  FILE    NOTE\nw         create  4         live   w.yaml\n", "w: revision 4: live\n"}, r)
	require.Contains(t, s.requests(), `POST `+p+`/w/deploy  {"revision":4}`)
	require.Contains(t, s.requests(), "PUT "+p+"/w  kind: Workflow\nmetadata: {name: w}\n# pelton apply: from here")

	// While an action is being built it is asked again.
	for _, order := range []string{"PUT " + p + "/w", "POST " + p + "/w/deploy"} {
		then := routes[order]
		var asked atomic.Int32
		routes[order] = func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) < 3 {
				text(409, `{"status":409,"code":"building","detail":"it is being built"}`)(w, r)
				return
			}
			then(w, r)
		}
		s = serve(t, routes)
		r = pelton(t, nil, "", "apply", "w.yaml", "--server", s.URL, "--origin", "here")
		require.Zero(t, r.code, r.err)
		require.Equal(t, "w: waiting for the build of an action that it uses\nw: revision 4: live\n", r.err)
		routes[order] = then
	}
	routes["POST "+p+"/w/deploy"] = text(409, `{"status":409,"code":"building","detail":"it is being built"}`)
	s = serve(t, routes)
	r = pelton(t, nil, "", "workflow", "deploy", "w", "--server", s.URL, "--no-wait")
	require.Equal(t, result{1, "", "pelton: deploy w: it is being built\n"}, r)
	routes["POST "+p+"/w/deploy"] = text(200, `{"id":"d1","revision":4,"state":"deploying"}`)

	routes["GET /runner/v1/projects/default/deployments/d1"] = text(200, `{"id":"d1","revision":4,"state":"failed","reason":"port taken"}`)
	s = serve(t, routes)
	r = pelton(t, nil, "", "workflow", "deploy", "w", "--server", s.URL)
	require.Equal(t, result{1, "workflow w revision 4: failed\n", "pelton: the deployment of w failed: port taken\n"}, r)
	r = pelton(t, nil, "", "apply", "w.yaml", "--server", s.URL)
	require.Equal(t, result{1, "WORKFLOW  CHANGE  REVISION  STATE   FILE    NOTE\nw         create  4         failed  w.yaml  port taken\n", "w: revision 4: failed\npelton: the deployment of w failed: port taken\n"}, r)
}

// TestApplyPrune: what came from this folder and is gone is removed, nothing else, and only after a yes.
func TestApplyPrune(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("flows", 0o755))
	put(t, "flows/same.yaml", "kind: Workflow\nmetadata: {name: same}\n")
	put(t, "flows/moved.yaml", "kind: Workflow\nmetadata: {name: moved}\n")
	const p = studioWorkflows
	live := `"deployment":{"id":"d","revision":3,"state":"live"}`
	routes := map[string]http.HandlerFunc{
		"POST " + p + "/check":                           text(200, `{"problems":[]}`),
		"GET " + p:                                       text(200, `{"items":[{"name":"same",`+live+`},{"name":"gone",`+live+`},{"name":"others",`+live+`},{"name":"scanned",`+live+`},{"name":"stopped","deployment":{"state":"stopped"}}]}`),
		"GET " + p + "/same":                             text(200, `{"revision":3,"yaml":"kind: Workflow\nmetadata: {name: same}\n# pelton apply: from here\n",`+live+`}`),
		"GET " + p + "/moved":                            text(200, `{"revision":2,"yaml":"kind: Workflow\n# pelton apply: from there\n",`+live+`}`),
		"GET " + p + "/gone":                             text(200, `{"revision":3,"yaml":"kind: Workflow\n# pelton apply: from here\n",`+live+`}`),
		"GET " + p + "/others":                           text(200, `{"revision":3,"yaml":"kind: Workflow\n# pelton apply: from there\n",`+live+`}`),
		"GET " + p + "/scanned":                          text(200, `{"revision":3,"yaml":"kind: Workflow\n","path":"workflows/scanned.yaml",`+live+`}`),
		"PUT " + p + "/same":                             text(200, `{"revision":3}`),
		"PUT " + p + "/moved":                            text(200, `{"revision":4}`),
		"POST " + p + "/moved/deploy":                    text(200, `{"id":"d1","revision":4,"state":"deploying"}`),
		"POST " + p + "/gone/undeploy":                   text(200, `{"state":"stopped"}`),
		"GET /runner/v1/projects/default/deployments/d1": text(200, `{"id":"d1","revision":4,"state":"live"}`),
	}
	s := serve(t, routes)
	call := func(more ...string) result {
		return pelton(t, nil, "", append([]string{"apply", "flows", "--prune", "--origin", "here", "--server", s.URL}, more...)...)
	}
	r := call("--plan")
	require.Equal(t, result{0, `WORKFLOW  CHANGE     REVISION  STATE  FILE              NOTE
moved     update     2         live   flows/moved.yaml  was applied from there
same      unchanged  3         live   flows/same.yaml
gone      remove     3         live
`, ""}, r)
	r = call()
	require.Equal(t, result{2, "", "pelton: --prune undeploys 1 workflow: [gone]. Nobody can be asked here: give --yes, or look first with --plan\n"}, r)
	for _, x := range s.requests() {
		require.NotRegexp(t, "^(PUT|POST .*deploy)", x, "nothing was changed so far")
	}
	r = call("--yes", "-o", "json")
	require.Zero(t, r.code, r.err)
	require.JSONEq(t, `{"items":[{"name":"moved","change":"update","revision":4,"state":"live","file":"flows/moved.yaml"},
{"name":"same","change":"unchanged","revision":3,"state":"live","file":"flows/same.yaml"},{"name":"gone","change":"remove","revision":3,"state":"stopped"}]}`, r.out)
	require.Equal(t, "moved: revision 4: live\ngone: undeployed\n", r.err)
	require.Contains(t, s.requests(), "POST "+p+"/gone/undeploy  {}")

	require.NoError(t, os.Remove("flows/same.yaml"))
	require.NoError(t, os.Remove("flows/moved.yaml"))
	r = call("--plan", "-o", "name")
	require.Equal(t, result{0, "same\ngone\n", ""}, r)
}
