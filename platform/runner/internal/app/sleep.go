package app

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/pelton-run/pelton/platform/runner/internal/domain"
)

// A run that only waits is a row: it leaves memory when it is due later than sleepWindow from
// now, and comes back when it is due within it, or when something is sent to it.
const (
	sleepWindow = 30 * time.Second
	wakeBatch   = 2000
)

// settle decides what else goes with a row: what lists show, and whether the run can leave
// memory.
func (sh *shard) settle(q *queued, tr *domain.Transition) {
	r := q.run
	for _, w := range tr.Waits {
		x := Wait{Project: r.s.Project, Workflow: r.summary.Workflow, Run: r.s.ID, Step: r.s.Plan.Nodes[w.Step].Spec.ID, Path: w.Path,
			Kind: w.Wait.String(), Text: w.Text, Since: micros(w.Since), Due: micros(w.Due), Over: w.Over}
		q.Waits = append(q.Waits, x)
	}
	r.waited = r.waited || len(tr.Waits) > 0
	if r.s.Status.Ended() {
		return
	}
	shown := r.s.Shown()
	if shown == domain.RunWaiting && r.awaited == 0 && len(r.watchers) == 0 {
		if due := time.UnixMicro(r.s.NextDue()); due.Sub(sh.e.now()) > sh.e.sleepAfter {
			q.Sleep, r.waited = &Sleep{Due: due, Holds: r.holds()}, true
		}
	}
	if q.Sleep == nil && shown == domain.RunWaiting {
		shown = domain.RunRunning // a short wait is not worth a write; readers see it in memory
	}
	if r.asleep && q.Sleep == nil {
		q.Wake = true
	}
	r.asleep = q.Sleep != nil
	if shown != r.stored {
		q.State, r.stored = shown, shown
	}
}

// holds is what a run that only waits holds: its workflow's key. An heir learns of it without its
// journal.
func (r *liveRun) holds() []byte {
	if r.s.Plan.RunKey == nil {
		return nil
	}
	q, err := r.runRequest(true)
	if err != nil {
		return nil // it did not get a place
	}
	b, _ := json.Marshal(q) // text and numbers
	return b
}

// rest lets a run leave memory once the row that says so is durable.
func (sh *shard) rest(r *liveRun) {
	if !r.asleep || r.tail != nil || r.awaited > 0 || len(r.watchers) > 0 || sh.runs[r.s.ID] != r {
		return
	}
	sh.drop(r, nil)
}

// wakeLoop brings back the runs that are due soon.
func (s *Service) wakeLoop(ctx context.Context) {
	for {
		wait := s.wakeDue(ctx)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// wakeDue takes up what is due within the window, and tells when to look again.
func (s *Service) wakeDue(ctx context.Context) time.Duration {
	every := s.engine.sleepAfter / 2
	for {
		ids, err := s.deps.Store.Sleeping(ctx, s.tenure.fence.Load(), s.now().Add(s.engine.sleepAfter), wakeBatch)
		if err != nil {
			if ctx.Err() == nil {
				s.deps.Log.Warn("runs that wait could not be read", "error", err)
			}
			return every
		}
		taken := 0
		for _, id := range ids {
			if live := s.liveHere(ctx, id); live {
				continue
			}
			if err := s.rouse(ctx, "", id, nil); err != nil && ctx.Err() == nil {
				s.deps.Log.Error("run that waits not taken up", "run", id, "error", err)
				continue
			}
			taken++
		}
		if len(ids) < wakeBatch || taken == 0 || ctx.Err() != nil {
			return every
		}
	}
}

func (s *Service) liveHere(ctx context.Context, id string) bool {
	live := false
	err := s.engine.shardOf(id).call(ctx, func(sh *shard) { live = sh.runs[id] != nil })
	return err == nil && live
}

// rouse makes sure that a run that has not ended is in memory, and calls do on its shard; do may
// be nil. A run that ends meanwhile is left alone.
func (s *Service) rouse(ctx context.Context, project, id string, do func(*shard, *liveRun)) error {
	for {
		found := false
		err := s.engine.shardOf(id).call(ctx, func(sh *shard) {
			if r := sh.runs[id]; r != nil {
				found = true
				if do != nil {
					do(sh, r)
				}
			}
		})
		if err != nil || found {
			return err
		}
		release, err := s.reserve(ctx, "rouse\x00"+id)
		if err != nil {
			return err
		}
		loaded, err := s.takeUpOne(ctx, id)
		release()
		if err != nil || !loaded {
			return err
		}
		if do == nil {
			return nil
		}
	}
}

// takeUpOne reads one run from the database into memory; false if it has ended, errElsewhere if
// another replica acts for it.
func (s *Service) takeUpOne(ctx context.Context, id string) (bool, error) {
	if s.liveHere(ctx, id) {
		return true, nil
	}
	s.claiming.RLock()
	l, err := s.deps.Store.LiveRun(ctx, id)
	s.claiming.RUnlock()
	if errors.Is(err, ErrNoLiveRun) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if l.Owner != s.tenure.fence.Load() {
		return false, errElsewhere
	}
	if l.Held == "" {
		s.ensureFor(ctx, l.Deployment)
	}
	commands, err := s.deps.Store.Commands(ctx, id)
	if err != nil {
		return false, err
	}
	return true, s.takeUp(ctx, l, commands)
}

// awake is closed when the run comes back into memory, or ends.
func (s *Service) awake(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.sleepers[id]
	if c == nil {
		c = make(chan struct{})
		s.sleepers[id] = c
	}
	return c
}

// roused tells those who wait for a run that it is in memory again.
func (s *Service) roused(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.sleepers[id]; c != nil {
		delete(s.sleepers, id)
		close(c)
	}
}
