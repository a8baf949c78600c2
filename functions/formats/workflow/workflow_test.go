package workflow_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/problem"
	"github.com/pelton-run/pelton/functions/formats/workflow"
)

func resolve(uses string) (action.Action, error) {
	switch uses {
	case "count":
		return action.Action{ID: "count", Kind: "Processor", Inputs: []action.Item{{Name: "text", Type: "longstring"}, {Name: "min", Type: "integer", Optional: true}},
			Outputs: []action.Item{{Name: "words", Type: "integer"}, {Name: "list", Type: "list"}}}, nil
	case "clock":
		return action.Action{ID: "clock", Kind: "Source"}, nil
	}
	if effect, ok := map[string]string{"look": "read", "put": "write", "send": "irreversible"}[uses]; ok {
		return action.Action{ID: uses, Kind: "Processor", Effect: effect, Inputs: []action.Item{{Name: "q", Type: "string", Optional: true}},
			Outputs: []action.Item{{Name: "id", Type: "string"}, {Name: "done", Type: "boolean"}, {Name: "token", Type: "password"}}}, nil
	}
	return action.Action{}, fmt.Errorf("there is no action %q in the library", uses)
}

// siblings knows one other workflow of the project.
func siblings(name string) (workflow.Workflow, bool) {
	return workflow.Workflow{Name: "other", Inputs: []action.Item{{Name: "order", Type: "integer"}, {Name: "pin", Type: "password", Optional: true}},
		Result: []workflow.Value{{Name: "total"}}}, name == "other"
}

func check(yaml string) []string {
	w, problems := workflow.Parse("w.yaml", []byte(yaml))
	if !problems.Errors() {
		problems = append(problems, w.CheckUses("w.yaml", resolve, siblings)...)
	}
	return texts(problems)
}

func texts(list problem.List) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Error())
	}
	return out
}

const head = "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: w}\nspec:\n  inputs: [{name: city, type: string}]\n"

func TestGood(t *testing.T) {
	require.Empty(t, check(head+`  triggers:
    - {id: up, uses: http, with: {method: POST, path: "/w/{city}", mode: sync, timeout: 30s, auth: key}}
    - {id: night, uses: cron, with: {schedule: "0 6 * * *", timezone: Europe/Paris, catchUp: all, overlap: skip, jitter: 30s}, inputs: {city: "${event.scheduled_at}"}}
  steps:
    - {id: a, uses: count, with: {text: "${inputs.city}"}}
    - id: b
      forEach: {in: "${steps.a.list}", as: it, concurrency: 2}
      uses: count
      with: {text: "${it}", min: "${steps.a.words + 1}"}
      if: steps.a.words > 0
      retry: {attempts: 3, backoff: 1s}
    - {id: c, uses: count, with: {text: "${steps.b.map(x, string(x.words)).join(\",\")}"}}
  result: {all: "${steps.c.words}"}
`))
}

func TestNeeds(t *testing.T) {
	w, problems := workflow.Parse("w.yaml", []byte(head+"  steps:\n    - {id: a, uses: count, with: {text: x}}\n    - {id: b, uses: count, if: steps.a.words > 0, with: {text: \"${steps.a.list.map(s, s)}\"}}\n    - {id: c, uses: count, needs: [a], with: {text: \"${steps.b.words}\"}}\n"))
	require.Empty(t, problems)
	require.Equal(t, []string{"a"}, w.Steps[1].Needs)
	require.Equal(t, []string{"a", "b"}, w.Steps[2].Needs)
}

