package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/e2e/harness"
	"github.com/pelton-run/pelton/platform/kit/openapi/contract"
)

// tour calls every operation of every service once; the client holds each answer to its document.
type tour struct {
	*testing.T
	p      *harness.Platform
	called map[string]bool // by operationId
}

// call sends body and wants a status; it returns the answer as JSON, or its text under "text".
func (r *tour) call(operation, method, path, body string, want int) map[string]any {
	r.Helper()
	kind := ""
	if body != "" {
		kind = "application/json"
	}
	return r.send(operation, method, path, kind, body, want)
}

func (r *tour) send(operation, method, path, kind, body string, want int) map[string]any {
	r.Helper()
	resp, err := r.p.Do(deadline(r.T, time.Minute), method, path, kind, strings.NewReader(body))
	require.NoError(r, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(r, err)
	require.Equal(r, want, resp.StatusCode, "%s: %s", operation, data)
	r.called[operation] = true
	out := map[string]any{}
	if json.Unmarshal(data, &out) != nil {
		out["text"] = string(data)
	}
	return out
}

// stream reads events until done says so or the server ends them; begun is called once it is open.
func (r *tour) stream(operation, path string, begun func(), done func(event map[string]any) bool) {
	r.Helper()
	resp, err := r.p.Do(deadline(r.T, time.Minute), http.MethodGet, path, "", nil)
	require.NoError(r, err)
	defer resp.Body.Close()
	require.Equal(r, http.StatusOK, resp.StatusCode)
	r.called[operation] = true
	begun()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event map[string]any
		require.NoError(r, json.Unmarshal([]byte(data), &event))
		if done(event) {
			return
		}
	}
	require.NoError(r, lines.Err())
}

func first(list map[string]any) map[string]any {
	items, _ := list["items"].([]any)
	if len(items) == 0 {
		return nil
	}
	item, _ := items[0].(map[string]any)
	return item
}

const gateHandler = `import os, time

def handle(inputs, ctx):
    ctx.log("waiting")
    while not os.path.exists(inputs["gate"]):
        time.sleep(0.01)
    print("open")
    return {"gate": inputs["gate"]}
`

// TestEveryOperation: every operation of the documents is called and answers as described.
func TestEveryOperation(t *testing.T) {
	r := &tour{T: t, p: start(t), called: map[string]bool{}}
	dir := workspace(t, merge(python("actions/gate", "[{name: gate, type: string}]", "[{name: gate, type: string}]", gateHandler),
		map[string]string{"workflows/gate.yaml": workflowYAML("gate", `  inputs: [{name: gate, type: string, title: Gate, help: A file., default: /none}]
  triggers: [{id: web, uses: http, with: {path: /gate, auth: none}}]
  steps:
    - {id: a, title: Wait, uses: ./actions/gate, with: {gate: "${inputs.gate}"}}
    - {id: b, uses: ./actions/gate, forEach: {in: "${[steps.a.gate]}"}, with: {gate: "${item}"}}
  result: {gate: "${steps.a.gate}", none: null}
`)}))
	gate := filepath.Join(workspace(t, nil), "open")
	r.authorization()
	r.repository(dir)
	r.studio()
	r.runner(gate)
	r.bridge()
	for _, service := range harness.Services {
		r.call("getDocumentation", http.MethodGet, "/"+service+"/docs", "", 200)
		text, err := json.Marshal(r.call("getDocument", http.MethodGet, "/"+service+"/openapi.json", "", 200))
		require.NoError(t, err)
		doc, err := contract.Load(text)
		require.NoError(t, err)
		for _, o := range doc.Operations() {
			if !r.called[o.OperationID] {
				t.Errorf("%s (%s of %s) was not called: add it to this test", o.OperationID, o.Route(), service)
			}
		}
	}
}

