package workflow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pelton-run/pelton/functions/formats/workflow"
)

const everything = `apiVersion: pelton.dev/v1
kind: Workflow
metadata: {name: w}
spec:
  inputs:
    - {name: order, type: string}
    - {name: kind, type: enum, enum: [invoice, order, none]}
    - {name: pin, type: password, optional: true}
    - {name: when, type: string, default: "2026-12-01T09:00:00Z"}
  timeout: 7d
  priority: -5
  idempotencyKey: "${inputs.order}"
  concurrency: {key: "${inputs.order}", limit: 2, policy: cancel-oldest}
  rateLimit: {key: ["${trigger.ip}", "${vars.env}"], count: 10, per: 1m, burst: 20}
  onFailure: notify
  durability: strict
  retention: 30d
  steps:
    - id: route
      switch: inputs.kind
      cases: {invoice: [book], order: [ship, label], none: []}
      default: other
    - {id: book, uses: look, with: {q: "${steps.route.case == null ? \"\" : inputs.order}"}, cache: {key: "${inputs.order}", ttl: 1h}}
    - id: ship
      uses: put
      with: {q: "${secrets.key}"}
      retry: {attempts: 3, backoff: 1s, factor: 3, cap: 1h, jitter: true, on: [timeout, user_error]}
      timeout: 10m
      stepTimeout: 1h
      undo: {uses: put, with: {q: "${steps.ship.id + secrets.key}"}, retry: {attempts: 5}, timeout: 5m}
      approval: {title: "Ship ${inputs.order}?", approvers: [ada, "role:operator"], reminder: 1d, timeout: 3d}
      concurrency: {key: "${inputs.order}", limit: 1}
      priority: 7
      effect: write
    - {id: label, uses: put, retry: {attempts: 2}}
    - {id: other, uses: send, retry: {attempts: 2, on: [user_error, not_found]}}
    - id: poll
      uses: look
      with: {q: "${string(pass.index) + pass.last.?id.orValue(\"\")}"}
      loop: {until: "pass.last.done && pass.index >= 1", max: 20, delay: 5s}
    - id: tried
      uses: look
      catch:
        - {on: [timeout, not_found], outputs: {id: "${error.kind + error.message + error.code}", done: false, token: ""}}
        - {on: invalid_input, outputs: {id: "${string(error.details.x)}", done: true, token: ""}}
    - {id: risky, uses: look, continueOnError: true, with: {q: "${steps.tried.id}"}}
    - {id: after, uses: count, with: {text: "${steps.risky.?id.orValue(errorOf(\"risky\").kind)}"}}
    - {id: mend, uses: count, if: "failed(\"risky\") || errorOf(\"tried\") != null || skipped(\"book\")", with: {text: "${has(steps.book.id) ? steps.book.id : \"\"}"}}
    - {id: first, uses: count, needs: [book, ship], join: any, with: {text: "${steps.book.?id.orValue(steps.ship.?id.orValue(\"\"))}"}}
    - id: many
      forEach: {in: "${steps.after.list}", as: it, concurrency: 8, onError: collect}
      uses: put
      with: {q: "${it}"}
      undo: {uses: put, with: {q: "${steps.many.id + string(it)}"}}
      concurrency: {key: "${it}"}
    - {id: bad, uses: count, with: {text: "${steps.many.filter(m, has(m.error)).map(m, m.error.kind).join()}"}}
    - {id: sub, workflow: other, with: {order: 3, pin: "${secrets.pin}"}, timeout: 1h, retry: {attempts: 2}, catch: [{on: [timeout], outputs: {total: 0}}]}
    - {id: away, workflow: unheard-of, with: {x: "${inputs.order}"}, detach: true}
    - {id: pause, wait: {for: 10m}}
    - {id: pause2, wait: {for: "${steps.after.words}"}}
    - {id: at, wait: {until: "2026-12-01T09:00:00", timezone: Europe/Paris}}
    - {id: at2, wait: {until: "${inputs.when}"}}
    - {id: paid, wait: {signal: payment, timeout: 2d, schema: {type: object, properties: {sum: {type: number}}}}, catch: [{on: [timeout], outputs: {payload: null}}]}
    - id: ok
      wait:
        approval: {title: "Pay ${steps.paid.payload.sum}?", form: [{name: note, type: string}, {name: n, type: integer, optional: true}], approvers: role:admin, reminder: 1d}
        timeout: 3d
    - {id: say, uses: count, with: {text: "${steps.ok.by + steps.ok.comment + steps.ok.values.note}", min: "${steps.ok.values.n + steps.sub.total}"}, if: steps.ok.approved}
    - {id: all, collect: label}
    - {id: last, uses: count, with: {text: "${steps.all.items.map(i, i.id).join() + steps.away.run}"}}
  result: {words: "${steps.after.words}", why: "${errorOf(\"risky\")}", fell: "${failed(\"risky\")}"}
`

