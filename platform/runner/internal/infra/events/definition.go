package events

import (
	"encoding/json"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
	studiov1 "github.com/pelton-run/pelton/platform/runner/internal/infra/contracts/studio/v1"
)

// definition is the revision that a message carries, as the runner takes it.
func definition(d *studiov1.Definition) domain.Definition {
	out := domain.Definition{Workflow: d.Workflow, RevisionID: d.RevisionId, Revision: int(d.Revision), Title: d.Title, Inputs: items(d.Inputs),
		Result: d.Result, Timeout: ms(d.TimeoutMs), YAML: d.Yaml, Priority: int(d.Priority), IdempotencyKey: value(d.IdempotencyKeyJson), Concurrency: limit(d.Concurrency),
		OnFailure: d.OnFailure, Durability: d.Durability, Retention: ms(d.RetentionMs)}
	if r := d.RateLimit; r != nil {
		out.RateLimit = &domain.RateSpec{Key: value(r.KeyJson), Count: int(r.Count), Per: ms(r.PerMs), Burst: int(r.Burst)}
	}
	for _, t := range d.Triggers {
		out.Triggers = append(out.Triggers, domain.TriggerSpec{ID: t.Id, Uses: t.Uses, Build: t.Build, With: t.WithJson, Inputs: raw(t.InputsJson)})
	}
	for _, s := range d.Steps {
		out.Steps = append(out.Steps, step(s))
	}
	for _, b := range d.Builds {
		out.Builds = append(out.Builds, domain.Build{Digest: b.Digest, Artifact: b.Artifact, Action: b.Action, Kind: b.Kind, Runtime: b.Runtime, Inputs: items(b.Inputs), Outputs: items(b.Outputs),
			Isolation: b.Isolation, Concurrency: int(b.Concurrency), MemoryBytes: b.MemoryBytes, CPU: b.Cpu, Effect: b.Effect, DynamicOutputs: b.DynamicOutputs, TimeoutMillis: b.TimeoutMs, Compute: b.ComputeJson})
	}
	return out
}

func step(s *studiov1.Step) domain.StepSpec {
	x := domain.StepSpec{ID: s.Id, Title: s.Title, Kind: s.Kind, Uses: s.Uses, Build: s.Build, With: raw(s.WithJson), Needs: s.Needs, If: s.If, Join: s.Join,
		Timeout: ms(s.TimeoutMs), Retry: retry(s.Retry), Workflow: s.Workflow, Detach: s.Detach, Switch: s.Switch, Default: s.Default, Collect: s.Collect,
		StepTimeout: ms(s.StepTimeoutMs), Effect: s.Effect, Approval: approval(s.Approval), Concurrency: limit(s.Concurrency)}
	if f := s.ForEach; f != nil {
		x.ForEach = &domain.ForEachSpec{In: f.In, As: f.As, Concurrency: int(f.Concurrency), OnError: f.OnError}
	}
	for v, ids := range s.Cases {
		if x.Cases == nil {
			x.Cases = map[string][]string{}
		}
		x.Cases[v] = ids.Ids
	}
	if l := s.Loop; l != nil {
		x.Loop = &domain.LoopSpec{Until: l.Until, Max: int(l.Max), Delay: ms(l.DelayMs)}
	}
	for _, c := range s.Catch {
		x.Catch = append(x.Catch, domain.CatchSpec{On: c.On, Outputs: value(c.OutputsJson)})
	}
	if u := s.Undo; u != nil {
		x.Undo = &domain.UndoSpec{Uses: u.Uses, Build: u.Build, With: raw(u.WithJson), Retry: retry(u.Retry), Timeout: ms(u.TimeoutMs)}
	}
	if c := s.Cache; c != nil {
		x.Cache = &domain.CacheSpec{Key: value(c.KeyJson), TTL: ms(c.TtlMs)}
	}
	if s.Priority != nil {
		v := int(*s.Priority)
		x.Priority = &v
	}
	if w := s.Wait; w != nil {
		x.Wait = &domain.WaitSpec{For: value(w.ForJson), Until: value(w.UntilJson), Timezone: w.Timezone, Signal: w.Signal, Schema: value(w.SchemaJson),
			Approval: approval(w.Approval), Timeout: ms(w.TimeoutMs)}
	}
	return x
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func value(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

func retry(r *studiov1.Retry) *domain.RetrySpec {
	if r == nil {
		return nil
	}
	return &domain.RetrySpec{Attempts: int(r.Attempts), Backoff: ms(r.BackoffMs), Factor: r.Factor, Cap: ms(r.CapMs), Jitter: r.Jitter, On: r.On}
}

func limit(l *studiov1.Limit) *domain.LimitSpec {
	if l == nil {
		return nil
	}
	return &domain.LimitSpec{Key: value(l.KeyJson), Limit: int(l.Limit), Policy: l.Policy}
}

func approval(a *studiov1.Approval) *domain.ApprovalSpec {
	if a == nil {
		return nil
	}
	return &domain.ApprovalSpec{Title: value(a.TitleJson), Form: items(a.Form), Approvers: a.Approvers, Reminder: ms(a.ReminderMs), Timeout: ms(a.TimeoutMs)}
}
