// Package definition makes the studio.v1.Definition that the runner gets.
package definition

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/functions/formats/action"
	"github.com/pelton-run/pelton/functions/formats/workflow"
	studiov1 "github.com/pelton-run/pelton/platform/studio/contracts/studio/v1"
	"github.com/pelton-run/pelton/platform/studio/internal/app"
	"github.com/pelton-run/pelton/platform/studio/internal/domain"
)

// Maker implements app.Definitions.
type Maker struct{}

type definition struct{ d *studiov1.Definition }

// Make implements app.Definitions.
func (Maker) Make(w workflow.Workflow, yaml string, builds map[string]domain.Build, revisionID string) (app.Definition, error) {
	d := &studiov1.Definition{
		Workflow: w.Name, RevisionId: revisionID, Title: w.Title, Inputs: items(w.Inputs), TimeoutMs: w.Timeout.Milliseconds(), Yaml: yaml, Result: map[string]string{},
		Priority: int32(w.Priority), IdempotencyKeyJson: text(w.IdempotencyKey), Concurrency: limit(w.Concurrency), OnFailure: w.OnFailure, Durability: w.Durability,
	}
	if r := w.RateLimit; r != nil {
		d.RateLimit = &studiov1.Rate{KeyJson: text(r.Key), Count: int32(r.Count), PerMs: r.Per.Milliseconds(), Burst: int32(r.Burst)}
	}
	p := pins{builds: builds, pinned: map[string]bool{}, d: d}
	for _, t := range w.Triggers {
		build, err := p.pin(t.Uses)
		if err != nil {
			return nil, err
		}
		d.Triggers = append(d.Triggers, &studiov1.Trigger{Id: t.ID, Uses: t.Uses, Build: build, WithJson: t.With, InputsJson: values(t.Inputs)})
	}
	for _, s := range w.Steps {
		x, err := p.step(s)
		if err != nil {
			return nil, err
		}
		d.Steps = append(d.Steps, x)
	}
	for _, v := range w.Result {
		d.Result[v.Name] = string(v.JSON)
		var text string
		if json.Unmarshal(v.JSON, &text) == nil {
			d.Result[v.Name] = text
		}
	}
	return definition{d}, nil
}

// pins fixes the builds that a definition runs.
type pins struct {
	builds map[string]domain.Build
	pinned map[string]bool
	d      *studiov1.Definition
}

// pin gives the digest of what `uses` means, and puts its build into the definition once. What is
// no action, such as http, has none.
func (p pins) pin(uses string) (string, error) {
	b, ok := p.builds[uses]
	if !ok || p.pinned[b.Build] {
		return b.Build, nil
	}
	p.pinned[b.Build] = true
	var a action.Action
	if err := json.Unmarshal([]byte(b.ActionJSON), &a); err != nil {
		return "", fmt.Errorf("metadata of %s: %w", uses, err)
	}
	p.d.Builds = append(p.d.Builds, &studiov1.Build{
		Digest: b.Build, Artifact: b.Artifact, Action: a.Label(), Kind: a.Kind, Runtime: a.Runtime, Inputs: items(a.Inputs), Outputs: items(a.Outputs),
		Isolation: a.Isolation, Concurrency: int32(a.Concurrency), MemoryBytes: a.MemoryBytes, Cpu: a.CPU, Effect: a.Effect,
		DynamicOutputs: a.DynamicOutputs, TimeoutMs: a.TimeoutMillis,
	})
	return b.Build, nil
}