func TestEveryConstruct(t *testing.T) {
	require.Empty(t, check(everything))
	w, _ := workflow.Parse("w.yaml", []byte(everything))
	by := map[string]workflow.Step{}
	for _, s := range w.Steps {
		by[s.ID] = s
	}
	require.Equal(t, -5, w.Priority)
	require.Equal(t, "cancel-oldest", w.Concurrency.Policy)
	require.Equal(t, []any{2, 20, "notify", "strict"}, []any{w.Concurrency.Limit, w.RateLimit.Burst, w.OnFailure, w.Durability})
	require.Equal(t, 30*24*time.Hour, w.Retention)
	require.JSONEq(t, `["${trigger.ip}", "${vars.env}"]`, string(w.RateLimit.Key.JSON))
	for _, id := range []string{"book", "ship", "label", "other"} {
		require.Contains(t, by[id].Needs, "route", id)
	}
	require.Equal(t, []string{"label"}, by["all"].Needs)
	require.ElementsMatch(t, []string{"risky", "tried", "book"}, by["mend"].Needs)
	require.Equal(t, workflow.KindWait, by["pause"].Kind)
	require.Equal(t, `"10m"`, string(by["pause"].Wait.For.JSON))
	require.Equal(t, 3*24*time.Hour, by["ok"].Wait.Timeout)
	require.Equal(t, []string{"role:admin"}, by["ok"].Wait.Approval.Approvers)
	require.True(t, by["risky"].Catch[0].Caught)
	require.Nil(t, by["risky"].Catch[0].JSON())
	require.JSONEq(t, `{"id": "${string(error.details.x)}", "done": true, "token": ""}`, string(by["tried"].Catch[1].JSON()))
	require.Equal(t, 7, *by["ship"].Priority)
	require.Equal(t, []any{20, 5 * time.Second}, []any{by["poll"].Loop.Max, by["poll"].Loop.Delay})
}

