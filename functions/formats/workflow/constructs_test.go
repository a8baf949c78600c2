package workflow_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

const everything = head + `  priority: 5
  idempotencyKey: "order-${inputs.city}"
  concurrency: {key: "${inputs.city}", limit: 2, policy: cancel-oldest}
  rateLimit: {key: "${inputs.city}", count: 10, per: 1m, burst: 20}
  onFailure: notify
  steps:
    - id: a
      uses: count
      with: {text: "${inputs.city}"}
      loop: {until: "pass.last.words > 3 || pass.index == 4", max: 5, delay: 2s}
      stepTimeout: 6h
      catch:
        - {on: [timeout, loop_limit], outputs: {words: 0, list: ["${error.kind}"]}}
      undo: {uses: count, with: {text: "${steps.a.words}"}, retry: {attempts: 2}, timeout: 5m}
      effect: read
      cache: {key: "${inputs.city}", ttl: 1h}
      approval: {title: "Count ${inputs.city}?", approvers: [ada, "role:operator"], reminder: 1d, timeout: 3d}
      concurrency: {key: "${inputs.city}", limit: 3}
      priority: -5
    - {id: route, switch: "steps.a.words > 1", cases: {"true": [many], "false": [few]}, default: [none]}
    - {id: many, uses: count, with: {text: many}, continueOnError: true}
    - {id: few, uses: count, with: {text: few}}
    - {id: none, workflow: other, with: {city: "${inputs.city}"}, detach: true}
    - {id: pause, wait: {for: 10m}}
    - {id: at, wait: {until: "2026-12-01T09:00:00", timezone: Europe/Paris}}
    - {id: paid, wait: {signal: payment, timeout: 2d, schema: {type: object}}}
    - {id: ok, wait: {approval: {title: "Ship ${inputs.city}?", form: [{name: price, type: integer}], approvers: [ada], reminder: 1d}, timeout: 3d}}
    - {id: each, uses: count, forEach: {in: "${steps.a.list}", onError: collect}, with: {text: "${item}"}}
    - {id: all, collect: few}
    - id: end
      needs: [many, few, none]
      join: any
      if: always()
      uses: count
      with: {text: "${steps.many.?words.orValue(0)} ${errorOf('many') == null} ${steps.ok.by} ${steps.all.?items.orValue([]).size()} ${steps.paid.payload.id}"}
`

func TestEverything(t *testing.T) {
	require.Empty(t, check(everything))
	w, _ := workflow.Parse("w.yaml", []byte(everything))
	require.Equal(t, []string{"a"}, w.Steps[1].Needs)
	require.Equal(t, []string{"route"}, w.Steps[2].Needs)
	require.Equal(t, []string{"few"}, w.Steps[10].Needs)
	require.Len(t, w.Steps[2].Catch, 1)
	require.Equal(t, "pass.last.words > 3 || pass.index == 4", w.Steps[0].Loop.Until)
	require.Equal(t, -5, *w.Steps[0].Priority)
	require.Equal(t, workflow.KindWait, w.Steps[7].Kind)
	require.Equal(t, "cancel-oldest", w.Concurrency.Policy)
}

