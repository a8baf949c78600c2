package cron

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	parser "github.com/robfig/cron/v3"
)

// maxCatchUp is how many missed due times of one schedule are caught up at most, the newest ones.
const maxCatchUp = 1000

// The policies of a schedule.
const (
	catchUpNone = "none"
	catchUpLast = "last" // the default
	catchUpAll  = "all"

	overlapAllow  = "allow" // the default
	overlapSkip   = "skip"
	overlapCancel = "cancel-previous"
)

// settings are those of a cron trigger.
type settings struct {
	spec     string // schedule and time zone: a change of them begins anew
	written  string // the schedule alone
	timezone string
	schedule parser.Schedule
	catchUp  string
	overlap  string
	jitter   time.Duration
}

// parse reads the settings of a cron trigger.
func parse(with json.RawMessage) (settings, error) {
	var c struct{ Schedule, Timezone, CatchUp, Overlap, Jitter string }
	if err := json.Unmarshal(with, &c); err != nil {
		return settings{}, err
	}
	s := settings{spec: c.Schedule, written: c.Schedule, timezone: c.Timezone, catchUp: c.CatchUp, overlap: c.Overlap}
	if c.Timezone != "" {
		s.spec = "CRON_TZ=" + c.Timezone + " " + s.spec
	}
	if s.catchUp == "" {
		s.catchUp = catchUpLast
	}
	if s.overlap == "" {
		s.overlap = overlapAllow
	}
	var err error
	if c.Jitter != "" {
		if s.jitter, err = time.ParseDuration(c.Jitter); err != nil {
			return settings{}, fmt.Errorf("jitter: %w", err)
		}
	}
	s.schedule, err = parser.ParseStandard(s.spec)
	return s, err
}

// firesAt is when the due time of a schedule fires: up to its jitter later, by the same amount
// whoever computes it.
func (s settings) firesAt(key string, due time.Time) time.Time {
	if s.jitter <= 0 {
		return due
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", key, due.Unix())
	return due.Add(time.Duration(h.Sum64() % uint64(s.jitter))) //nolint:gosec // jitter is positive
}

// next is the due time that follows from under the catch-up policy, and how many missed ones are
// left out. It is zero if the schedule is never due again.
func (s settings) next(key string, from, now time.Time) (due time.Time, left int) {
	missed := func(t time.Time) bool { return !t.IsZero() && !s.firesAt(key, t).After(now) }
	due = s.schedule.Next(from)
	if !missed(due) {
		return due, 0
	}
	// The missed ones, of which the newest are kept in a ring.
	var ring []time.Time
	count := 0
	for t := due; missed(t); t = s.schedule.Next(t) {
		if len(ring) < maxCatchUp {
			ring = append(ring, t)
		} else {
			ring[count%maxCatchUp] = t
		}
		count++
		due = t
	}
	switch {
	case s.catchUp == catchUpNone:
		return s.schedule.Next(due), count
	case s.catchUp == catchUpLast:
		return due, count - 1
	case count > maxCatchUp:
		return ring[count%maxCatchUp], count - maxCatchUp
	}
	return ring[0], 0
}