func TestBadConstructs(t *testing.T) {
	const at = "w.yaml:10: spec.steps[3]"
	for line, want := range map[string]string{
		// kinds
		`{id: b, uses: look, wait: {for: 1m}}`:                                 at + ".wait: a step is either uses or wait (make two steps of it)",
		`{id: b, title: x}`:                                                    at + ": uses is missing (give an action",
		`{id: b, wait: {for: 1m}, with: {q: x}}`:                               at + ".with: is for action and workflow steps, and this is a wait step (write it under wait:)",
		`{id: b, wait: {signal: x}, timeout: 1m}`:                              at + ".timeout: is for action and workflow steps, and this is a wait step (write wait: {signal: …, timeout: …})",
		`{id: b, workflow: other, with: {order: 1}, undo: {uses: put}}`:        at + ".undo: is for action steps, and this is a workflow step (let the steps of that workflow have undo:)",
		`{id: b, workflow: other, with: {order: 1}, cache: {key: 1, ttl: 1h}}`: at + ".cache: is for action steps",
		`{id: b, collect: a, retry: {attempts: 2}}`:                            at + ".retry: is for action and workflow steps, and this is a collect step (leave it out)",
		`{id: b, collect: a, catch: [{on: [timeout]}]}`:                        at + ".catch: is for action, workflow and wait steps",
		`{id: b, uses: look, detach: true}`:                                    at + ".detach: is for workflow steps, and this is an action step",
		`{id: b, uses: look, cases: {a: [c]}}`:                                 at + ".cases: is for switch steps",
		`{id: b, uses: look, aproval: {title: x}}`:                             at + ".aproval: is no field here (did you mean approval?)",
		// forEach and loop
		`{id: b, uses: look, forEach: {in: "${[1]}"}, loop: {until: "true", max: 2}}`:      at + ".loop: a step has either forEach or loop",
		`{id: b, uses: look, loop: {until: "true"}}`:                                       at + ".loop: max is missing (give how many passes there may be, from 1 to 10000)",
		`{id: b, uses: look, loop: {max: 3}}`:                                              at + ".loop: until is missing",
		`{id: b, uses: look, loop: {until: "true", max: 10001}}`:                           at + `.loop.max: is "10001" (give a whole number from 1 to 10000)`,
		`{id: b, uses: look, loop: {until: pass.index, max: 3}}`:                           at + ".loop.until: until wants a condition, this is an integer",
		`{id: b, uses: look, loop: {until: pass.last.dne, max: 3}}`:                        at + `.loop.until: step b (look) has no output "dne" (did you mean done?)`,
		`{id: b, uses: look, loop: {until: pass.lst.done, max: 3}}`:                        at + `.loop.until: pass has no "lst" (did you mean last?)`,
		`{id: b, uses: look, loop: {until: secrets.x == "", max: 3}}`:                      at + ".loop.until: secrets cannot be used here",
		`{id: b, uses: look, loop: {until: "true", max: 3}, with: {q: "${pass.last.id}"}}`: at + ".with.q: pass.last is empty on the first pass (write pass.last.?id.orValue(…))",
		`{id: b, uses: look, with: {q: "${pass.index}"}}`:                                  at + ".with.q: pass is for steps with a loop (give the step a loop, or leave it out)",
		`{id: b, uses: look, forEach: {in: "${[1]}", as: error}}`:                          at + `.forEach.as: "error" is a word of expressions (choose another name)`,
		// retry, timeouts
		`{id: b, uses: look, timeout: 2h, stepTimeout: 1h}`:                     at + ".stepTimeout: is shorter than timeout, which is of one attempt",
		`{id: b, uses: look, retry: {attempts: 2, backoff: 10s, cap: 1s}}`:      at + ".retry.cap: is shorter than backoff",
		`{id: b, uses: look, retry: {attempts: 2, on: [cancelled]}}`:            at + ".retry.on: what was cancelled is never tried again (leave it out)",
		`{id: b, uses: look, retry: {attempts: 2, on: []}}`:                     at + ".retry.on: names no kind of error",
		`{id: b, uses: look, retry: {attempts: 2, on: [Time-out]}}`:             at + `.retry.on: is "Time-out" (give kinds such as timeout, user_error or not_found)`,
		`{id: b, uses: send, retry: {attempts: 2, on: [timeout]}}`:              at + ".retry.on: an irreversible step is never tried again after timeout: it may have done its work (name the kinds that the action raises before it has done anything: retry: {on: [user_error]})",
		`{id: b, uses: send, retry: {attempts: 2}}`:                             at + ".retry: an irreversible step is tried again only where it is certain that nothing was done",
		`{id: b, workflow: other, with: {order: 1}, detach: true, timeout: 1h}`: at + ".timeout: nobody waits for the end of a detached workflow",
		// catch
		`{id: b, uses: look, catch: []}`: at + ".catch: has no entries (add an entry",
		`{id: b, uses: look, catch: [{outputs: {id: "", done: true, token: ""}}, {on: [timeout]}]}`: at + ".catch[1]: is never reached: an entry before it covers every kind of error (put it before, or leave it out)",
		`{id: b, uses: look, catch: [{on: [timeout]}, {on: timeout}]}`:                              at + ".catch[1]: is never reached: an entry before it covers timeout",
		`{id: b, uses: look, catch: [{}], continueOnError: true}`:                                   at + ".continueOnError: catch covers every kind of error already (leave it out)",
		`{id: b, uses: look, catch: [{on: [cancelled]}]}`:                                           at + ".catch[0].on: what was cancelled is never caught",
		`{id: b, uses: look, catch: [{outputs: {idd: x}}]}`:                                         at + `.catch[0].outputs.idd: step b (look) has no output "idd" (did you mean id?)`,
		`{id: b, uses: look, catch: [{outputs: {done: 3}}]}`:                                        at + ".catch[0].outputs.done: is 3, which is no boolean",
		`{id: b, uses: look, catch: [{outputs: {done: "${error.kind}"}}]}`:                          at + `.catch[0].outputs.done: error.kind is a string and the input "done" is a boolean`,
		`{id: b, uses: look, catch: [{outputs: {id: "${error.knd}"}}]}`:                             at + `.catch[0].outputs.id: error has no "knd" (did you mean kind?)`,
		`{id: b, uses: look, catch: [{outputs: {id: "${secrets.x}"}}]}`:                             at + ".catch[0].outputs.id: secrets cannot be used here",
		`{id: b, uses: look, with: {q: "${error.kind}"}}`:                                           at + `.with.q: error is for the outputs of catch (read errorOf("step") in a later step)`,
		`{id: b, uses: look, with: {q: "${errorOf(inputs.city)}"}}`:                                 at + `.with.q: the expression "errorOf(inputs.city)" is not valid: errorOf wants the id of a step in quotes, as in errorOf("x")`,
		`{id: b, uses: look, if: "failed(\"aa\")"}`:                                                 at + `.if: there is no step "aa" (did you mean a?)`,
		`{id: b, uses: look, with: {q: "${steps.soft.id}"}}`:                                        at + `.with.q: step b runs even when step soft has failed and was caught, and soft then has no output "id" (write steps.soft.?id.orValue(…))`,
		`{id: b, uses: look, with: {q: "${string(steps.given.done)}"}}`:                             at + `.with.q: step b runs with what catch gives for step given, which has no output "done" (write steps.given.?done.orValue(…))`,
		// undo, effect, cache
		`{id: b, uses: put, undo: {with: {q: x}}}`:                           at + ".undo: uses is missing (give the action that takes back what the step did)",
		`{id: b, uses: put, undo: {uses: pot}}`:                              at + `.undo.uses: there is no action "pot" in the library`,
		`{id: b, uses: put, undo: {uses: clock}}`:                            at + ".undo.uses: clock is a source, not a step",
		`{id: b, uses: put, undo: {uses: put, with: {q: "${steps.b.idd}"}}}`: at + `.undo.with.q: step b (put) has no output "idd" (did you mean id?)`,
		`{id: b, uses: put, with: {q: "${steps.b.id}"}}`:                     at + ".with.q: step b refers to itself (name an earlier step)",
		`{id: b, uses: look, undo: {uses: put}}`:                             at + ".undo: look is of the effect read: there is nothing to take back",
		`{id: b, uses: put, effect: pure, undo: {uses: put}}`:                at + ".undo: a step of the effect pure changes nothing that could be taken back",
		`{id: b, uses: count, with: {text: x}, cache: {key: x, ttl: 1h}}`:    at + ".cache: count says not what it does to the world: only pure and read steps are cached (add effect: read to the step",
		`{id: b, uses: put, cache: {key: x, ttl: 1h}}`:                       at + ".cache: put is of the effect write: only pure and read steps are cached",
		`{id: b, uses: look, effect: write, cache: {key: x, ttl: 1h}}`:       at + ".cache: a step of the effect write has to run each time: only pure and read ones are cached",
		`{id: b, uses: look, cache: {key: x}}`:                               at + ".cache: ttl is missing (give how long outputs are kept: ttl: 1h)",
		`{id: b, uses: look, cache: {ttl: 1h}}`:                              at + ".cache: key is missing",
		`{id: b, uses: look, cache: {key: "${secrets.x}", ttl: 1h}}`:         at + ".cache.key: secrets cannot be used here",
		`{id: b, uses: look, cache: {key: "${steps.a.token}", ttl: 1h}}`:     at + ".cache.key: the output token of step a is a password and cannot be used here",
		`{id: b, uses: look, effect: harmless}`:                              at + `.effect: is "harmless" (give one of pure, read, write, irreversible)`,
		// approvals
		`{id: b, uses: put, approval: {title: x, form: [{name: a, type: string}]}}`: at + ".approval.form: an approval before a step has no form",
		`{id: b, uses: put, approval: {title: "${secrets.x}"}}`:                     at + ".approval.title: secrets cannot be used here",
		`{id: b, uses: put, approval: {title: "${steps.a.done}"}}`:                  at + ".approval.title: title wants a text, this is a boolean (write string(…) around it)",
		`{id: b, wait: {approval: {title: x, approvers: ["role:operater"]}}}`:       at + `.wait.approval.approvers: there is no role "operater" (did you mean role:operator?)`,
		`{id: b, wait: {approval: {title: x, approvers: ["@ada"]}}}`:                at + `.wait.approval.approvers: is "@ada" (give names of users, or role:operator)`,
		`{id: b, wait: {approval: {title: x, approvers: []}}}`:                      at + ".wait.approval.approvers: names nobody",
		`{id: b, wait: {approval: {title: x, approvers: [ada, ada]}}}`:              at + ".wait.approval.approvers: ada is given twice",
		`{id: b, wait: {approval: {title: x, timeout: 1d}}}`:                        at + ".wait.approval.timeout: stands beside approval, not in it",
		`{id: b, wait: {approval: {title: x, form: [{name: p, type: password}]}}}`:  at + ".wait.approval.form[0]: what is answered is kept in the history: a password cannot be asked for",
		`{id: b, uses: look, with: {q: "${steps.asked.values.nte}"}}`:               at + `.with.q: the output values of step asked (wait) has no "nte" (did you mean note?)`,
		// waits
		`{id: b, wait: {}}`:                                                      at + ".wait: says not what is waited for (give one of for, until, signal and approval)",
		`{id: b, wait: {for: 1m, signal: x}}`:                                    at + ".wait: waits for one of for and signal (make two steps of it)",
		`{id: b, wait: {for: soon}}`:                                             at + `.wait.for: is "soon" (give a duration`,
		`{id: b, wait: {for: "${steps.a.done}"}}`:                                at + ".wait.for: for wants a duration, this is a boolean",
		`{id: b, wait: {for: 1m, timeout: 1m}}`:                                  at + ".wait.timeout: is for signal and approval (leave it out)",
		`{id: b, wait: {for: 1m, timezone: Europe/Paris}}`:                       at + ".wait.timezone: is for until (leave it out)",
		`{id: b, wait: {until: tomorrow}}`:                                       at + `.wait.until: is "tomorrow" (give a time such as 2026-12-01T09:00:00Z)`,
		`{id: b, wait: {until: "2026-12-01T09:00:00"}}`:                          at + ".wait.until: the time 2026-12-01T09:00:00 has no time zone (add timezone: Europe/Paris",
		`{id: b, wait: {until: "2026-12-01T09:00:00Z", timezone: Europe/Paris}}`: at + ".wait.timezone: the time 2026-12-01T09:00:00Z says its offset itself (leave it out)",
		`{id: b, wait: {until: "2026-12-01T09:00:00", timezone: Mars/Base}}`:     at + `.wait.timezone: the time zone "Mars/Base" is not known`,
		`{id: b, wait: {until: "2026-12-01T09:00:00", timezone: Local}}`:         at + `.wait.timezone: the time zone "Local" is not known`,
		`{id: b, wait: {signal: "Paid!"}}`:                                       at + `.wait.signal: is "Paid!" (give 1 to 63 of a-z, 0-9 and -)`,
		`{id: b, wait: {signal: x, schema: {type: objekt}}}`:                     at + ".wait.schema: is no JSON Schema: ",
		`{id: b, wait: {signal: x, schema: {$ref: "file:///etc/passwd"}}}`:       at + ".wait.schema: is no JSON Schema: it refers to file:///etc/passwd",
		`{id: b, wait: {signal: x}, catch: [{outputs: {load: 1}}]}`:              at + `.catch[0].outputs.load: step b (wait) has no output "load"`,
		// switch
		`{id: b, switch: inputs.city}`:                                                        at + ": cases is missing (add cases: {value: [step]})",
		`{id: b, switch: inputs.city, cases: {}}`:                                             at + ".cases: there are no cases",
		`{id: b, switch: inputs.city, cases: {x: [nope]}}`:                                    at + `.cases.x: there is no step "nope"`,
		`{id: b, switch: inputs.city, cases: {x: [b]}}`:                                       at + ".cases.x: the switch b chooses itself (name another step)",
		`{id: b, switch: inputs.city, cases: {x: [a], y: [a]}}`:                               at + ".cases.y: step a is chosen twice",
		`{id: b, switch: inputs.city, cases: {x: [picked]}}`:                                  at + ".cases.x: step picked is chosen by the switch choose already (let one switch choose it)",
		`{id: b, switch: inputs.city, cases: {x: [a]}, default: [a]}`:                         at + ".default: step a is chosen twice",
		`{id: b, switch: steps.a.id, cases: {x: [a]}}`:                                        "steps need each other in a circle",
		`{id: b, switch: "[1]", cases: {x: [a]}}`:                                             at + ".switch: switch compares texts, this is a list",
		`{id: b, switch: inputs.mood, cases: {godd: [a]}}`:                                    at + `.cases.godd: the input mood is never "godd" (did you mean good?)`,
		`{id: b, switch: secrets.x, cases: {x: [a]}}`:                                         at + ".switch: secrets cannot be used here",
		`{id: b, uses: look, if: always(), with: {q: "${steps.picked.id}"}}`:                  at + `.with.q: step b runs even when step picked is skipped, and picked then has no output "id"`,
		`{id: b, uses: look, needs: [a, picked], join: any, with: {q: "${steps.picked.id}"}}`: at + `.with.q: step b runs even when step picked is skipped`,
		`{id: b, uses: look, needs: [a], join: 2}`:                                            at + ".join: wants 2 steps of those before, and there are 1 (give at most that many, all or any)",
		`{id: b, uses: look, with: {q: "${steps.choose.cse}"}}`:                               at + `.with.q: step choose (switch) has no output "cse" (did you mean case?)`,
		// sub-workflows
		`{id: b, workflow: My Flow}`:                                   at + `.workflow: is "My Flow" (give 1 to 63 of a-z, 0-9 and -)`,
		`{id: b, workflow: other}`:                                     at + `: the input "order" of workflow other is missing (add order: a integer)`,
		`{id: b, workflow: other, with: {order: x}}`:                   at + ".with.order: is \"x\", which is no integer",
		`{id: b, workflow: other, with: {order: "${int(secrets.x)}"}}`: at + ".with.order: secrets cannot be used here: the value would be kept in the history (give it to an input of the type password of workflow other)",
		`{id: b, workflow: far, with: {x: "${inputs.pw}"}}`:            at + ".with.x: secrets cannot be used here",
		`{id: b, uses: look, with: {q: "${steps.below.totl}"}}`:        at + `.with.q: step below (workflow other) has no output "totl" (did you mean total?)`,
		// limits
		`{id: b, uses: look, concurrency: {limit: 0}}`:             at + `.concurrency.limit: is "0"`,
		`{id: b, uses: look, concurrency: {key: x, policy: skip}}`: at + ".concurrency.policy: is for the concurrency of a workflow: steps wait for their turn",
		`{id: b, uses: look, concurrency: {key: "${inputs.pw}"}}`:  at + ".concurrency.key: the input pw is a password and cannot be used here",
		`{id: b, uses: look, priority: 101}`:                       at + `.priority: is "101" (give a whole number from -100 to 100)`,
		// collect
		`{id: b, collect: nope}`: at + `.collect: there is no step "nope"`,
		`{id: b, collect: b}`:    at + ".collect: step b refers to itself",
		`{id: b, uses: look, with: {q: "${steps.all.items[0].idd}"}}`: at + `.with.q: steps.all.items[0].idd: there is no field "idd" here (did you mean .id?)`,
		// what was taken for granted before
		`{id: b, uses: look, if: steps.a.dne}`:     at + `.if: step a (look) has no output "dne" (did you mean done?)`,
		`{id: b, uses: look, if: inputs.pw == ""}`: at + ".if: the input pw is a password and cannot be used here",
	} {
		// What a case chooses needs its switch, so a stands before nothing else here.
		yaml := "apiVersion: pelton.dev/v1\nkind: Workflow\nmetadata: {name: w}\nspec:\n  inputs: [{name: city, type: string}, {name: pw, type: password}, {name: mood, type: enum, enum: [good, bad]}]\n  steps:\n" +
			"    - {id: a, uses: look}\n    - {id: choose, switch: inputs.city, cases: {x: [picked]}}\n    - {id: picked, uses: look}\n    - " + line +
			"\n    - {id: soft, uses: look, continueOnError: true}\n    - {id: given, uses: look, catch: [{on: [timeout], outputs: {id: x}}]}\n" +
			"    - {id: asked, wait: {approval: {title: x, form: [{name: note, type: string}]}}}\n    - {id: below, workflow: other, with: {order: 1}}\n    - {id: all, collect: a}\n"
		got := check(yaml)
		assert.Len(t, got, 1, line)
		assert.Contains(t, strings.Join(got, "\n"), want, line)
	}
}

