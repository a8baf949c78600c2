package workflow

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/platform/sdk/studio"
)

func TestSteps(t *testing.T) {
	var d studio.Definition
	require.NoError(t, json.Unmarshal([]byte(`{"steps": [
		{"id": "route", "kind": "switch", "switch": "inputs.kind", "cases": [{"value": "order", "steps": ["ship", "label"]}], "default": ["other"]},
		{"id": "ship", "kind": "action", "uses": "ship@1.0", "needs": ["route"], "if": "inputs.n > 1", "undo": "unship"},
		{"id": "many", "kind": "action", "uses": "x", "for_each": {"in": "${[1]}", "as": "item", "on_error": "fail"}},
		{"id": "more", "kind": "action", "uses": "x", "for_each": {"in": "${[1]}", "as": "x", "concurrency": 4, "on_error": "collect"}, "effect": "read", "priority": 7,
		 "retry": {"attempts": 3, "backoff_ms": 1500, "on": ["timeout", "busy"]}, "timeout_ms": 5400000, "step_timeout_ms": 172800000,
		 "cache": {"key": "${inputs.q}", "ttl_ms": 3600000}, "concurrency": {"limit": 2, "key": "${inputs.customer}"}},
		{"id": "poll", "kind": "action", "uses": "x", "loop": {"until": "pass.last.done", "max": 9, "delay_ms": 2000}},
		{"id": "sub", "kind": "workflow", "workflow": "other"},
		{"id": "away", "kind": "workflow", "workflow": "other", "detach": true},
		{"id": "a", "kind": "wait", "wait": {"for": "10m"}},
		{"id": "b", "kind": "wait", "wait": {"until": "${inputs.at}", "timezone": "Europe/Paris"}},
		{"id": "c", "kind": "wait", "wait": {"signal": "paid"}},
		{"id": "d", "kind": "wait", "wait": {"approval": {"approvers": ["ada", "role:admin"]}}},
		{"id": "e", "kind": "wait", "wait": {"approval": {"approvers": []}}},
		{"id": "all", "kind": "collect", "collect": "many", "needs": ["many", "ship"]}]}`), &d))
	require.Equal(t, [][]string{
		{"route", "switch inputs.kind (order: ship label; otherwise: other)", ""},
		{"ship", "ship@1.0, if inputs.n > 1, undone by unship", "route"},
		{"many", "x, for each of ${[1]}", ""},
		{"more", "x, for each of ${[1]}, 4 at a time, failed ones kept as errors, effect read, tried 3 times on timeout or busy after 1.5s, attempts of at most 1h30m, " +
			"at most 2d in all, cached for 1h per ${inputs.q}, at most 2 at a time per ${inputs.customer}, priority 7", ""},
		{"poll", "x, until pass.last.done, at most 9 times, 2s apart", ""},
		{"sub", "workflow other", ""},
		{"away", "start workflow other", ""},
		{"a", "wait 10m", ""},
		{"b", "wait until ${inputs.at} Europe/Paris", ""},
		{"c", "wait for signal paid", ""},
		{"d", "ask ada, role:admin", ""},
		{"e", "ask an operator", ""},
		{"all", "collect many", "many, ship"},
	}, steps(&d))
	require.Empty(t, steps(nil))
}

func TestPolicies(t *testing.T) {
	var p studio.Policies
	require.NoError(t, json.Unmarshal([]byte(`{"timeout_ms": 604800000, "priority": -3, "idempotency_key": "${inputs.order}", "on_failure": "notify", "durability": "none",
		"concurrency": {"key": "${inputs.customer}", "limit": 1, "policy": "cancel-oldest"}, "rate_limit": {"count": 10, "per_ms": 60000, "burst": 20}}`), &p))
	require.Equal(t, [][]string{
		{"concurrency", "1 run at a time per ${inputs.customer}; further ones cancel the oldest"},
		{"rateLimit", "10 starts in 1m, 20 at once"},
		{"idempotencyKey", "${inputs.order}"},
		{"timeout", "7d"},
		{"priority", "-3"},
		{"onFailure", "starts workflow notify"},
		{"durability", "none"},
	}, policies(&p))
	require.Empty(t, policies(nil))
}
