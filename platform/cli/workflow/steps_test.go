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
		{"id": "many", "kind": "action", "uses": "x", "for_each": "${[1]}"},
		{"id": "poll", "kind": "action", "uses": "x", "loop": {"until": "pass.last.done", "max": 9}},
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
		{"poll", "x, until pass.last.done, at most 9 times", ""},
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
