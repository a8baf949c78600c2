package userapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// standardHeaders signs a body as the Standard Webhooks specification 1.0 says.
func standardHeaders(key []byte, id string, at time.Time, body string) map[string]string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return map[string]string{"Content-Type": "application/json", "Authorization": "", "webhook-id": id, "webhook-timestamp": fmt.Sprint(at.Unix()),
		"webhook-signature": "v1a,bm9uZQ== v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

// TestSignature: requests to triggers with `auth: signature` start a run if they are signed, once for
// each message.
func TestSignature(t *testing.T) {
	b := newBench(t)
	b.deploy("hook", "same", "integer", `{"path": "/hook", "auth": "signature", "secret": "hook"}`, nil)
	b.deploy("hub", "same", "integer", `{"path": "/hub", "auth": "signature", "secret": "hub", "scheme": "github"}`, nil)
	b.deploy("small", "same", "integer", `{"path": "/small", "auth": "signature", "secret": "hook", "maxBytes": 10}`, nil)
	key := []byte("0123456789abcdef0123456789abcdef")
	now := time.Now()
	const body = `{"x": 7}`
	post := func(path string, h map[string]string) reply { return b.call("POST", path, h, strings.NewReader(body)) }

	post("/hook", standardHeaders(key, "m1", now, body)).problem(t, 503, "pelton secret set hook")
	require.NoError(t, b.app.PutSecret(t.Context(), "p", "hook", "whsec_"+base64.StdEncoding.EncodeToString(key)))
	require.NoError(t, b.app.PutSecret(t.Context(), "p", "hub", "It is no secret"))

	first := post("/hook", standardHeaders(key, "m1", now, body))
	require.Equal(t, 200, first.code, first.body)
	require.JSONEq(t, `{"x": 7}`, first.body)
	again := post("/hook", standardHeaders(key, "m1", now.Add(time.Second), body))
	require.Equal(t, first.header.Get("Pelton-Run"), again.header.Get("Pelton-Run"), "a message that is sent again starts nothing")

	post("/hook", asJSON).problem(t, 401, "webhook-id, webhook-timestamp and webhook-signature")
	post("/hook", standardHeaders([]byte("another"), "m2", now, body)).problem(t, 401, "does not match")
	post("/hook", standardHeaders(key, "m2", now, body+" ")).problem(t, 401, "does not match")
	post("/hook", standardHeaders(key, "m2", now.Add(-6*time.Minute), body)).problem(t, 401, "more than 5 minutes ago")
	post("/hook", standardHeaders(key, "m2", now.Add(6*time.Minute), body)).problem(t, 401, "more than 5 minutes ahead")
	long := `{"x": 7777777}`
	b.call("POST", "/small", standardHeaders(key, "m3", now, long), strings.NewReader(long)).problem(t, 413, "larger than 10 bytes")

	link := b.url + "/user-api/p/-/runs/" + first.header.Get("Pelton-Run") + "/result"
	b.call("GET", link, nil, nil).problem(t, 401, "not signed")
	require.Equal(t, 200, b.call("GET", link, standardHeaders(key, "m4", now, ""), nil).code, "the result link wants the trigger's own credential")

	mac := hmac.New(sha256.New, []byte("It is no secret"))
	mac.Write([]byte(body))
	hub := map[string]string{"Content-Type": "application/json", "X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))}
	require.Equal(t, 200, post("/hub", hub).code)
	post("/hub", asJSON).problem(t, 401, "64 hexadecimal digits")
	hub["X-Hub-Signature-256"] = "sha256=" + strings.Repeat("0", 64)
	post("/hub", hub).problem(t, 401, "does not match")
}