func TestBadSettings(t *testing.T) {
	for line, want := range map[string]string{
		`priority: high`:                              `spec.priority: is "high" (give a whole number from -100 to 100)`,
		`idempotencyKey: always`:                      `spec.idempotencyKey: a key that is always the same starts one run for ever (read something that tells runs apart`,
		`idempotencyKey: "${run.id}"`:                 "spec.idempotencyKey: run cannot be read here: this is computed before the run starts (read inputs, trigger or vars)",
		`idempotencyKey: "${steps.a.id}"`:             "spec.idempotencyKey: steps cannot be read here: this is computed before the run starts",
		`idempotencyKey: "${secrets.x}"`:              "spec.idempotencyKey: secrets cannot be used here",
		`idempotencyKey: "${inputs.city + 1}"`:        "spec.idempotencyKey: inputs.city + 1: + cannot be applied to (string, integer)",
		`concurrency: {key: x, policy: drop}`:         `spec.concurrency.policy: is "drop" (give one of queue, skip, cancel-oldest)`,
		`concurrency: {key: "${inputs.ciy}"}`:         `spec.concurrency.key: the workflow has no input "ciy" (did you mean city?)`,
		`concurrency: {max: 3}`:                       "spec.concurrency.max: is no field here",
		`rateLimit: {per: 1m}`:                        "spec.rateLimit: count is missing (give how many runs may start: count: 10)",
		`rateLimit: {count: 3}`:                       "spec.rateLimit: per is missing",
		`rateLimit: {count: 3, per: 1m, burst: 0}`:    `spec.rateLimit.burst: is "0"`,
		`rateLimit: {count: 3, per: 1m, key: "${x}"}`: `spec.rateLimit.key: x cannot be read here: this is computed before the run starts`,
		`onFailure: w`:                                "spec.onFailure: a workflow cannot deal with its own failures: it might fail for ever (name another workflow)",
		`onFailure: {workflow: x}`:                    "spec.onFailure: is no text",
		`durability: some`:                            `spec.durability: is "some" (did you mean none?)`,
		`durability: none`:                            "spec.durability: step b is of the effect write: a run without a journal could do it twice (leave it out)",
		`retention: 3 days`:                           `spec.retention: is "3 days" (give a duration such as 500ms, 30s, 5m, 2h or 1d)`,
		`retention: 0s`:                               `spec.retention: is "0s" (give a duration such as 500ms, 30s, 5m, 2h or 1d)`,
	} {
		got := check(head + "  " + line + "\n  steps:\n    - {id: a, uses: look}\n    - {id: b, uses: put}\n")
		require.NotEmpty(t, got, line)
		require.Contains(t, got[0], want, line)
	}
	require.Empty(t, check(head+"  durability: none\n  steps:\n    - {id: a, uses: look}\n    - {id: b, uses: count, with: {text: x}}\n"))
	require.Contains(t, check(head + "  durability: none\n  steps:\n    - {id: a, wait: {for: 1m}}\n")[0], "step a waits, which a run without a journal cannot")
}
