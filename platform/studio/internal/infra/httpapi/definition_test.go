package httpapi

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

// TestDefinition: those who draw a workflow are told what each kind of step is.
func TestDefinition(t *testing.T) {
	w, problems := workflow.Parse("w.yaml", []byte(`apiVersion: pelton.dev/v1
kind: Workflow
metadata: {name: w}
spec:
  inputs: [{name: kind, type: string}]
  steps:
    - {id: route, switch: inputs.kind, cases: {invoice: [book], order: [ship, label]}, default: book2}
    - {id: book, uses: pay, undo: {uses: refund}, effect: write, approval: {title: "Pay?", approvers: [ada]}}
    - {id: book2, uses: pay, loop: {until: pass.last.done, max: 9}, effect: read, cache: {key: k, ttl: 1h}, continueOnError: true}
    - {id: ship, workflow: other, detach: true}
    - {id: label, wait: {signal: paid, timeout: 1m}, catch: [{on: timeout, outputs: {payload: 3}}]}
    - {id: at, wait: {until: "2026-12-01T09:00", timezone: Europe/Paris}}
    - {id: ask, wait: {approval: {title: "Go?"}}}
    - {id: all, collect: book, join: any}
`))
	require.Empty(t, problems)
	d, err := definitionOf(w)
	require.NoError(t, err)
	data, err := json.Marshal(d.Steps)
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"id": "route", "kind": "switch", "uses": "", "needs": [], "with": {}, "switch": "inputs.kind", "default": ["book2"],
		 "cases": [{"value": "invoice", "steps": ["book"]}, {"value": "order", "steps": ["ship", "label"]}]},
		{"id": "book", "kind": "action", "uses": "pay", "needs": ["route"], "with": {}, "undo": "refund", "effect": "write", "approval": {"title": "Pay?", "approvers": ["ada"]}},
		{"id": "book2", "kind": "action", "uses": "pay", "needs": ["route"], "with": {}, "loop": {"until": "pass.last.done", "max": 9}, "effect": "read", "cached": true, "catch": [{"on": []}]},
		{"id": "ship", "kind": "workflow", "uses": "", "needs": ["route"], "with": {}, "workflow": "other", "detach": true},
		{"id": "label", "kind": "wait", "uses": "", "needs": ["route"], "with": {}, "wait": {"signal": "paid", "timeout_ms": 60000}, "catch": [{"on": ["timeout"], "outputs": {"payload": 3}}]},
		{"id": "at", "kind": "wait", "uses": "", "needs": [], "with": {}, "wait": {"until": "2026-12-01T09:00", "timezone": "Europe/Paris"}},
		{"id": "ask", "kind": "wait", "uses": "", "needs": [], "with": {}, "wait": {"approval": {"title": "Go?", "approvers": []}}},
		{"id": "all", "kind": "collect", "uses": "", "needs": ["book"], "with": {}, "join": "any", "collect": "book"}]`, string(data))
}
