package studio

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
)

// load reads a JSON Schema of the subset that OpenAPI shares with it.
func load(t *testing.T, text []byte) *openapi3.Schema {
	t.Helper()
	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(text), "#/definitions/", "#/components/schemas/")), &s))
	parts, ok := s["definitions"].(map[string]any)
	require.True(t, ok)
	delete(s, "definitions")
	delete(s, "$schema")
	parts["root"] = s
	data, err := json.Marshal(map[string]any{"openapi": "3.0.3", "info": map[string]any{"title": "t", "version": "1"}, "paths": map[string]any{}, "components": map[string]any{"schemas": parts}})
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(data)
	require.NoError(t, err)
	return doc.Components.Schemas["root"].Value
}

// accepts tells whether the schema takes a text, which is YAML.
func accepts(t *testing.T, s *openapi3.Schema, text string) error {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal([]byte(text), &v))
	data, err := json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &v))
	return s.VisitJSON(v)
}

// TestSchemasTakeExamples: the schemas take what the examples hold.
func TestSchemasTakeExamples(t *testing.T) {
	schemas := map[string]*openapi3.Schema{"action": load(t, actionSchema), "workflow": load(t, workflowSchema)}
	found := map[string]int{}
	examples := os.DirFS("../../functions/examples")
	require.NoError(t, fs.WalkDir(examples, ".", func(name string, _ fs.DirEntry, err error) error {
		kind := ""
		switch {
		case err != nil:
			return err
		case path.Base(name) == "action.yaml":
			kind = "action"
		case path.Base(path.Dir(name)) == "workflows" && path.Ext(name) == ".yaml":
			kind = "workflow"
		default:
			return nil
		}
		text, err := fs.ReadFile(examples, name)
		require.NoError(t, err)
		found[kind]++
		require.NoError(t, accepts(t, schemas[kind], string(text)), name)
		return nil
	}))
	require.Positive(t, found["action"])
	require.Positive(t, found["workflow"])
}

