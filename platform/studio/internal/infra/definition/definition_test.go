package definition

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/pelton-run/pelton/functions/formats/workflow"
	studiov1 "github.com/pelton-run/pelton/platform/studio/contracts/studio/v1"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

const everything = `apiVersion: pelton.dev/v1
kind: Workflow
metadata: {name: w, title: All}
spec:
  inputs: [{name: city, type: string}]
  timeout: 2d
  priority: 5
  idempotencyKey: "${inputs.city}"
  concurrency: {key: "${inputs.city}", limit: 2, policy: skip}
  rateLimit: {key: "${inputs.city}", count: 10, per: 1m, burst: 20}
  onFailure: notify
  durability: strict
  retention: 3d
  triggers: [{id: t, uses: http, with: {path: /x}, inputs: {city: "${event.city}"}}]
  steps:
    - id: a
      title: First
      uses: count
      with: {text: "${inputs.city}"}
      if: inputs.city != ""
      loop: {until: pass.index == 1, max: 5, delay: 2s}
      timeout: 1m
      stepTimeout: 6h
      retry: {attempts: 3, backoff: 1s, factor: 3, cap: 1m, jitter: true, on: [user_error]}
      catch: [{on: [timeout], outputs: {words: 0}}]
      undo: {uses: count, with: {text: x}, retry: {attempts: 2}, timeout: 5m}
      effect: write
      approval: {title: "Go?", approvers: [ada], reminder: 1d, timeout: 3d}
      concurrency: {key: k, limit: 3}
      priority: 7
    - {id: b, effect: read, cache: {key: k, ttl: 1h}, forEach: {in: "${steps.a.list}", as: x, concurrency: 2, onError: skip}, uses: count, with: {text: x}, needs: [a], join: any}
    - {id: route, switch: "inputs.city", cases: {x: [c]}, default: [d]}
    - {id: c, workflow: other, with: {city: x}, detach: true}
    - {id: d, collect: b}
    - {id: e, wait: {signal: pay, schema: {type: object}, timeout: 1d}}
    - {id: f, wait: {approval: {form: [{name: price, type: integer}]}, timeout: 1d}}
    - {id: g, wait: {until: "2026-12-01T09:00:00", timezone: Europe/Paris}}
    - {id: h, wait: {for: 1m}}
  result: {x: "${steps.a.words}"}
`

// TestEveryFieldIsFilled: whatever the format knows is in the message that the runner gets.
func TestEveryFieldIsFilled(t *testing.T) {
	w, problems := workflow.Parse("w.yaml", []byte(everything))
	require.Empty(t, problems)
	def, err := Maker{}.Make(w, everything, map[string]domain.Build{"count": {Build: "sha256:x", Artifact: "a", ActionJSON: `{"ID":"count","Kind":"Processor"}`}}, "r")
	require.NoError(t, err)
	d := def.(definition).d
	require.Equal(t, "sha256:x", d.Steps[0].Undo.Build)
	seen := map[string]bool{}
	var walk func(m protoreflect.Message)
	walk = func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			seen[string(f.FullName())] = true
			switch {
			case f.IsMap():
				if f.MapValue().Message() != nil {
					v.Map().Range(func(_ protoreflect.MapKey, x protoreflect.Value) bool { walk(x.Message()); return true })
				}
			case f.IsList() && f.Message() != nil:
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message())
				}
			case f.Message() != nil:
				walk(v.Message())
			}
			return true
		})
	}
	walk(d.ProtoReflect())
	missing := []string{}
	for _, name := range []string{"Definition", "Step", "Limit", "Rate", "Loop", "Catch", "Undo", "Cache", "Approval", "Wait", "ForEach", "Retry", "Trigger"} {
		fields := studiov1.File_platform_studio_contracts_studio_v1_studio_proto.Messages().ByName(protoreflect.Name(name)).Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			switch f.FullName() {
			case "studio.v1.Definition.revision", "studio.v1.Trigger.build": // set when it is saved; sources only
			default:
				if !seen[string(f.FullName())] {
					missing = append(missing, fmt.Sprint(f.FullName()))
				}
			}
		}
	}
	require.Empty(t, missing)
}
