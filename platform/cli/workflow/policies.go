package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pelton-run/pelton/platform/cli/factory"
	"github.com/pelton-run/pelton/platform/sdk/studio"
)

// span is a time in milliseconds in the way in which it is written in a workflow: 1h30m, 2s, 7d.
func span(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// per tells of what a limit is counted.
func per(key json.RawMessage) string {
	if len(key) == 0 {
		return ""
	}
	return " per " + written(key)
}

func forEach(f studio.ForEach) string {
	out := "for each of " + f.In
	if f.Concurrency > 0 {
		out += fmt.Sprintf(", %d at a time", f.Concurrency)
	}
	switch f.OnError {
	case "skip":
		out += ", failed ones left out"
	case "collect":
		out += ", failed ones kept as errors"
	}
	return out
}

// bounds are how often, how long and in which order a step runs, a few words each.
func bounds(s studio.Step) []string {
	var out []string
	if s.Effect != "" {
		out = append(out, "effect "+s.Effect)
	}
	if r := s.Retry; r != nil {
		text := fmt.Sprintf("tried %s", factory.Count(r.Attempts, "time"))
		if len(r.On) > 0 {
			text += " on " + strings.Join(r.On, " or ")
		}
		if r.BackoffMs > 0 {
			text += " after " + span(r.BackoffMs)
		}
		out = append(out, text)
	}
	if s.TimeoutMs > 0 {
		out = append(out, "attempts of at most "+span(s.TimeoutMs))
	}
	if s.StepTimeoutMs > 0 {
		out = append(out, "at most "+span(s.StepTimeoutMs)+" in all")
	}
	if c := s.Cache; c != nil {
		out = append(out, fmt.Sprintf("cached for %s%s", span(c.TTLMs), per(c.Key)))
	}
	if l := s.Concurrency; l != nil {
		out = append(out, fmt.Sprintf("at most %d at a time%s", l.Limit, per(l.Key)))
	}
	if s.Priority != 0 {
		out = append(out, fmt.Sprintf("priority %d", s.Priority))
	}
	return out
}

// policies are rows of what holds for the runs of a workflow: the name of the setting, and what it says.
func policies(p *studio.Policies) [][]string {
	if p == nil {
		return nil
	}
	var rows [][]string
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	if l := p.Concurrency; l != nil {
		further := map[string]string{"queue": "wait", "skip": "do not start", "cancel-oldest": "cancel the oldest"}[l.Policy]
		add("concurrency", "%s at a time%s; further ones %s", factory.Count(l.Limit, "run"), per(l.Key), further)
	}
	if r := p.RateLimit; r != nil {
		burst := ""
		if r.Burst > 0 {
			burst = fmt.Sprintf(", %d at once", r.Burst)
		}
		add("rateLimit", "%s in %s%s%s", factory.Count(r.Count, "start"), span(r.PerMs), per(r.Key), burst)
	}
	if len(p.IdempotencyKey) > 0 {
		add("idempotencyKey", "%s", written(p.IdempotencyKey))
	}
	if p.TimeoutMs > 0 {
		add("timeout", "%s", span(p.TimeoutMs))
	}
	if p.Priority != 0 {
		add("priority", "%d", p.Priority)
	}
	if p.OnFailure != "" {
		add("onFailure", "starts workflow %s", p.OnFailure)
	}
	if p.Durability != "" {
		add("durability", "%s", p.Durability)
	}
	return rows
}
