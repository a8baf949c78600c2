// Package run is the lifecycle of a program made of parts: started in order, stopped in reverse,
// ended as a whole by the first part that fails.
package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Part is something that works until its context ends. It returns nil when told to stop.
type Part func(ctx context.Context) error

// Group runs parts. The zero value works; it is used by one goroutine.
type Group struct {
	parts []*part
	fail  chan error
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Go starts a part now.
func (g *Group) Go(name string, f Part) {
	if g.fail == nil {
		g.fail = make(chan error, 64)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	g.parts = append(g.parts, p)
	go func() {
		defer close(p.done)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			p.err = fmt.Errorf("%s: %w", name, err)
			g.fail <- p.err
		}
	}()
}

// Wait blocks until ctx ends (nil) or a part fails (its error).
func (g *Group) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-g.fail:
		return err
	}
}

// Stop stops the parts in reverse order, each before the one that was started earlier.
func (g *Group) Stop() error {
	var errs []error
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		p.cancel()
		<-p.done
		errs = append(errs, p.err)
	}
	g.parts = nil
	return errors.Join(errs...)
}

// Ready collects what a process waits for before it takes requests.
type Ready struct {
	mu     sync.Mutex
	checks map[string]func() error
}

// Add registers a check that answers at once.
func (r *Ready) Add(name string, check func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks == nil {
		r.checks = map[string]func() error{}
	}
	r.checks[name] = check
}

// Failing are the checks that fail now, by name.
func (r *Ready) Failing() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for name, check := range r.checks {
		if err := check(); err != nil {
			out[name] = err.Error()
		}
	}
	return out
}
