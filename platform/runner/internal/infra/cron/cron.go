// Package cron fires the schedules of live deployments.
package cron

import (
	"container/heap"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// Scheduler fires schedules. A due time fires once: its run has the workflow's trigger and the due
// time as its event key, so that a second one, after a crash before it was noted, or by another
// replica, finds the first. How far a schedule has come is durable, so that what was missed while
// nothing ran is known exactly.
type Scheduler struct {
	cases app.UseCases
	now   func() time.Time
	log   *slog.Logger
}

// New makes a Scheduler.
func New(cases app.UseCases, now func() time.Time, log *slog.Logger) *Scheduler {
	return &Scheduler{cases, now, log}
}

// entry is one schedule with its next due time.
type entry struct {
	deployment app.Deployment
	trigger    domain.TriggerSpec
	settings   settings
	key        string // project, workflow and trigger
	due        time.Time
	at         time.Time // when it fires
}

func (e *entry) workflow() string { return e.deployment.Definition.Workflow }

type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*entry)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// Run fires until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	known := map[string]time.Time{}
	for {
		live, changed := s.cases.Live()
		q := s.entries(ctx, live, known)
		if !s.follow(ctx, q, known, changed) {
			return nil
		}
	}
}

// entries makes the queue of the live deployments. It tries again what the database does not tell.
func (s *Scheduler) entries(ctx context.Context, live []app.Deployment, known map[string]time.Time) *queue {
	q := &queue{}
	for _, d := range live {
		for _, t := range d.Definition.Triggers {
			if t.Uses != "cron" {
				continue
			}
			set, err := parse(t.With)
			if err != nil {
				s.log.Error("schedule", "workflow", d.Definition.Workflow, "trigger", t.ID, "err", err)
				continue
			}
			e := &entry{deployment: d, trigger: t, settings: set, key: d.Project + "/" + d.Definition.Workflow + "/" + t.ID}
			if due, ok := known[d.ID+"/"+t.ID]; ok {
				s.put(q, e, due, known) // what was due before the list changed is still due
				continue
			}
			from, err := s.from(ctx, e)
			for err != nil && s.pause(ctx) {
				s.log.Warn("how far a schedule has come could not be read; trying again", "workflow", e.workflow(), "trigger", t.ID, "err", err)
				from, err = s.from(ctx, e)
			}
			if err != nil {
				return q // ctx has ended
			}
			s.put(q, e, s.next(e, from), known)
		}
	}
	return q
}

func (s *Scheduler) put(q *queue, e *entry, due time.Time, known map[string]time.Time) {
	if due.IsZero() {
		s.log.Error("schedule is never due", "workflow", e.workflow(), "trigger", e.trigger.ID)
		return
	}
	e.due, e.at = due, e.settings.firesAt(e.key, due)
	known[e.deployment.ID+"/"+e.trigger.ID] = due
	heap.Push(q, e)
}

// next tells what is left out, which people would look for.
func (s *Scheduler) next(e *entry, from time.Time) time.Time {
	due, left := e.settings.next(e.key, from, s.now())
	if left > 0 {
		s.log.Info("missed due times of a schedule are left out", "workflow", e.workflow(), "trigger", e.trigger.ID, "times", left, "catch_up", e.settings.catchUp)
	}
	return due
}

// from is the time after which the schedule is due: that of its last due time, but not from before
// it was deployed, unless it took the place of a deployment that had the same schedule.
func (s *Scheduler) from(ctx context.Context, e *entry) (time.Time, error) {
	d := e.deployment
	last, found, err := s.cases.Schedule(ctx, d.Project, e.workflow(), e.trigger.ID)
	if err != nil || !found {
		return d.CreatedAt, err
	}
	if last.Deployment == d.ID {
		return last.Due, nil
	}
	old, err := s.cases.Deployment(ctx, d.Project, last.Deployment)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return d.CreatedAt, err
	}
	if last.Spec != e.settings.spec || !old.Superseded() {
		last.Due = later(last.Due, d.CreatedAt)
	}
	last.Spec, last.Deployment = e.settings.spec, d.ID
	return last.Due, s.cases.PutSchedule(ctx, last)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pause waits a second; false once ctx has ended.
func (s *Scheduler) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Second):
		return true
	}
}

// follow fires what is due until the deployments change (true) or ctx ends (false).
func (s *Scheduler) follow(ctx context.Context, q *queue, known map[string]time.Time, changed <-chan struct{}) bool {
	for {
		var timer <-chan time.Time
		if q.Len() > 0 {
			timer = time.After((*q)[0].at.Sub(s.now()))
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case <-timer:
		}
		e := (*q)[0]
		if err := s.fire(ctx, e); fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Internal) {
			s.log.Warn("schedule could not start its run; trying again", "workflow", e.workflow(), "due", e.due, "err", err)
			if !s.pause(ctx) { // the same due time is tried again
				return false
			}
			continue
		} else if err != nil {
			s.log.Error("schedule could not start its run", "workflow", e.workflow(), "due", e.due, "err", err)
		}
		heap.Pop(q)
		if due := s.next(e, e.due); !due.IsZero() {
			s.put(q, e, due, known)
		}
	}
}

// fire starts the run of a due time, as far as the one before allows it, and notes that it did.
func (s *Scheduler) fire(ctx context.Context, e *entry) error {
	d := e.deployment
	last, found, err := s.cases.Schedule(ctx, d.Project, e.workflow(), e.trigger.ID)
	if err != nil {
		return err
	}
	if found && !last.Due.Before(e.due) {
		return nil // another replica was first
	}
	note := app.Schedule{Project: d.Project, Workflow: e.workflow(), Trigger: e.trigger.ID, Spec: e.settings.spec, Deployment: d.ID, Due: e.due, Run: last.Run}
	at := e.due.UTC().Format(time.RFC3339)
	free, err := s.free(ctx, e, last.Run, at)
	if err != nil {
		return err
	}
	var refused error
	if free {
		event, err := json.Marshal(map[string]string{"scheduled_at": at})
		if err != nil {
			return err
		}
		run, err := s.cases.StartRun(ctx, app.StartRun{Project: d.Project, DeploymentID: d.ID, Trigger: app.Trigger{Kind: "cron", ID: e.trigger.ID}, Event: event, EventKey: at})
		if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Internal) {
			return err
		}
		refused = err
		if err == nil {
			note.Run = run.ID
		}
	}
	if err := s.cases.PutSchedule(ctx, note); err != nil {
		return err
	}
	return refused
}

// free tells whether the run of a due time may start beside the one before it.
func (s *Scheduler) free(ctx context.Context, e *entry, before, at string) (bool, error) {
	if before == "" || (e.settings.overlap != overlapSkip && e.settings.overlap != overlapCancel) {
		return true, nil
	}
	r, err := s.cases.Result(ctx, e.deployment.Project, before)
	switch {
	case fault.Is(err, fault.NotFound) || (err == nil && r.State.Ended()):
		return true, nil
	case err != nil:
		return false, err
	case e.settings.overlap == overlapSkip:
		s.log.Info("schedule leaves out a due time: the run before has not ended", "workflow", e.workflow(), "trigger", e.trigger.ID, "due", at, "run", before)
		return false, nil
	}
	err = s.cases.Cancel(ctx, e.deployment.Project, before, "schedule:"+before+":"+at, "the schedule "+e.trigger.ID+" is due again at "+at)
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		err = nil // it ended meanwhile
	}
	return err == nil, err
}
