package cron

import (
	"encoding/json"
	"time"
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