func (r *tour) authorization() {
	const base = "/authorization/v1"
	password := regexp.MustCompile(`password (\S+)`).FindStringSubmatch(r.p.LogTail(1000))
	require.Len(r, password, 2)
	r.call("login", "POST", base+"/login", fmt.Sprintf(`{"username":"admin","password":%q,"cookie":true}`, password[1]), 200)
	r.call("login", "POST", base+"/login", `{"username":"admin","password":"wrong"}`, 401)
	r.call("login", "POST", base+"/login", `{"username":""}`, 400)
	code := r.call("createLoginCode", "POST", base+"/login/codes", "", 201)
	r.call("loginWithCode", "POST", base+"/login/code", fmt.Sprintf(`{"code":%q}`, code["code"]), 200)
	r.call("logout", "POST", base+"/logout", "", 204)
	r.call("getKeySet", "GET", base+"/jwks.json", "", 200)
	r.call("getMe", "GET", base+"/me", "", 200)
	r.call("listProjects", "GET", base+"/projects", "", 200)
	key := r.call("createKey", "POST", base+"/projects/default/keys", `{"name":"ci","expires_at":"2099-01-01T00:00:00Z"}`, 201)
	r.call("createKey", "POST", base+"/projects/default/keys", `{"name":"ci","role":"king"}`, 400)
	r.call("listKeys", "GET", base+"/projects/default/keys", "", 200)
	require.Equal(r, true, r.call("introspectKey", "POST", base+"/introspect", fmt.Sprintf(`{"key":%q}`, key["key"]), 200)["active"])
	r.call("revokeKey", "DELETE", fmt.Sprintf("%s/projects/default/keys/%s", base, key["id"]), "", 204)
	r.call("revokeKey", "DELETE", fmt.Sprintf("%s/projects/default/keys/%s", base, key["id"]), "", 404)
	require.Equal(r, false, r.call("introspectKey", "POST", base+"/introspect", fmt.Sprintf(`{"key":%q}`, key["key"]), 200)["active"])
}

