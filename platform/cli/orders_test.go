package cli_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOrders: what each order sends and says.
func TestOrders(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"POST " + runs + "/r1/signals/{name}": text(202, `{"id":"r1","state":"running"}`),
		"POST " + runs + "/r1/decisions":      text(202, `{"id":"r1","state":"running"}`),
		"POST " + runs + "/r1/pause":          text(202, `{"id":"r1","state":"paused"}`),
		"POST " + runs + "/r1/resume":         text(202, `{"id":"r1","state":"running"}`),
		"POST " + runs + "/r1/retry":          text(201, `{"id":"r2","state":"running"}`),
		"GET " + runs + "/r2":                 text(200, `{"id":"r2","workflow":"w","revision":3,"state":"failed","error":{"kind":"user_error","message":"again"}}`),
		"GET " + runs + "/r2/events":          text(200, "data: {\"type\":\"run\"}\n\n"),
	})
	for _, c := range []struct {
		stdin     string
		args      []string
		sent, out string
		code      int
	}{
		{"", []string{"signal", "r1", "paid"}, `POST ` + runs + `/r1/signals/paid  {}`, "the run has the signal paid; run r1 is running\n", 0},
		{`{"n": 1}`, []string{"signal", "r1", "a b", "--payload", "-"}, `POST ` + runs + `/r1/signals/a%20b  {"payload":{"n":1}}`, "the run has the signal a b; run r1 is running\n", 0},
		{"", []string{"approve", "r1", "ok", "--item", "0.1", "--comment", "fine", "-i", "n=1", "-i", "s=x"},
			`POST ` + runs + `/r1/decisions  {"approved":true,"comment":"fine","item_path":[0,1],"step":"ok","values":{"n":1,"s":"x"}}`, "ok[0][1] is approved; run r1 is running\n", 0},
		{"", []string{"reject", "r1", "ok"}, `POST ` + runs + `/r1/decisions  {"approved":false,"item_path":[],"step":"ok"}`, "ok is rejected; run r1 is running\n", 0},
		{"", []string{"pause", "r1", "--reason", "why"}, `POST ` + runs + `/r1/pause  {"reason":"why"}`, "nothing new starts until `pelton run resume r1`; run r1 is paused\n", 0},
		{"", []string{"resume", "r1", "-o", "name"}, `POST ` + runs + `/r1/resume  {}`, "r1\n", 0},
		{"", []string{"retry", "r1"}, `POST ` + runs + `/r1/retry  {"newest":false}`, "run r2 goes on where r1 ended; `pelton run watch r2` follows it\n", 0},
		{"", []string{"retry", "r1", "--from", "b", "--newest", "--idempotency-key", "k", "--wait"}, `POST ` + runs + `/r1/retry  {"from":"b","idempotency_key":"k","newest":true}`,
			"run r2 of w revision 3: failed\nno step has begun\nerror (user_error): again\n", 1},
	} {
		before := len(s.requests())
		r := pelton(t, nil, c.stdin, append([]string{"run", "--server", s.URL}, c.args...)...)
		require.Equal(t, c.code, r.code, r.err)
		require.Equal(t, c.out, r.out)
		require.Equal(t, c.sent, s.requests()[before])
	}
}

const waiting = `{"id":"r1","workflow":"w","revision":3,"state":"waiting","trigger":{"kind":"workflow","id":"sub"},"created_at":"2026-01-01T00:00:00Z",
"parent":{"run":"r0","workflow":"outer","step":"sub"},"handler":{"problem":"not started: no such workflow"},"not_undone":2,"steps":[
{"step":"ok","kind":"wait","state":"waiting","item_path":[0,1],"attempts":[],"reason":"waiting for a decision: Ship?","wait":{"kind":"approval","text":"Ship?","form":[{"name":"price"}],"approvers":["ada","role:admin"]}},
{"step":"paid","kind":"wait","state":"waiting","item_path":[],"attempts":[],"reason":"waiting for the signal payment","wait":{"kind":"signal","text":"payment"}},
{"step":"slot","kind":"action","state":"queued","item_path":[],"attempts":[],"reason":"key k is held by run r9","wait":{"kind":"slot","held_by":["r9"],"position":2}},
{"step":"again","kind":"action","state":"waiting","item_path":[],"attempts":[],"reason":"backing off until 12:00:00","error":{"message":"no luck"},"wait":{"kind":"retry","until":"2026-01-01T12:00:00Z"}},
{"step":"mild","kind":"action","state":"failed","item_path":[],"attempts":[],"caught":true,"error":{"message":"no such file"}},
{"step":"sub","kind":"workflow","state":"running","item_path":[],"attempts":[],"child":"r5"},
{"step":"a.undo","kind":"action","state":"failed","item_path":[],"attempts":[],"undoes":"a","error":{"message":"too late"}}]}`

// TestShowInWords: what a run waits for and what stands around it, with the calls that let it go on.
func TestShowInWords(t *testing.T) {
	s := serve(t, map[string]http.HandlerFunc{
		"GET " + runs + "/r1": text(200, waiting),
		"GET /runner/v1/projects/default/waits": text(200, `{"items":[
{"run":"r1","workflow":"w","step":"ok","item_path":[0,1],"kind":"approval","text":"Ship?","since":"2026-01-01T00:00:00Z"},
{"run":"r1","workflow":"w","step":"paid","item_path":[],"kind":"signal","text":"payment","since":"2026-01-01T00:00:00Z","until":"2026-01-02T00:00:00Z"}],"next_cursor":"c"}`),
	})
	t.Setenv("TZ", "UTC")
	r := pelton(t, nil, "", "run", "show", "r1", "--server", s.URL)
	require.Zero(t, r.code, r.err)
	require.Equal(t, `run r1 of w revision 3: waiting
called by step sub of run r0 of outer
its failure handler was not started: no such workflow
2 steps could not be taken back
STEP      STATE    ATTEMPTS  QUEUE  BOOT  LOAD  RUN  ALL  NOTE
ok[0][1]  waiting  0                                      waiting for a decision: Ship?
paid      waiting  0                                      waiting for the signal payment
slot      queued   0                                      key k is held by run r9; place 2 in the queue
again     waiting  0                                      backing off until 12:00:00; no luck
mild      failed   0                                      caught: no such file
sub       running  0                                      run r5
a.undo    failed   0                                      too late; takes a back
ok[0][1] goes on with `+"`pelton run approve r1 ok --item 0.1 -i price=…`, or ends with `pelton run reject r1 ok --item 0.1` (by ada or role:admin)"+`
paid goes on with `+"`pelton run signal r1 payment`"+`
`, r.out)
	r = pelton(t, nil, "", "run", "waits", "--kind", "approval", "--server", s.URL)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, "RUN  WORKFLOW  STEP      WAITS FOR        SINCE")
	require.Contains(t, r.out, "r1   w         ok[0][1]  approval: Ship?  ")
	require.Contains(t, r.out, "signal payment")
	require.Contains(t, r.out, "more: --cursor c\n")
	require.Contains(t, s.requests()[1], "/waits?kind=approval&limit=50")
}
