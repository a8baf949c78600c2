package kaniko

import (
	"context"
	"sync"
	"time"
)

// limit is the time that a build may take. What it spends waiting for others, for a node or for an image does not count:
// an author can do nothing about that.
type limit struct {
	end context.CancelFunc

	mu    sync.Mutex
	left  time.Duration
	since time.Time // that time counts; zero while waits > 0
	waits int
	timer *time.Timer
}

// limited is a context that ends once the time is spent. The caller stops it.
func limited(ctx context.Context, d time.Duration) (context.Context, *limit) {
	ctx, end := context.WithCancel(ctx)
	l := &limit{end: end, left: d, since: time.Now()}
	l.timer = time.AfterFunc(d, end)
	return ctx, l
}

// wait stops the clock until goOn is called, once or more.
func (l *limit) wait() (goOn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits++; l.waits == 1 && l.timer.Stop() { // one that rang has ended the build
		l.left -= time.Since(l.since)
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.waits--; l.waits == 0 {
			l.since = time.Now()
			l.timer.Reset(max(l.left, 0))
		}
	})
}

func (l *limit) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits++ // nothing starts it again
	l.timer.Stop()
	l.end()
}
