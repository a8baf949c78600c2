// Package cron fires the schedules of live deployments.
package cron

import (
	"container/heap"
	"context"
	"encoding/json"
	"log/slog"
	"time"

	parser "github.com/robfig/cron/v3"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// catchUp is how long after its due time a schedule that was missed still fires.
const catchUp = time.Hour

// Scheduler fires schedules. A due time fires once: its run has the trigger and the due time as
// its event key, so that a second one, after a crash between the two, finds the first.
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
	schedule   parser.Schedule
	due        time.Time
}

type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
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
		q := s.entries(live, known)
		if !s.follow(ctx, q, known, changed) {
			return nil
		}
	}
}

func (s *Scheduler) entries(live []app.Deployment, known map[string]time.Time) *queue {
	q := &queue{}
	now := s.now()
	for _, d := range live {
		for _, t := range d.Definition.Triggers {
			if t.Uses != "cron" {
				continue
			}
			sched, err := parse(t.With)
			if err != nil {
				s.log.Error("schedule", "workflow", d.Definition.Workflow, "trigger", t.ID, "err", err)
				continue
			}
			e := &entry{deployment: d, trigger: t, schedule: sched}
			key := d.ID + "/" + t.ID
			if due, ok := known[key]; ok {
				e.due = due // what was due before the list changed is still due
			} else {
				// First seen since our start: the latest due time that was missed is caught up.
				from := d.CreatedAt
				if now.Sub(from) > catchUp {
					from = now.Add(-catchUp)
				}
				e.due = sched.Next(from)
				for next := sched.Next(e.due); !next.IsZero() && next.Before(now); next = sched.Next(next) {
					e.due = next
				}
			}
			if e.due.IsZero() {
				s.log.Error("schedule is never due", "workflow", d.Definition.Workflow, "trigger", t.ID)
				continue
			}
			known[key] = e.due
			heap.Push(q, e)
		}
	}
	return q
}

// Parse reads the settings of a cron trigger.
func parse(with json.RawMessage) (parser.Schedule, error) {
	var c struct{ Schedule, Timezone string }
	if err := json.Unmarshal(with, &c); err != nil {
		return nil, err
	}
	text := c.Schedule
	if c.Timezone != "" {
		text = "CRON_TZ=" + c.Timezone + " " + text
	}
	return parser.ParseStandard(text)
}

// follow fires what is due until the deployments change (true) or ctx ends (false).
func (s *Scheduler) follow(ctx context.Context, q *queue, known map[string]time.Time, changed <-chan struct{}) bool {
	for {
		var timer <-chan time.Time
		if q.Len() > 0 {
			timer = time.After((*q)[0].due.Sub(s.now()))
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return true
		case <-timer:
		}
		e := (*q)[0]
		if !s.fire(ctx, e) {
			select {
			case <-ctx.Done():
				return false
			case <-time.After(time.Second): // the same due time is tried again
			}
			continue
		}
		if e.due = e.schedule.Next(e.due); e.due.IsZero() {
			heap.Pop(q)
			continue
		}
		known[e.deployment.ID+"/"+e.trigger.ID] = e.due
		heap.Fix(q, 0)
	}
}

func (s *Scheduler) fire(ctx context.Context, e *entry) bool {
	at := e.due.UTC().Format(time.RFC3339)
	event, err := json.Marshal(map[string]string{"scheduled_at": at})
	if err != nil {
		return true
	}
	_, err = s.cases.StartRun(ctx, app.StartRun{Project: e.deployment.Project, DeploymentID: e.deployment.ID, Trigger: app.Trigger{Kind: "cron", ID: e.trigger.ID},
		Event: event, EventKey: at})
	if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Internal) {
		s.log.Warn("schedule could not start its run; trying again", "workflow", e.deployment.Definition.Workflow, "due", at, "err", err)
		return false
	}
	if err != nil {
		s.log.Error("schedule could not start its run", "workflow", e.deployment.Definition.Workflow, "due", at, "err", err)
	}
	return true
}
