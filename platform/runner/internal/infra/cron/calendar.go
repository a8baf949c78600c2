package cron

import (
	"encoding/json"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Calendar implements app.Calendar.
type Calendar struct{}

// Due implements app.Calendar.
func (Calendar) Due(with json.RawMessage, from, to time.Time, limit int) ([]time.Time, error) {
	s, err := parse(with)
	if err != nil {
		return nil, err
	}
	var out []time.Time
	for t := s.schedule.Next(from.Add(-time.Nanosecond)); !t.IsZero() && t.Before(to) && len(out) <= limit; t = s.schedule.Next(t) {
		out = append(out, t)
	}
	return out, nil
}

// Settings implements app.Calendar.
func (Calendar) Settings(with json.RawMessage) (app.ScheduleSettings, error) {
	s, err := parse(with)
	return app.ScheduleSettings{Schedule: s.written, Timezone: s.timezone, CatchUp: s.catchUp, Overlap: s.overlap, Jitter: s.jitter}, err
}
