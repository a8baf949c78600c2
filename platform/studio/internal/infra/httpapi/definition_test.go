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
  timeout: 1d
  priority: 5
  idempotencyKey: "${inputs.kind}"
  concurrency: {key: "${inputs.kind}"}
  rateLimit: {count: 10, per: 1m, burst: 20}
  onFailure: other
  durability: strict
  steps:
    - {id: route, switch: inputs.kind, cases: {invoice: [book], order: [ship, label]}, default: book2}
    - {id: book, uses: pay, undo: {uses: refund}, effect: write, approval: {title: "Pay?", approvers: [ada]}}
    - {id: book2, uses: pay, loop: {until: pass.last.done, max: 9}, effect: read, cache: {key: k, ttl: 1h}, continueOnError: true}
    - {id: ship, workflow: other, detach: true}
    - {id: label, wait: {signal: paid, timeout: 1m}, catch: [{on: timeout, outputs: {payload: 3}}]}
    - {id: at, wait: {until: "2026-12-01T09:00", timezone: Europe/Paris}}
    - {id: ask, wait: {approval: {title: "Go?"}}}
    - {id: all, collect: book, join: any}
    - id: each
      uses: pay
      forEach: {in: "${[1]}", concurrency: 4, onError: skip}
      retry: {attempts: 3, backoff: 1s, factor: 2, cap: 1m, jitter: true, on: [timeout]}
      timeout: 1m
      stepTimeout: 1h
      concurrency: {key: k, limit: 2}
      priority: 0
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
		{"id": "book2", "kind": "action", "uses": "pay", "needs": ["route"], "with": {}, "loop": {"until": "pass.last.done", "max": 9}, "effect": "read", "cache": {"key": "k", "ttl_ms": 3600000}, "catch": [{"on": []}]},
		{"id": "ship", "kind": "workflow", "uses": "", "needs": ["route"], "with": {}, "workflow": "other", "detach": true},
		{"id": "label", "kind": "wait", "uses": "", "needs": ["route"], "with": {}, "wait": {"signal": "paid", "timeout_ms": 60000}, "catch": [{"on": ["timeout"], "outputs": {"payload": 3}}]},
		{"id": "at", "kind": "wait", "uses": "", "needs": [], "with": {}, "wait": {"until": "2026-12-01T09:00", "timezone": "Europe/Paris"}},
		{"id": "ask", "kind": "wait", "uses": "", "needs": [], "with": {}, "wait": {"approval": {"title": "Go?", "approvers": []}}},
		{"id": "all", "kind": "collect", "uses": "", "needs": ["book"], "with": {}, "join": "any", "collect": "book"},
		{"id": "each", "kind": "action", "uses": "pay", "needs": [], "with": {}, "for_each": {"in": "${[1]}", "as": "item", "concurrency": 4, "on_error": "skip"},
		 "retry": {"attempts": 3, "backoff_ms": 1000, "factor": 2, "cap_ms": 60000, "jitter": true, "on": ["timeout"]}, "timeout_ms": 60000, "step_timeout_ms": 3600000,
		 "concurrency": {"key": "k", "limit": 2}, "priority": 0}]`, string(data))
	data, err = json.Marshal(d.Policies)
	require.NoError(t, err)
	require.JSONEq(t, `{"timeout_ms": 86400000, "priority": 5, "idempotency_key": "${inputs.kind}", "concurrency": {"key": "${inputs.kind}", "limit": 1, "policy": "queue"},
		"rate_limit": {"count": 10, "per_ms": 60000, "burst": 20}, "on_failure": "other", "durability": "strict"}`, string(data))
}
