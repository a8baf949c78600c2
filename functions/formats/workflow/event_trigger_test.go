package workflow_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

func TestEventTriggers(t *testing.T) {
	for _, c := range []struct{ trigger, says string }{
		{"uses: workflow-end, with: {workflow: other}", ""},
		{"uses: workflow-end, with: {workflow: other, on: failure}", ""},
		{"uses: workflow-end", "a trigger of the kind workflow-end wants the workflow"},
		{"uses: workflow-end, with: {on: any}", "workflow is missing"},
		{"uses: workflow-end, with: {workflow: me}", "would start the next one, for ever"},
		{"uses: workflow-end, with: {workflow: other, on: end}", `"end"`},
		{"uses: workflow-end, with: {workflw: other}", "workflw"},
		{"uses: platform-event, with: {types: [io.pelton.action.built.v1, 'io.pelton.run.*']}", ""},
		{"uses: platform-event, with: {types: [io.pelton.run.failed.v1], filter: [{exact: {workflow: x}}]}", ""},
		{"uses: platform-event", "wants the types of events"},
		{"uses: platform-event, with: {types: [com.example.x]}", `no platform event has the type "com.example.x"`},
		{"uses: platform-event, with: {types: [io.pelton.run.failed.v1], reply: {type: x}}", "reply"},
		{"uses: cloudevent", ""},
		{"uses: cloudevent, with: {types: ['com.example.*'], filter: [{prefix: {source: /shop}}, {cel: 'event.data.total > 100'}], reply: {type: com.example.checked, source: /checks}, timeout: 10s}", ""},
		{"uses: cloudevent, with: {types: ['a b']}", `is "a b"`},
		{"uses: cloudevent, with: {filter: [{exect: {a: b}}]}", "is no clause"},
		{"uses: cloudevent, with: {filter: [{cel: 'nothing > 1'}]}", "undeclared reference"},
		{"uses: cloudevent, with: {reply: {}}", "type is missing"},
		{"uses: cloudevent, with: {reply: {type: 'a b'}}", "a b"},
		{"uses: cloudevent, with: {timeout: 10s}", "nobody waits for the end of the run"},
		{"uses: cloudevent, with: {type: x}", "type"},
	} {
		w, problems := workflow.Parse("w.yaml", []byte("apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: me}\nspec:\n  triggers: [{id: t, "+c.trigger+"}]\n  steps: [{id: a, wait: {for: 1s}}]\n"))
		problems = append(problems, w.CheckUses("w.yaml", resolve, nil)...)
		var text strings.Builder
		for _, p := range problems {

			require.Positive(t, p.Line)
			text.WriteString(p.Path + " " + p.Message + "\n")
		}
		if c.says == "" {
			require.Empty(t, text.String(), c.trigger)
			continue
		}
		require.Contains(t, text.String(), c.says, c.trigger)
	}
}