// bridge subscribes to events, and sends one that no trigger takes.
func (r *tour) bridge() {
	const base = "/bridge/v1/projects/default"
	const none = "01900000-0000-7000-8000-000000000000"
	r.call("listEventTypes", "GET", "/bridge/v1/event-types", "", 200)
	r.call("getEventSchema", "GET", "/bridge/v1/schemas/io.pelton.run.completed.v1.json", "", 200)
	r.call("getEventSchema", "GET", "/bridge/v1/schemas/none", "", 404)
	sub := r.call("createSubscription", "POST", base+"/subscriptions", `{"name":"tour","sink":{"kind":"webhook","url":"http://127.0.0.1:1/"},"types":["io.pelton.run.*"]}`, 201)
	r.call("createSubscription", "POST", base+"/subscriptions", `{"name":"tour","sink":{"kind":"pigeon"}}`, 400)
	r.call("listSubscriptions", "GET", base+"/subscriptions", "", 200)
	one := base + "/subscriptions/" + sub["id"].(string)
	r.call("getSubscription", "GET", one, "", 200)
	r.call("pauseSubscription", "POST", one+"/pause", "", 200)
	r.call("resumeSubscription", "POST", one+"/resume", "", 200)
	r.call("listDeadLetters", "GET", base+"/dead-letters", "", 200)
	r.call("getDeadLetter", "GET", base+"/dead-letters/"+none, "", 404)
	r.call("replayDeadLetter", "POST", base+"/dead-letters/"+none+"/replay", "", 404)
	r.call("dropDeadLetter", "DELETE", base+"/dead-letters/"+none, "", 404)
	letters := fmt.Sprintf(`{"subscription":%q}`, sub["id"])
	r.call("replayDeadLetters", "POST", base+"/dead-letters/replay", letters, 200)
	r.call("dropDeadLetters", "POST", base+"/dead-letters/drop", letters, 200)
	// Without a cluster there are no Brokers.
	r.call("getBroker", "GET", base+"/broker", "", 409)
	r.call("connectBroker", "PUT", base+"/broker", `{"key":"none"}`, 400)
	r.call("disconnectBroker", "DELETE", base+"/broker", "", 409)
	r.call("deleteSubscription", "DELETE", one, "", 204)
	r.send("receiveEvents", "POST", base+"/events", "application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"/tour","type":"tour"}`, 202)
	r.send("receiveEvents", "POST", base+"/events", "application/cloudevents+json", `{"specversion":"1.0"}`, 400)
	r.call("mayReceiveEvents", "OPTIONS", base+"/events", "", 200)
	r.call("receiveEvent", "POST", "/runner/v1/projects/default/cloudevents", `{}`, 400)
	r.call("deployDefinition", "POST", "/runner/v1/projects/default/deployments", `{"definition":"bm9uZQ=="}`, 400)
	r.call("undeployDefinition", "DELETE", "/runner/v1/projects/default/deployments/"+none, "", 404)
}

// repository adds the workspace and waits, by its events, until the action is built.
func (r *tour) repository(dir string) {
	const base = "/repository/v1/projects/default"
	r.stream("watchRepositories", base+"/events", func() {
		r.call("addRepository", "POST", base+"/repositories", fmt.Sprintf(`{"name":"tour","path":%q,"watch":true,"auto_deploy":true}`, dir), 201)
	}, func(e map[string]any) bool { return e["type"] == "build_succeeded" })
	r.call("addRepository", "POST", base+"/repositories", `{"url":"ftp://example.org"}`, 400)
	r.call("addRepository", "POST", base+"/repositories", fmt.Sprintf(`{"name":"tour","path":%q}`, dir), 409)
	id := first(r.call("listRepositories", "GET", base+"/repositories?limit=1", "", 200))["id"].(string)
	r.call("getRepository", "GET", base+"/repositories/"+id, "", 200)
	scan := r.call("scanRepository", "POST", base+"/repositories/"+id+"/scans", "", 201)
	page := r.call("listScans", "GET", base+"/repositories/"+id+"/scans?limit=1", "", 200)
	r.call("listScans", "GET", base+"/repositories/"+id+"/scans?cursor="+page["next_cursor"].(string), "", 200)
	r.call("listScans", "GET", base+"/repositories/"+id+"/scans?cursor=bm9uZQ", "", 400)
	r.call("getScan", "GET", base+"/scans/"+scan["id"].(string), "", 200)
	build := first(r.call("listBuilds", "GET", base+"/builds?state=succeeded&action=gate", "", 200))["id"].(string)
	r.call("listBuilds", "GET", base+"/builds?state=ended", "", 400)
	r.call("orderBuild", "POST", base+"/builds", `{"action":"gate"}`, 200)
	r.call("orderBuild", "POST", base+"/builds", `{"action":"gate","force":true}`, 201)
	r.call("orderBuild", "POST", base+"/builds", `{"action":"nowhere"}`, 404)
	r.call("orderBuild", "POST", base+"/builds", `{"actoin":"gate"}`, 400)
	r.call("getBuild", "GET", base+"/builds/"+build, "", 200)
	r.call("getBuildLog", "GET", base+"/builds/"+build+"/log", "", 200)
	r.stream("getBuildLog", base+"/builds/"+build+"/log?follow=true", func() {}, func(map[string]any) bool { return false })
	r.call("cancelBuild", "POST", base+"/builds/"+build+"/cancel", "", 409)
	added := r.call("addRepository", "POST", base+"/repositories", fmt.Sprintf(`{"name":"again","path":%q}`, dir), 201)
	r.call("removeRepository", "DELETE", base+"/repositories/"+added["id"].(string), "", 204)
}

// studio saves and deploys; it waits, by the studio's events, until the newest revision is live.
func (r *tour) studio() {
	const base = "/studio/v1/projects/default"
	require.NoError(r, r.p.WaitLive(deadline(r.T, time.Minute), "gate"))
	require.Equal(r, "Pelton action", r.call("getActionSchema", "GET", "/studio/v1/schemas/action.json", "", 200)["title"])
	require.Equal(r, "Pelton workflow", r.call("getWorkflowSchema", "GET", "/studio/v1/schemas/workflow.json", "", 200)["title"])
	require.Equal(r, "Pelton workflow test", r.call("getWorkflowTestSchema", "GET", "/studio/v1/schemas/workflow-test.json", "", 200)["title"])
	r.call("listActions", "GET", base+"/actions", "", 200)
	r.call("getAction", "GET", base+"/actions/gate", "", 200)
	r.call("getAction", "GET", base+"/actions/none", "", 404)
	r.call("listWorkflows", "GET", base+"/workflows", "", 200)
	w := r.call("getWorkflow", "GET", base+"/workflows/gate", "", 200)
	text, err := json.Marshal(map[string]any{"yaml": w["yaml"].(string) + "\n# changed\n"})
	require.NoError(r, err)
	r.call("checkWorkflow", "POST", base+"/workflows/check", string(text), 200)
	r.send("checkWorkflow", "POST", base+"/workflows/check", "application/yaml", "apiVersion: pelton.dev/v1\nkind: Workflow\n", 200)
	r.call("saveWorkflow", "PUT", base+"/workflows/gate", string(text), 200)
	r.call("saveWorkflow", "PUT", base+"/workflows/gate", `{"yaml":"kind: Workflow"}`, 400)
	revisions := r.call("listRevisions", "GET", base+"/workflows/gate/revisions?limit=1", "", 200)
	if next, ok := revisions["next_cursor"].(string); ok {
		r.call("listRevisions", "GET", base+"/workflows/gate/revisions?cursor="+next, "", 200)
	}
	r.call("listRevisions", "GET", base+"/workflows/gate/revisions?cursor=bm9uZQ", "", 400)
	r.call("compileWorkflow", "POST", base+"/workflows/compile", `{"yaml":"kind: Workflow"}`, 200)
	r.call("compileWorkflow", "POST", base+"/workflows/compile", `{}`, 400)
	r.call("getRevision", "GET", base+"/workflows/gate/revisions/1", "", 200)
	r.call("getRevision", "GET", base+"/workflows/gate/revisions/999", "", 404)
	r.call("undeployWorkflow", "POST", base+"/workflows/gate/undeploy", "", 202)
	r.call("undeployWorkflow", "POST", base+"/workflows/gate/undeploy", "", 409)
	r.call("deployWorkflow", "POST", base+"/workflows/gate/deploy", `{"revision":1}`, 202)
	r.call("rollbackWorkflow", "POST", base+"/workflows/gate/rollback", `{"revision":1}`, 202)
	r.call("setTraffic", "PUT", base+"/workflows/gate/traffic", `{"weights":[{"revision":1,"weight":40},{"revision":2,"weight":60}]}`, 202)
	r.call("setTraffic", "PUT", base+"/workflows/gate/traffic", `{"weights":[{"revision":1,"weight":40}]}`, 400)
	r.call("setTraffic", "PUT", base+"/workflows/none/traffic", `{"weights":[{"revision":1,"weight":100}]}`, 404)
	r.call("getWorkflow", "GET", base+"/workflows/gate", "", 200)
	r.stream("watchStudio", base+"/events", func() { r.call("deployWorkflow", "POST", base+"/workflows/gate/deploy", "", 202) },
		func(e map[string]any) bool { return e["type"] == "deployment_changed" && e["state"] == "live" })
}

// runner runs the workflow, which goes on when the test opens the gate.
func (r *tour) runner(gate string) {
	const base = "/runner/v1/projects/default"
	body := fmt.Sprintf(`{"workflow":"gate","inputs":{"gate":%q},"idempotency_key":"k"}`, gate)
	run := base + "/runs/" + r.call("startRun", "POST", base+"/runs", body, 201)["id"].(string)
	r.call("startRun", "POST", base+"/runs", body, 200)
	r.call("startRun", "POST", base+"/runs", `{"workflow":"none"}`, 404)
	r.call("startRun", "POST", base+"/runs", `{"workflow":"gate","inputs":{"gate":3}}`, 400)
	r.call("getRunResult", "GET", run+"/result", "", 202)
	seen := map[any]bool{}
	r.stream("watchRun", run+"/events", func() { require.NoError(r, os.WriteFile(gate, nil, 0o644)) }, func(e map[string]any) bool {
		seen[e["type"]] = true
		return false
	})
	require.True(r, seen["snapshot"] && seen["end"], "%v", seen)
	ended := r.call("getRun", "GET", run, "", 200)
	require.Equal(r, "completed", ended["state"], "%v", ended["error"])
	r.call("getRunResult", "GET", run+"/result", "", 200)
	r.call("getRunLogs", "GET", run+"/logs?limit=1&after=0&step=a&attempt=1", "", 200)
	r.call("getRunLogs", "GET", run+"/logs?after=x", "", 400)
	r.call("getStepInputs", "GET", run+"/steps/a/inputs?secrets=true&attempt=1", "", 200)
	r.call("getStepInputs", "GET", run+"/steps/b/inputs?item=0", "", 200)
	r.call("getStepInputs", "GET", run+"/steps/b/inputs", "", 404)
	r.call("getStepInputs", "GET", run+"/steps/a/inputs?item=x", "", 400)
	r.call("cancelRun", "POST", run+"/cancel", `{"reason":"late"}`, 409)
	told := map[any]bool{}
	r.stream("watchProject", base+"/events", func() {
		r.call("startRun", "POST", base+"/runs", fmt.Sprintf(`{"workflow":"gate","inputs":{"gate":%q}}`, gate), 201)
	}, func(e map[string]any) bool {
		told[e["type"]] = true
		return told["run_started"] && told["log"] && told["run_finished"]
	})
	r.call("watchProject", "GET", base+"/events?logs=some", "", 400)
	shut := base + "/runs/" + r.call("startRun", "POST", base+"/runs", `{"workflow":"gate","inputs":{"gate":"/none"}}`, 201)["id"].(string)
	r.call("cancelRun", "POST", shut+"/cancel", `{"reason":"enough"}`, 202)
	r.stream("watchRun", shut+"/events", func() {}, func(map[string]any) bool { return false })
	r.call("getRunResult", "GET", shut+"/result", "", 422)
	r.call("pauseRun", "POST", shut+"/pause", `{"reason":"late"}`, 409)
	r.call("resumeRun", "POST", shut+"/resume", "", 409)
	r.call("signalRun", "POST", shut+"/signals/pay", `{"payload":1}`, 400)
	r.call("decideRun", "POST", shut+"/decisions", `{"step":"none","approved":true}`, 400)
	r.call("listWaits", "GET", base+"/waits?kind=approval", "", 200)
	r.call("retryRun", "POST", shut+"/retry", `{"from":"none"}`, 400)
	retried := r.call("retryRun", "POST", shut+"/retry", "", 201)
	require.Equal(r, shut[len(base)+6:], retried["retry_of"])
	r.call("cancelRun", "POST", base+"/runs/"+retried["id"].(string)+"/cancel", "", 202)
	r.call("getRun", "GET", shut, "", 200)
	page := r.call("listRuns", "GET", base+"/runs?workflow=gate&limit=1", "", 200)
	r.call("listRuns", "GET", base+"/runs?state=completed&cursor="+page["next_cursor"].(string), "", 200)
	r.call("listRuns", "GET", base+"/runs?state=ended", "", 400)
	test := "apiVersion: pelton.dev/v1\\nkind: WorkflowTest\\nworkflow: %s\\ninputs: {gate: /none}\\nstubs: {a: [{outputs: {gate: x}, delay: 30m}], b: [{outputs: {gate: x}}]}\\nexpect: {}"
	report := r.call("runTest", "POST", base+"/tests", fmt.Sprintf(`{"test":"`+test+`"}`, "gate"), 200)
	require.Equal(r, "passed", report["state"], "%v", report["failures"])
	r.call("runTest", "POST", base+"/tests", fmt.Sprintf(`{"test":"`+test+`"}`, "none"), 404)
	r.call("runTest", "POST", base+"/tests", `{"test":"kind: WorkflowTest"}`, 400)
	r.call("listRuns", "GET", base+"/runs?state=completed,failed&from=2026-01-01T00:00:00Z&error=x&kind=timeout&trigger=manual&input=a%3Db", "", 200)
	r.call("listRuns", "GET", base+"/runs?from=yesterday", "", 400)
	again := r.call("runAgain", "POST", run+"/again", fmt.Sprintf(`{"inputs":{"gate":%q},"idempotency_key":"again"}`, gate), 201)
	require.Equal(r, ended["id"], again["retry_of"])
	r.call("runAgain", "POST", run+"/again", fmt.Sprintf(`{"inputs":{"gate":%q},"idempotency_key":"again"}`, gate), 200)
	r.call("listFailures", "GET", base+"/failures?workflow=gate", "", 200)
	r.call("getCost", "GET", base+"/cost?by=day", "", 200)
	r.call("getCost", "GET", base+"/cost?by=hour", "", 400)
	r.call("orderBulk", "POST", base+"/bulk", `{"kind":"cancel","filter":{"workflow":["gate"]},"plan":true}`, 200)
	r.call("orderBulk", "POST", base+"/bulk", `{"kind":"cancel","filter":{"wrokflow":["gate"]}}`, 400)
	bulk := r.call("orderBulk", "POST", base+"/bulk", `{"kind":"cancel","filter":{"workflow":["none"]}}`, 202)
	require.NoError(r, harness.Until(deadline(r.T, time.Minute), "the bulk order is done", func() (bool, error) {
		return first(r.call("listBulkOrders", "GET", base+"/bulk", "", 200))["state"] == "done", nil
	}))
	r.call("stopBulk", "DELETE", base+"/bulk/"+bulk["id"].(string), "", 404)
	r.call("listSchedules", "GET", base+"/schedules", "", 200)
	r.call("backfill", "POST", base+"/backfill", `{"workflow":"gate","trigger":"nightly","from":"2026-11-01T00:00:00Z"}`, 400)
	r.call("backfill", "POST", base+"/backfill", `{"workflow":"none","trigger":"nightly","from":"2026-11-01T00:00:00Z","plan":true}`, 404)
	r.call("putRetention", "PUT", base+"/retention", `{"project_ms":2592000000}`, 204)
	r.call("putRetention", "PUT", base+"/retention", `{"project_ms":1}`, 400)
	r.call("getRetention", "GET", base+"/retention", "", 200)
	r.call("deleteRun", "DELETE", shut, "", 204)
	r.call("deleteRun", "DELETE", shut, "", 404)
	r.call("putCaps", "PUT", base+"/caps", `{"project":50,"actions":{"a":3}}`, 204)
	r.call("putCaps", "PUT", base+"/caps", `{"project":-1}`, 400)
	r.call("getCaps", "GET", base+"/caps", "", 200)
	r.call("pauseWorkflow", "POST", base+"/workflows/gate/pause", `{"reason":"look"}`, 204)
	r.call("startRun", "POST", base+"/runs", `{"workflow":"gate"}`, 503)
	require.NotNil(r, first(r.call("listDeployments", "GET", base+"/deployments", "", 200))["paused"])
	r.call("resumeWorkflow", "POST", base+"/workflows/gate/resume", "", 204)
	r.call("pauseWorkflow", "POST", base+"/workflows/none/pause", "", 404)
	deployment := first(r.call("listDeployments", "GET", base+"/deployments?all=true", "", 200))["id"].(string)
	r.call("getDeployment", "GET", base+"/deployments/"+deployment, "", 200)
	file := r.send("putFile", "POST", base+"/files?name=a.json", "application/json", `{"a":1}`, 201)["$file"].(string)
	r.call("getFile", "GET", base+"/files/"+file+"?name=a.json&type=application/json", "", 200)
	r.call("getFile", "GET", base+"/files/none", "", 404)
	r.call("putSecret", "PUT", base+"/secrets/token", `{"value":"hidden"}`, 204)
	r.call("putSecret", "PUT", base+"/secrets/token", `{"value":""}`, 400)
	r.call("listSecrets", "GET", base+"/secrets", "", 200)
	r.call("deleteSecret", "DELETE", base+"/secrets/token", "", 204)
	r.call("deleteSecret", "DELETE", base+"/secrets/token", "", 404)
	r.call("putVariable", "PUT", base+"/variables/limit", `{"value":null}`, 204)
	r.call("putVariable", "PUT", base+"/variables/rate", `{"value":{"a":[1,null]}}`, 204)
	r.call("listVariables", "GET", base+"/variables", "", 200)
	r.call("deleteVariable", "DELETE", base+"/variables/limit", "", 204)
}
