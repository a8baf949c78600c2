package events

import (
	"encoding/json"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	studiov1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/studio/v1"
)

// definition reads what the studio deployed.
func definition(d *studiov1.Definition) domain.Definition {
	out := domain.Definition{
		Workflow: d.Workflow, RevisionID: d.RevisionId, Revision: int(d.Revision), Title: d.Title, Inputs: items(d.Inputs),
		Result: d.Result, Timeout: millis(d.TimeoutMs), YAML: d.Yaml,
		Priority: int(d.Priority), IdempotencyKey: value(d.IdempotencyKeyJson), Concurrency: limit(d.Concurrency), OnFailure: d.OnFailure, Durability: d.Durability,
	}
	if r := d.RateLimit; r != nil {
		out.RateLimit = &domain.RateSpec{Key: value(r.KeyJson), Count: int(r.Count), Per: millis(r.PerMs), Burst: int(r.Burst)}
	}
	for _, t := range d.Triggers {
		out.Triggers = append(out.Triggers, domain.TriggerSpec{ID: t.Id, Uses: t.Uses, Build: t.Build, With: t.WithJson, Inputs: raw(t.InputsJson)})
	}
	for _, s := range d.Steps {
		out.Steps = append(out.Steps, step(s))
	}
	for _, b := range d.Builds {
		out.Builds = append(out.Builds, domain.Build{
			Digest: b.Digest, Artifact: b.Artifact, Action: b.Action, Kind: b.Kind, Runtime: b.Runtime, Inputs: items(b.Inputs), Outputs: items(b.Outputs),
			Isolation: b.Isolation, Concurrency: int(b.Concurrency), MemoryBytes: b.MemoryBytes, CPU: b.Cpu, Effect: b.Effect, DynamicOutputs: b.DynamicOutputs, TimeoutMillis: b.TimeoutMs,
		})
	}
	return out
}

func step(s *studiov1.Step) domain.StepSpec {
	x := domain.StepSpec{
		ID: s.Id, Title: s.Title, Kind: s.Kind, Uses: s.Uses, Build: s.Build, With: raw(s.WithJson), Needs: s.Needs, If: s.If, Join: s.Join,
		Timeout: millis(s.TimeoutMs), Retry: retry(s.Retry), StepTimeout: millis(s.StepTimeoutMs),
		Workflow: s.Workflow, Detach: s.Detach, Wait: wait(s.Wait), Switch: s.Switch, Default: s.Default, Collect: s.Collect,
		Effect: s.Effect, Approval: approval(s.Approval), Concurrency: limit(s.Concurrency),
	}
	if f := s.ForEach; f != nil {
		x.ForEach = &domain.ForEachSpec{In: f.In, As: f.As, Concurrency: int(f.Concurrency), OnError: f.OnError}
	}
	if l := s.Loop; l != nil {
		x.Loop = &domain.LoopSpec{Until: l.Until, Max: int(l.Max), Delay: millis(l.DelayMs)}
	}
	if len(s.Cases) > 0 {
		x.Cases = map[string][]string{}
		for _, c := range s.Cases {
			x.Cases[c.Value] = c.Steps
		}
	}
	for _, c := range s.Catch {
		x.Catch = append(x.Catch, domain.CatchSpec{On: c.On, Outputs: value(c.OutputsJson)})
	}
	if c := s.Cache; c != nil {
		x.Cache = &domain.CacheSpec{Key: value(c.KeyJson), TTL: millis(c.TtlMs)}
	}
	if s.Priority != nil {
		p := int(*s.Priority)
		x.Priority = &p
	}
	if u := s.Undo; u != nil {
		x.Undo = &domain.UndoSpec{Uses: u.Uses, Build: u.Build, With: raw(u.WithJson), Retry: retry(u.Retry), Timeout: millis(u.TimeoutMs)}
	}
	return x
}

func wait(w *studiov1.Wait) *domain.WaitSpec {
	if w == nil {
		return nil
	}
	return &domain.WaitSpec{
		For: value(w.ForJson), Until: value(w.UntilJson), Timezone: w.Timezone, Signal: w.Signal, Schema: value(w.SchemaJson),
		Approval: approval(w.Approval), Timeout: millis(w.TimeoutMs),
	}
}

func approval(a *studiov1.Approval) *domain.ApprovalSpec {
	if a == nil {
		return nil
	}
	return &domain.ApprovalSpec{Title: value(a.TitleJson), Form: items(a.Form), Approvers: a.Approvers, Reminder: millis(a.ReminderMs), Timeout: millis(a.TimeoutMs)}
}

func retry(r *studiov1.Retry) *domain.RetrySpec {
	if r == nil {
		return nil
	}
	return &domain.RetrySpec{Attempts: int(r.Attempts), Backoff: millis(r.BackoffMs), Factor: r.Factor, Cap: millis(r.CapMs), Jitter: r.Jitter, On: r.On}
}

func limit(l *studiov1.Limit) *domain.LimitSpec {
	if l == nil {
		return nil
	}
	return &domain.LimitSpec{Key: value(l.KeyJson), Limit: int(l.Limit), Policy: l.Policy}
}

func millis(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// value is JSON as written, nil where there is none.
func value(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

func raw(m map[string]string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(m))
	for k, v := range m {
		out[k] = json.RawMessage(v)
	}
	return out
}

func items(list []*studiov1.Item) []domain.Item {
	var out []domain.Item
	for _, i := range list {
		out = append(out, domain.Item{Name: i.Name, Type: i.Type, Title: i.Title, Help: i.Help, Optional: i.Optional, Default: i.DefaultJson, EnumValues: i.EnumValues, Schema: i.SchemaJson, Accept: i.Accept})
	}
	return out
}
