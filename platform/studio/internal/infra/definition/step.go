package definition

import (
	"github.com/pelton-run/pelton/functions/formats/workflow"
	studiov1 "github.com/pelton-run/pelton/platform/studio/contracts/studio/v1"
)

// policies are what holds for the runs of a workflow.
func policies(d *studiov1.Definition, w workflow.Workflow) {
	d.Priority, d.OnFailure, d.Durability, d.RetentionMs = int32(w.Priority), w.OnFailure, w.Durability, w.Retention.Milliseconds()
	d.IdempotencyKeyJson, d.Concurrency = raw(w.IdempotencyKey), limit(w.Concurrency)
	if r := w.RateLimit; r != nil {
		d.RateLimit = &studiov1.Rate{KeyJson: raw(r.Key), Count: int32(r.Count), PerMs: r.Per.Milliseconds(), Burst: int32(r.Burst)}
	}
}

// step is one step; the build of its undo is left to the caller.
func step(s workflow.Step, build string) *studiov1.Step {
	x := &studiov1.Step{Id: s.ID, Kind: s.Kind, Uses: s.Uses, Build: build, WithJson: values(s.With), Needs: s.Needs, If: s.If, Title: s.Title, Join: s.Join,
		TimeoutMs: s.Timeout.Milliseconds(), Workflow: s.Workflow, Detach: s.Detach, Switch: s.Switch, Default: s.Default, Collect: s.Collect,
		StepTimeoutMs: s.StepTimeout.Milliseconds(), Effect: s.Effect, Retry: retry(s.Retry), Concurrency: limit(s.Concurrency), Approval: approval(s.Approval)}
	if f := s.ForEach; f != nil {
		x.ForEach = &studiov1.ForEach{In: f.In, As: f.As, Concurrency: int32(f.Concurrency), OnError: f.OnError}
	}
	for _, c := range s.Cases {
		if x.Cases == nil {
			x.Cases = map[string]*studiov1.StepIds{}
		}
		x.Cases[c.Value] = &studiov1.StepIds{Ids: c.Steps}
	}
	if l := s.Loop; l != nil {
		x.Loop = &studiov1.Loop{Until: l.Until, Max: int32(l.Max), DelayMs: l.Delay.Milliseconds()}
	}
	for _, c := range s.Catch {
		x.Catch = append(x.Catch, &studiov1.Catch{On: c.On, OutputsJson: c.JSON()})
	}
	if u := s.Undo; u != nil {
		x.Undo = &studiov1.Undo{Uses: u.Uses, WithJson: values(u.With), Retry: retry(u.Retry), TimeoutMs: u.Timeout.Milliseconds()}
	}
	if c := s.Cache; c != nil {
		x.Cache = &studiov1.Cache{KeyJson: raw(c.Key), TtlMs: c.TTL.Milliseconds()}
	}
	if p := s.Priority; p != nil {
		v := int32(*p)
		x.Priority = &v
	}
	if w := s.Wait; w != nil {
		x.Wait = &studiov1.Wait{ForJson: raw(w.For), UntilJson: raw(w.Until), Timezone: w.Timezone, Signal: w.Signal, SchemaJson: w.Schema,
			Approval: approval(w.Approval), TimeoutMs: w.Timeout.Milliseconds()}
	}
	return x
}

func raw(v *workflow.Value) []byte {
	if v == nil {
		return nil
	}
	return v.JSON
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
	return &studiov1.Limit{KeyJson: raw(l.Key), Limit: int32(l.Limit), Policy: l.Policy}
}

func approval(a *workflow.Approval) *studiov1.Approval {
	if a == nil {
		return nil
	}
	return &studiov1.Approval{TitleJson: raw(a.Title), Form: items(a.Form), Approvers: a.Approvers, ReminderMs: a.Reminder.Milliseconds(), TimeoutMs: a.Timeout.Milliseconds()}
}