func TestBadWorkflows(t *testing.T) {
	step := func(s string) string {
		return head + "  steps:\n    - {id: a, uses: count, with: {text: x}}\n    - " + s + "\n"
	}
	for name, c := range map[string]struct{ yaml, want string }{
		"no name":              {"apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {}\nspec: {steps: [{id: a, uses: count}]}", "w.yaml:3: metadata: name is missing (name the workflow)"},
		"bad name":             {"apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: My Flow}\nspec: {steps: [{id: a, uses: count}]}", "w.yaml:3: metadata.name: is \"My Flow\" (give 1 to 63 of a-z, 0-9 and -)"},
		"no steps":             {head, "w.yaml:5: spec: steps is missing (add at least one step)"},
		"empty steps":          {head + "  steps: []\n", "w.yaml:6: spec.steps: there are no steps (add at least one step)"},
		"spec field":           {head + "  stpes: []\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.stpes: is no field here (did you mean steps?)"},
		"step without id":      {step("{uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1]: id is missing (name the step)"},
		"bad step id":          {step("{id: B-1, uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1].id: is \"B-1\" (give a-z, 0-9 and _, a letter first)"},
		"step id twice":        {step("{id: a, uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1].id: the id \"a\" is given twice (rename one of them)"},
		"reserved id":          {step("{id: steps, uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1].id: \"steps\" is a word of expressions (choose another name)"},
		"no uses":              {step("{id: b, with: {text: x}}"), "w.yaml:8: spec.steps[1]: uses is missing (give an action: ./actions/name, id or id@version; or one of workflow, wait, switch and collect)"},
		"unknown action":       {step("{id: b, uses: cuont, with: {text: x}}"), "w.yaml:8: spec.steps[1].uses: there is no action \"cuont\" in the library"},
		"source as step":       {step("{id: b, uses: clock}"), "w.yaml:8: spec.steps[1].uses: clock is a source, not a step (use it as a trigger)"},
		"unknown input":        {step("{id: b, uses: count, with: {txt: x, text: y}}"), "w.yaml:8: spec.steps[1].with.txt: count has no input \"txt\" (did you mean text?)"},
		"missing input":        {step("{id: b, uses: count, with: {min: 1}}"), "w.yaml:8: spec.steps[1].with: the input \"text\" of count is missing (add text: a longstring)"},
		"wrong literal":        {step("{id: b, uses: count, with: {text: x, min: many}}"), "w.yaml:8: spec.steps[1].with.min: is \"many\", which is no integer (give a integer)"},
		"wrong type":           {step("{id: b, uses: count, with: {text: x, min: \"${steps.a.list}\"}}"), "w.yaml:8: spec.steps[1].with.min: steps.a.list is a list and the input \"min\" is an integer (give an integer)"},
		"unknown output":       {step("{id: b, uses: count, with: {text: \"${steps.a.wrods}\"}}"), "w.yaml:8: spec.steps[1].with.text: step a (count) has no output \"wrods\" (did you mean words?)"},
		"unknown step":         {step("{id: b, uses: count, with: {text: \"${steps.aa.words}\"}}"), "w.yaml:8: spec.steps[1].with.text: there is no step \"aa\" (did you mean a?)"},
		"unknown need":         {step("{id: b, uses: count, needs: [z9], with: {text: x}}"), "w.yaml:8: spec.steps[1]: there is no step \"z9\" (the steps are a, b)"},
		"unknown root":         {step("{id: b, uses: count, with: {text: \"${input.city}\"}}"), "w.yaml:8: spec.steps[1].with.text: nothing is named \"input\" here (did you mean inputs?)"},
		"unknown wf input":     {step("{id: b, uses: count, with: {text: \"${inputs.ciy}\"}}"), "w.yaml:8: spec.steps[1].with.text: the workflow has no input \"ciy\" (did you mean city?)"},
		"bare name":            {step("{id: b, uses: count, with: {text: \"${city}\"}}"), "w.yaml:8: spec.steps[1].with.text: nothing is named \"city\" here (write inputs.city)"},
		"itself":               {step("{id: b, uses: count, with: {text: \"${steps.b.words}\"}}"), "w.yaml:8: spec.steps[1].with.text: step b refers to itself (name an earlier step)"},
		"not closed":           {step("{id: b, uses: count, with: {text: \"${steps.a.words\"}}"), "w.yaml:8: spec.steps[1].with.text: a ${ is not closed (close every ${ with }, or write $${ for the characters themselves)"},
		"no expression":        {step("{id: b, uses: count, with: {text: \"${}\"}}"), "w.yaml:8: spec.steps[1].with.text: the expression \"\" is not valid: it is empty"},
		"secrets in if":        {step("{id: b, uses: count, if: secrets.x == 'y', with: {text: x}}"), "w.yaml:8: spec.steps[1].if: secrets cannot be used here: the value would be kept in the history (pass the secret to a step's input of the type password)"},
		"event in a step":      {step("{id: b, uses: count, with: {text: \"${event.body}\"}}"), "w.yaml:8: spec.steps[1].with.text: event is for the inputs of a trigger (use trigger)"},
		"onError":              {step("{id: b, forEach: {in: \"${steps.a.list}\", onError: skp}, uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1].forEach.onError: is \"skp\" (did you mean skip?)"},
		"timeout":              {step("{id: b, uses: count, timeout: never, with: {text: x}}"), "w.yaml:8: spec.steps[1].timeout: is \"never\" (give a duration such as 500ms, 30s, 5m, 2h or 1d)"},
		"retry":                {step("{id: b, uses: count, retry: {attempts: 0}, with: {text: x}}"), "w.yaml:8: spec.steps[1].retry.attempts: is \"0\" (give a whole number from 1 to 1000)"},
		"retry field":          {step("{id: b, uses: count, retry: {attempts: 2, back: 1s}, with: {text: x}}"), "w.yaml:8: spec.steps[1].retry.back: is no field here"},
		"trigger without id":   {head + "  triggers: [{uses: http}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0]: id is missing (name the trigger)"},
		"http method":          {head + "  triggers: [{id: t, uses: http, with: {method: SHOUTING}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.method: is \"SHOUTING\" (give one of GET, POST, PUT, PATCH, DELETE, ANY)"},
		"http path":            {head + "  triggers: [{id: t, uses: http, with: {path: x}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.path: is \"x\" (start it with /)"},
		"http body":            {head + "  triggers: [{id: t, uses: http, with: {body: data}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.body: there is no input \"data\" (name one of the workflow's inputs)"},
		"streamed step":        {head + "  triggers: [{id: t, uses: http, with: {mode: stream, stream: b}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", `w.yaml:6: spec.triggers[0].with.stream: there is no step "b" (name one of the workflow's steps)`},
		"signature, no secret": {head + "  triggers: [{id: t, uses: http, with: {auth: signature}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with: secret is missing (name the project's secret that requests are signed with)"},
		"secret, no signature": {head + "  triggers: [{id: t, uses: http, with: {secret: s}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.secret: only a trigger with auth: signature has it (add auth: signature, or leave it out)"},
		"signature scheme":     {head + "  triggers: [{id: t, uses: http, with: {auth: signature, secret: s, scheme: x}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", `w.yaml:6: spec.triggers[0].with.scheme: is "x" (give one of standard, github)`},
		"stream in a sync":     {head + "  triggers: [{id: t, uses: http, with: {stream: a}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.stream: only a trigger of mode stream has it (add mode: stream, or leave it out)"},
		"response of stream":   {head + "  triggers: [{id: t, uses: http, with: {mode: stream, response: {status: 201}}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.response: the answer of a trigger of mode stream is its events (leave it out)"},
		"http setting":         {head + "  triggers: [{id: t, uses: http, with: {mod: sync}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.mod: is no field here (did you mean mode?)"},
		"cron fields":          {head + "  triggers: [{id: t, uses: cron, with: {schedule: daily}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.schedule: is \"daily\" (give five fields such as \"0 6 * * *\")"},
		"cron zone":            {head + "  triggers: [{id: t, uses: cron, with: {schedule: \"0 6 * * *\", timezone: Mars/Base}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.timezone: the time zone \"Mars/Base\" is not known (give a name such as Europe/Paris)"},
		"cron catch-up":        {head + "  triggers: [{id: t, uses: cron, with: {schedule: \"@daily\", catchUp: some}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.catchUp: is \"some\" (did you mean none?)"},
		"cron overlap":         {head + "  triggers: [{id: t, uses: cron, with: {schedule: \"@daily\", overlap: queue}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.overlap: is \"queue\" (give one of allow, skip, cancel-previous)"},
		"cron jitter":          {head + "  triggers: [{id: t, uses: cron, with: {schedule: \"@daily\", jitter: 2h}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].with.jitter: is \"2h\" (give a duration such as 30s or 5m, at most 1h)"},
		"trigger input":        {head + "  triggers: [{id: t, uses: http, inputs: {citty: x}}]\n  steps: [{id: a, uses: count, with: {text: x}}]\n", "w.yaml:6: spec.triggers[0].inputs.citty: the workflow has no input \"citty\" (did you mean city?)"},
		"result":               {head + "  steps: [{id: a, uses: count, with: {text: x}}]\n  result: \"${steps.a.words}\"\n", "w.yaml:7: spec.result: is no mapping (give names: result: {report: \"${steps.x.y}\"})"},
		"unquoted":             {head + "  steps:\n    - {id: a, uses: count, with: {text: ${inputs.city}}}\n", "w.yaml:7: is not YAML: did not find expected ',' or '}' (quote this value: a value with ${ needs quotes)"},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, check(c.yaml), c.want) })
	}
	require.Contains(t, check(head + "  steps:\n    - {id: a, uses: count, with: {text: \"${steps.b.words}\"}}\n    - {id: b, uses: count, with: {text: \"${steps.a.words}\"}}\n")[0], "steps need each other in a circle: a -> b -> a")
}