// TestSchemasAgree: schema and reader take the same texts and refuse the same.
func TestSchemasAgree(t *testing.T) {
	actionOf := func(spec string) string {
		return "apiVersion: pelton.dev/v1\nkind: Processor\nspec: {runtime: python3, " + spec + "}"
	}
	workflowOf := func(spec string) string {
		return "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: w}\nspec: {" + spec + "}"
	}
	stepOf := func(more string) string { return workflowOf("steps: [{id: a, uses: count, " + more + "}]") }
	readAction := func(text string) bool {
		_, problems := action.Parse("action.yaml", []byte(text), "some-action")
		return !problems.Errors()
	}
	readWorkflow := func(text string) bool {
		_, problems := workflow.Parse("w.yaml", []byte(text))
		return !problems.Errors()
	}
	actions, workflows := load(t, actionSchema), load(t, workflowSchema)
	for _, c := range []struct {
		schema *openapi3.Schema
		read   func(string) bool
		text   string
		ok     bool
	}{
		{actions, readAction, actionOf("id: abc, version: 1.0, title: 3, description: d, logo: l.png, categories: [a]"), true},
		{actions, readAction, actionOf("inputs: [{name: a, type: enum, enum: [x, 1], default: x, optional: true, title: A, help: h}]"), true},
		{actions, readAction, actionOf("outputs: [{name: f, type: file, accept: [text/csv]}, {name: j, type: json, schema: {type: object}}]"), true},
		{actions, readAction, actionOf("effect: pure, isolation: reuse, concurrency: 4, timeout: 1h30m, options: {apt: [jq]}, resources: {cpu: 0.5, memory: 512M, time: 90, gpu: 1}"), true},
		{actions, readAction, actionOf("tests: [{name: t, inputs: {a: 1}, expect: {b: 2}}, {name: u, error: {kind: user_error}}]"), true},
		{actions, readAction, actionOf("metadata: {}"), false},
		{actions, readAction, actionOf("id: AB"), false},
		{actions, readAction, actionOf("inputs: [{name: a, type: integr}]"), false},
		{actions, readAction, actionOf("inputs: [{name: a b, type: string}]"), false},
		{actions, readAction, actionOf("inputs: [{name: a}]"), false},
		{actions, readAction, actionOf("inputs: [{name: a, type: string, dflt: 3}]"), false},
		{actions, readAction, actionOf("effect: none"), false},
		{actions, readAction, actionOf("concurrency: 0"), false},
		{actions, readAction, actionOf("timeout: soon"), false},
		{actions, readAction, actionOf("resources: {memory: much}"), false},
		{actions, readAction, actionOf("tests: [{name: t}]"), false},
		{actions, readAction, actionOf("tests: [{name: t, expect: {}, error: {}}]"), false},
		{actions, readAction, "apiVersion: pelton.dev/v1\nkind: Processor", false},
		{workflows, readWorkflow, stepOf("title: T, with: {a: 1}, needs: [], if: 'true', join: any, timeout: 5m, effect: read, resources: {}"), true},
		{workflows, readWorkflow, stepOf("join: 1, needs: [b]}, {id: b, uses: count, retry: {attempts: 3, backoff: 1s, factor: 2, cap: 1m, jitter: true, on: [timeout]}"), true},
		{workflows, readWorkflow, workflowOf("inputs: [{name: n, type: integer}], triggers: [{id: t, uses: cron, with: {schedule: '0 6 * * *'}, inputs: {n: 3}}], steps: [{id: a, uses: count}], result: {n: 1}, timeout: 1d"), true},
		{workflows, readWorkflow, workflowOf("steps: []"), false},
		{workflows, readWorkflow, workflowOf("result: {}"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: A, uses: count}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a}]"), false},
		{workflows, readWorkflow, stepOf("wiht: {}"), false},
		{workflows, readWorkflow, stepOf("join: some"), false},
		{workflows, readWorkflow, stepOf("loop: {}"), false},
		{workflows, readWorkflow, stepOf("retry: {backoff: 1s}"), false},
		{workflows, readWorkflow, stepOf("forEach: {in: '${[1]}', onError: skip}"), true},
		{workflows, readWorkflow, stepOf("forEach: {in: '${[1]}', onError: ignore}"), false},
		{workflows, readWorkflow, stepOf("loop: {until: pass.index == 2, max: 3, delay: 1s}, stepTimeout: 1h, catch: [{on: timeout, outputs: {a: 1}}], continueOnError: true"), true},
		{workflows, readWorkflow, stepOf("undo: {uses: count, with: {a: 1}, retry: {attempts: 2}, timeout: 1m}, effect: write}, {id: b, uses: count, cache: {key: k, ttl: 1h}, effect: pure"), true},
		{workflows, readWorkflow, stepOf("approval: {title: Go, approvers: [ada], reminder: 1d, timeout: 2d}, concurrency: {key: k, limit: 2}, priority: -3"), true},
		{workflows, readWorkflow, stepOf("wait: {for: 1s}"), false},
		{workflows, readWorkflow, stepOf("detach: true"), false},
		{workflows, readWorkflow, stepOf("cases: {x: [a]}"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {for: 1m}, retry: {attempts: 2}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {for: 1m}, with: {x: 1}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {signal: s}, stepTimeout: 1m}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, workflow: w2, undo: {uses: count}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}, {id: b, collect: a, forEach: {in: '${[1]}'}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}, {id: b, switch: '1', cases: {x: [a]}, continueOnError: true}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, switch: '1', cases: {}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {for: 1m, timeout: 1m}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {signal: s, timezone: Europe/Paris}}]"), false},
		{workflows, readWorkflow, stepOf("retry: {attempts: 2, on: [cancelled]}"), false},
		{workflows, readWorkflow, stepOf("catch: []"), false},
		{workflows, readWorkflow, stepOf("approval: {approvers: ['role:viewer']}"), false},
		{workflows, readWorkflow, stepOf("catch: {}"), false},
		{workflows, readWorkflow, stepOf("cache: {key: k}"), false},
		{workflows, readWorkflow, stepOf("priority: 101"), false},
		{workflows, readWorkflow, stepOf("concurrency: {policy: skip}"), false},
		{workflows, readWorkflow, stepOf("approval: {form: []}"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {for: 10m}}, {id: b, wait: {until: '2026-12-01T09:00:00', timezone: Europe/Paris}}, {id: c, wait: {signal: s, schema: {type: object}, timeout: 1d}}]"), true},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {approval: {title: T, form: [{name: n, type: integer}], approvers: ['role:admin']}, timeout: 1d}}]"), true},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, switch: inputs.x, cases: {y: [b], z: b2}, default: [c]}, {id: b, collect: c}, {id: b2, workflow: w2, detach: true}, {id: c, uses: u}], inputs: [{name: x, type: string}]"), true},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {for: 1s, signal: x}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, wait: {signal: 'A B'}}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, workflow: 'A B'}]"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}], inputs: [{name: k, type: string}], priority: 9, idempotencyKey: '${inputs.k}', concurrency: {key: k, limit: 2, policy: skip}, rateLimit: {key: k, count: 3, per: 1m, burst: 4}, onFailure: other, durability: none, retention: 30d"), true},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}], retention: 3 days"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}], rateLimit: {count: 3}"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}], durability: some"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: u}], concurrency: {policy: wait}"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: count}], onFailure: {}"), false},
		{workflows, readWorkflow, workflowOf("steps: [{id: a, uses: count}], result: done"), false},
		{workflows, readWorkflow, workflowOf("triggers: [{id: t}], steps: [{id: a, uses: count}]"), false},
	} {
		t.Run(c.text, func(t *testing.T) {
			require.Equal(t, c.ok, c.read(c.text), "the reader")
			err := accepts(t, c.schema, c.text)
			require.Equal(t, c.ok, err == nil, "the schema: %v", err)
		})
	}
}