// step makes one step of a definition.
func (p pins) step(s workflow.Step) (*studiov1.Step, error) {
	build, err := p.pin(s.Uses)
	if err != nil {
		return nil, err
	}
	x := &studiov1.Step{
		Id: s.ID, Kind: s.Kind, Uses: s.Uses, Build: build, WithJson: values(s.With), Needs: s.Needs, If: s.If, Title: s.Title, Join: s.Join,
		TimeoutMs: s.Timeout.Milliseconds(), StepTimeoutMs: s.StepTimeout.Milliseconds(), Retry: retry(s.Retry),
		Workflow: s.Workflow, Detach: s.Detach, Wait: wait(s.Wait), Switch: s.Switch, Default: s.Default, Collect: s.Collect,
		Effect: s.Effect, Approval: approval(s.Approval), Concurrency: limit(s.Concurrency),
	}
	if f := s.ForEach; f != nil {
		x.ForEach = &studiov1.ForEach{In: f.In, As: f.As, Concurrency: int32(f.Concurrency), OnError: f.OnError}
	}
	if l := s.Loop; l != nil {
		x.Loop = &studiov1.Loop{Until: l.Until, Max: int32(l.Max), DelayMs: l.Delay.Milliseconds()}
	}
	for _, c := range s.Cases {
		x.Cases = append(x.Cases, &studiov1.Case{Value: c.Value, Steps: c.Steps})
	}
	for _, c := range s.Catch {
		x.Catch = append(x.Catch, &studiov1.Catch{On: c.On, OutputsJson: c.JSON()})
	}
	if c := s.Cache; c != nil {
		x.Cache = &studiov1.Cache{KeyJson: text(c.Key), TtlMs: c.TTL.Milliseconds()}
	}
	if s.Priority != nil {
		x.Priority = proto.Int32(int32(*s.Priority))
	}
	if u := s.Undo; u != nil {
		build, err := p.pin(u.Uses)
		if err != nil {
			return nil, err
		}
		x.Undo = &studiov1.Undo{Uses: u.Uses, Build: build, WithJson: values(u.With), Retry: retry(u.Retry), TimeoutMs: u.Timeout.Milliseconds()}
	}
	return x, nil
}

func retry(r *workflow.Retry) *studiov1.Retry {
	if r == nil {
		return nil
	}
	return &studiov1.Retry{Attempts: int32(r.Attempts), BackoffMs: r.Backoff.Milliseconds(), Factor: r.Factor, CapMs: r.Cap.Milliseconds(), Jitter: r.Jitter, On: r.On}
}

func limit(l *workflow.Limit) *studiov1.Limit {
	if l == nil {
		return nil
	}
	return &studiov1.Limit{KeyJson: text(l.Key), Limit: int32(l.Limit), Policy: l.Policy}
}

func wait(w *workflow.Wait) *studiov1.Wait {
	if w == nil {
		return nil
	}
	return &studiov1.Wait{
		ForJson: text(w.For), UntilJson: text(w.Until), Timezone: w.Timezone, Signal: w.Signal, SchemaJson: w.Schema,
		Approval: approval(w.Approval), TimeoutMs: w.Timeout.Milliseconds(),
	}
}

func approval(a *workflow.Approval) *studiov1.Approval {
	if a == nil {
		return nil
	}
	return &studiov1.Approval{
		TitleJson: text(a.Title), Form: items(a.Form), Approvers: a.Approvers, ReminderMs: a.Reminder.Milliseconds(), TimeoutMs: a.Timeout.Milliseconds(),
	}
}

// text is a value as written, nil where there is none.
func text(v *workflow.Value) []byte {
	if v == nil {
		return nil
	}
	return v.JSON
}

func values(list []workflow.Value) map[string]string {
	out := map[string]string{}
	for _, v := range list {
		out[v.Name] = string(v.JSON)
	}
	return out
}

func items(list []action.Item) []*studiov1.Item {
	var out []*studiov1.Item
	for _, i := range list {
		out = append(out, &studiov1.Item{Name: i.Name, Type: i.Type, Title: i.Title, Help: i.Help, Optional: i.Optional, DefaultJson: i.Default, EnumValues: i.EnumValues, SchemaJson: i.Schema, Accept: i.Accept})
	}
	return out
}

// Digest implements app.Definition: of the text and of the pinned builds.
func (x definition) Digest() []byte {
	var builds []string
	for _, b := range x.d.Builds {
		builds = append(builds, b.Digest)
	}
	slices.Sort(builds)
	sum := sha256.Sum256([]byte(x.d.Yaml + "\x00" + strings.Join(builds, "\x00")))
	return sum[:]
}

// Encode implements app.Definition.
func (x definition) Encode(number int) ([]byte, error) {
	x.d.Revision = int32(number)
	return proto.MarshalOptions{Deterministic: true}.Marshal(x.d)
}
