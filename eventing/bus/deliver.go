package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// The waits between tries double from the first to the last.
const (
	firstWait       = 20 * time.Millisecond
	lastWait        = 10 * time.Second
	defaultTries    = 10
	defaultPrefetch = 1
)

// WithDefaults fills in what a queue leaves out.
func (q Queue) WithDefaults() Queue {
	if q.Prefetch <= 0 {
		q.Prefetch = defaultPrefetch
	}
	if q.MaxTries <= 0 {
		q.MaxTries = defaultTries
	}
	return q
}

// Deliver hands m to the handler until it is dealt with, as Handler says: the rules of trying again
// that every bus has. dead is set when the message was given up; err when ctx ended before it was
// dealt with, so that it has to be delivered again.
func Deliver(ctx context.Context, q Queue, h Handler, m Message, log *slog.Logger) (dead *Dead, err error) {
	wait := firstWait
	for try := 1; ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := h(ctx, m)
		if err == nil {
			return nil, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		away := fault.Is(err, fault.Unavailable)
		if !away && (fault.Is(err, fault.Invalid) || try >= q.MaxTries) {
			log.Error("message given up", "queue", q.Name, "key", m.Key, "id", m.ID, "tries", try, "err", err)
			return &Dead{Message: m, Queue: q.Name, Reason: err.Error(), Tries: try, DiedAt: time.Now()}, nil
		}
		log.Warn("message is tried again", "queue", q.Name, "key", m.Key, "id", m.ID, "try", try, "err", err)
		if !Wait(ctx, wait) {
			return nil, ctx.Err()
		}
		wait = min(wait*2, lastWait)
		if !away {
			try++
		}
	}
}

// Wait waits and tells whether ctx still lives.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