func TestBadConstructs(t *testing.T) {
	step := func(s string) string {
		return head + "  steps:\n    - {id: a, uses: count, with: {text: x}}\n    - " + s + "\n"
	}
	spec := func(s string) string {
		return head + "  " + s + "\n  steps:\n    - {id: a, uses: count, with: {text: x}}\n"
	}
	for i, c := range []struct{ yaml, want string }{
		{step("{id: b, uses: count, wait: {for: 1s}, with: {text: x}}"), "w.yaml:8: spec.steps[1]: a step does one thing, this has uses and wait (make a step of each and let one need the other)"},
		{step("{id: b, wait: {for: soon}}"), "w.yaml:8: spec.steps[1].wait.for: is \"soon\" (give a duration such as 500ms, 30s, 5m, 2h or 1d)"},
		{step("{id: b, wait: {}}"), "w.yaml:8: spec.steps[1].wait: it waits for one thing, this has none (give one of for, until, signal and approval)"},
		{step("{id: b, wait: {for: 1s, signal: x}}"), "w.yaml:8: spec.steps[1].wait: it waits for one thing, this has for and signal (give one of for, until, signal and approval)"},
		{step("{id: b, wait: {until: tomorrow}}"), "w.yaml:8: spec.steps[1].wait.until: \"tomorrow\" is no instant (write 2026-12-01T09:00:00Z, or a local time together with timezone)"},
		{step("{id: b, wait: {until: \"2026-12-01T09:00:00\", timezone: Mars/Base}}"), "w.yaml:8: spec.steps[1].wait.timezone: the time zone \"Mars/Base\" is not known (give a name such as Europe/Paris)"},
		{step("{id: b, wait: {for: 1s, timezone: Europe/Paris}}"), "w.yaml:8: spec.steps[1].wait.timezone: timezone belongs to until (leave it out)"},
		{step("{id: b, wait: {for: 1s, timeout: 2s}}"), "w.yaml:8: spec.steps[1].wait.timeout: timeout belongs to signal and approval (leave it out)"},
		{step("{id: b, wait: {signal: Pay Me}}"), "w.yaml:8: spec.steps[1].wait.signal: is \"Pay Me\" (give 1 to 63 of a-z, 0-9 and -)"},
		{step("{id: b, wait: {signal: pay, schema: {type: 7}}}"), "w.yaml:8: spec.steps[1].wait.schema"},
		{step("{id: b, wait: {for: 1s, schema: {}}}"), "w.yaml:8: spec.steps[1].wait.schema: schema belongs to signal (leave it out)"},
		{step("{id: b, wait: {approval: {approvers: [\"role:king\"]}}}"), "w.yaml:8: spec.steps[1].wait.approval.approvers: entry 1, \"role:king\", names nobody who may decide (give a user's name, or role:operator, role:developer or role:admin)"},
		{step("{id: b, wait: {approval: {titel: x}}}"), "w.yaml:8: spec.steps[1].wait.approval.titel: is no field here (did you mean title?)"},
		{step("{id: b, wait: {approval: {timeout: 1d}}}"), "w.yaml:8: spec.steps[1].wait.approval.timeout: timeout belongs to the wait (write it beside approval, under wait)"},
		{step("{id: b, wait: {for: 1s}, with: {text: x}}"), "w.yaml:8: spec.steps[1].with: a step of the kind wait takes no inputs (leave it out)"},
		{step("{id: b, wait: {for: 1s}, retry: {attempts: 2}}"), "w.yaml:8: spec.steps[1].retry: retry is for steps with uses or workflow (leave it out)"},
		{step("{id: b, wait: {for: 1s}, undo: {uses: count}}"), "w.yaml:8: spec.steps[1].undo: undo is for steps with uses (leave it out)"},
		{step("{id: b, uses: count, with: {text: x}, detach: true}"), "w.yaml:8: spec.steps[1].detach: detach is for steps with workflow (leave it out)"},
		{step("{id: b, uses: count, with: {text: x}, cases: {a: [a]}}"), "w.yaml:8: spec.steps[1].cases: cases is for steps with switch (leave it out)"},
		{step("{id: b, workflow: Other One}"), "w.yaml:8: spec.steps[1].workflow: is \"Other One\" (give the name of a workflow of this project)"},
		{step("{id: b, switch: steps.a.words}"), "w.yaml:8: spec.steps[1]: cases is missing (add cases: {value: [step]})"},
		{step("{id: b, switch: steps.a.words, cases: {\"1\": [zz]}}"), "w.yaml:8: spec.steps[1]: there is no step \"zz\" (the steps are a, b)"},
		{step("{id: b, switch: inputs.city, cases: {x: [c], y: [c]}}\n    - {id: c, uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1]: step c is chosen in two places: b.cases.x and b.cases.y (let it need both steps that lead to it, with join: any)"},
		{step("{id: b, switch: steps.a.words, cases: {x: [a]}}"), "w.yaml:7: spec.steps[0]: steps need each other in a circle: a -> b -> a (break the circle)"},
		{step("{id: b, switch: steps.a.words, cases: {x: []}, forEach: {in: \"${steps.a.list}\"}}"), "w.yaml:8: spec.steps[1].forEach: forEach is for steps with uses, workflow or wait (leave it out)"},
		{step("{id: b, collect: zz}"), "w.yaml:8: spec.steps[1].collect: there is no step \"zz\" (the steps are a, b)"},
		{step("{id: b, uses: count, with: {text: x}, loop: {until: pass.index == 1}}"), "w.yaml:8: spec.steps[1].loop: max is missing (give how often it runs at most)"},
		{step("{id: b, uses: count, with: {text: x}, loop: {max: 3}}"), "w.yaml:8: spec.steps[1].loop: until is missing (give the condition that ends it, such as pass.last.done)"},
		{step("{id: b, uses: count, with: {text: x}, loop: {until: pass.index == 1, max: 3}, forEach: {in: \"${steps.a.list}\"}}"), "w.yaml:8: spec.steps[1].loop: a step has either forEach or loop (put one of them into a sub-workflow)"},
		{step("{id: b, uses: count, with: {text: x}, loop: {until: steps.a.words, max: 3}}"), "w.yaml:8: spec.steps[1].loop.until: loop.until wants a condition, this is an integer (compare it, as in x > 0)"},
		{step("{id: b, uses: count, with: {text: \"${pass.index}\"}}"), "w.yaml:8: spec.steps[1].with.text: pass is for steps with a loop (give the step a loop, or leave it out)"},
		{step("{id: b, uses: count, with: {text: \"${pass.times}\"}, loop: {until: pass.index == 1, max: 3}}"), "w.yaml:8: spec.steps[1].with.text: pass has no \"times\" (use pass.index or pass.last)"},
		{step("{id: b, uses: count, with: {text: \"${error.kind}\"}}"), "w.yaml:8: spec.steps[1].with.text: error is for the outputs of catch (use errorOf(\"step\") elsewhere)"},
		{step("{id: b, uses: count, with: {text: x}, catch: [{kinds: [timeout]}]}"), "w.yaml:8: spec.steps[1].catch[0].kinds: is no field here"},
		{step("{id: b, uses: count, with: {text: x}, catch: {on: timeout}}"), "w.yaml:8: spec.steps[1].catch: is no list (write a list: one element a line behind -)"},
		{step("{id: b, uses: count, with: {text: x}, undo: {uses: cuont}}"), "w.yaml:8: spec.steps[1].undo.uses: there is no action \"cuont\" in the library"},
		{step("{id: b, uses: count, with: {text: x}, undo: {uses: count, with: {txt: x, text: y}}}"), "w.yaml:8: spec.steps[1].undo.with.txt: count has no input \"txt\" (did you mean text?)"},
		{step("{id: b, uses: count, with: {text: x}, undo: {uses: count}}"), "w.yaml:8: spec.steps[1].undo: the input \"text\" of count is missing (add it under with: a longstring)"},
		{step("{id: b, uses: count, with: {text: x}, cache: {key: x, ttl: 1h}}"), "w.yaml:8: spec.steps[1].cache: only steps with the effect pure or read are cached, this one's is \"\" (write effect: pure or effect: read if that is what it is)"},
		{step("{id: b, uses: count, with: {text: x}, effect: pure, cache: {ttl: 1h}}"), "w.yaml:8: spec.steps[1].cache: key is missing (give what the outputs depend on: \"${inputs.x}\")"},
		{step("{id: b, uses: count, with: {text: x}, effect: pure, cache: {key: \"${secrets.x}\", ttl: 1h}}"), "w.yaml:8: spec.steps[1].cache.key: secrets cannot be used here: the value would be kept in the history (pass the secret to a step's input of the type password)"},
		{step("{id: b, uses: count, with: {text: x}, effect: fun}"), "w.yaml:8: spec.steps[1].effect: is \"fun\" (give one of pure, read, write, irreversible)"},
		{step("{id: b, uses: count, with: {text: x}, effect: irreversible, retry: {attempts: 3, on: [timeout]}}"), "w.yaml:8: spec.steps[1].retry.on: after timeout nobody knows whether the irreversible effect took place, so it is never tried again by itself (name kinds that the action raises before its effect, such as user_error)"},
		{step("{id: b, uses: count, with: {text: x}, approval: {form: [{name: x, type: integer}]}}"), "w.yaml:8: spec.steps[1].approval.form: a form has no place here: nothing could read it (ask in a step of its own: wait: {approval: …})"},
		{step("{id: b, uses: count, with: {text: x}, concurrency: {policy: skip}}"), "w.yaml:8: spec.steps[1].concurrency.policy: steps wait for their turn; a policy is for the concurrency of the workflow (leave it out)"},
		{step("{id: b, uses: count, with: {text: x}, concurrency: {limit: 0}}"), "w.yaml:8: spec.steps[1].concurrency.limit: is \"0\" (give a whole number from 1 to 100000)"},
		{step("{id: b, uses: count, with: {text: x}, priority: 101}"), "w.yaml:8: spec.steps[1].priority: is \"101\" (give a whole number from -100 to 100)"},
		{step("{id: b, uses: count, continueOnError: true, with: {text: x}}\n    - {id: c, uses: count, with: {text: \"${steps.b.words}\"}}"), "w.yaml:9: spec.steps[2].with.text: step c runs even when step b has failed and that is caught, and b then has no output \"words\" (write steps.b.?words.orValue(…))"},
		{step("{id: b, switch: inputs.city, cases: {x: [c]}, default: [d]}\n    - {id: c, uses: count, with: {text: x}}\n    - {id: d, uses: count, with: {text: x}}\n    - {id: e, uses: count, needs: [c, d], join: any, with: {text: \"${steps.c.words}\"}}"), "w.yaml:11: spec.steps[4].with.text: step e runs even when step c is skipped, and c then has no output \"words\" (write steps.c.?words.orValue(…))"},
		{step("{id: b, wait: {signal: pay}}\n    - {id: c, uses: count, with: {text: \"${steps.b.paylod}\"}}"), "w.yaml:9: spec.steps[2].with.text: step b (b) has no output \"paylod\" (did you mean payload?)"},
		{step("{id: b, uses: count, if: \"failed('zz')\", with: {text: x}}"), "w.yaml:8: spec.steps[1].if: there is no step \"zz\" (the steps are a, b)"},
		{step("{id: pass, uses: count, with: {text: x}}"), "w.yaml:8: spec.steps[1].id: \"pass\" is a word of expressions (choose another name)"},
		{spec("priority: high"), "w.yaml:6: spec.priority: is \"high\" (give a whole number from -100 to 100)"},
		{spec("idempotencyKey: always"), "w.yaml:6: spec.idempotencyKey: a key that is always the same starts one run for ever (read something that tells runs apart: \"${inputs.order}\")"},
		{spec("idempotencyKey: \"${steps.a.words}\""), "w.yaml:6: spec.idempotencyKey: steps have not run when this is read (read inputs, trigger or vars)"},
		{spec("concurrency: {policy: wait}"), "w.yaml:6: spec.concurrency.policy: is \"wait\" (give one of queue, skip, cancel-oldest)"},
		{spec("rateLimit: {per: 1m}"), "w.yaml:6: spec.rateLimit: count is missing (give how many may start in that time)"},
		{spec("rateLimit: {count: 5, per: 0s}"), "w.yaml:6: spec.rateLimit.per: it must be longer than nothing (give a time such as 1m)"},
		{spec("onFailure: w"), "w.yaml:6: spec.onFailure: a workflow cannot handle its own failures (name another workflow)"},
		{spec("durability: eventually"), "w.yaml:6: spec.durability: is \"eventually\" (give one of strict, none)"},
		{spec("concurrency: {key: \"${secrets.x}\"}"), "w.yaml:6: spec.concurrency.key: secrets cannot be used here: the value would be kept in the history (pass the secret to a step's input of the type password)"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			got := check(c.yaml)
			found := false
			for _, g := range got {
				found = found || g == c.want || len(c.want) < 60 && len(g) > len(c.want) && g[:len(c.want)] == c.want
			}
			require.True(t, found, "want %s\ngot  %q", c.want, got)
		})
	}
}
