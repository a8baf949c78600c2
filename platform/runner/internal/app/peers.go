package app

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Peers carries calls between the replicas on one store. An adapter that listens hands what comes
// in to Service.Answer.
type Peers interface {
	// Address is where other replicas reach this one.
	Address() string
	// Call asks another replica and hands each of its answers to take, in order. It returns nil
	// once the other has answered all, take's error, the other's fault, or unavailable when it cannot be
	// reached or goes away; it blocks until then or until ctx is done. take must not keep the bytes.
	Call(ctx context.Context, to Incarnation, op string, ask []byte, take func(answer []byte) error) error
}

// The calls between replicas.
const (
	callAwait  = "await"
	callRun    = "run"
	callWatch  = "watch"
	callFeed   = "feed"
	callFlush  = "flush"
	callInbox  = "inbox"
	callLimits = "limits"
)

// runAsk is what calls about a run ask.
type runAsk struct{ Project, Run string }

// patience is how long is waited before a replica that cannot be reached, or has just taken over,
// is asked again.
const patience = 200 * time.Millisecond

// Answer serves a call of another replica: give is called with each answer, in order. It returns
// once all are given, or with a fault.
func (s *Service) Answer(ctx context.Context, op string, ask []byte, give func(answer []byte) error) error {
	if op == callLimits {
		return s.answerLimits(ctx, ask, give)
	}
	if err := s.isReady(); err != nil {
		return err
	}
	var q runAsk
	if err := json.Unmarshal(ask, &q); err != nil {
		return fault.Wrap(err, fault.Invalid, "the call %s cannot be read", op)
	}
	tell := func(v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return fault.Wrap(err, fault.Internal, "encode the answer to %s", op)
		}
		return give(b)
	}
	switch op {
	case callInbox:
		s.signalled(Signal{Topic: signalInbox})
		return nil
	case callFlush:
		s.engine.logs.flush(ctx)
		return nil
	case callAwait:
		res, err := s.Await(ctx, q.Project, q.Run)
		if err != nil {
			return err
		}
		return tell(res)
	case callRun:
		d, found, err := s.detailHere(ctx, q.Project, q.Run)
		if err != nil || !found {
			return err
		}
		return tell(d)
	case callWatch:
		events, found, err := s.watchHere(ctx, q.Project, q.Run)
		if err != nil || !found {
			return err
		}
		// What happened before the asker was heard here was told to nobody.
		if err := tell(RunEvent{Kind: "resync"}); err != nil {
			return err
		}
		return giveAll(ctx, events, tell)
	case callFeed:
		events := s.watchProjectHere(ctx, q.Project)
		if err := tell(ProjectEvent{Kind: "resync"}); err != nil {
			return err
		}
		return giveAll(ctx, events, tell)
	}
	return fault.New(fault.Unsupported, "this version knows no call %q between replicas", op)
}

func giveAll[T any](ctx context.Context, events <-chan T, tell func(any) error) error {
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				return nil
			}
			if err := tell(ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// call asks a replica; unavailable without a way to reach it.
func (s *Service) call(ctx context.Context, to Incarnation, op string, ask runAsk, take func([]byte) error) error {
	if s.deps.Peers == nil || to.Address == "" {
		return fault.New(fault.Unavailable, "replica %s has no address", to.Name)
	}
	b, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	return s.deps.Peers.Call(ctx, to, op, b, take)
}

// wakeOwner lets the replica that acts for a run look into its inbox: directly, or by a signal.
func (s *Service) wakeOwner(ctx context.Context, run string) {
	owner, there := s.elsewhere(ctx, run)
	if !there {
		s.signalled(Signal{Topic: signalInbox}) // it is ours by now
		return
	}
	direct, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if s.call(direct, owner, callInbox, runAsk{}, func([]byte) error { return nil }) != nil {
		s.signal(owner.Fence, signalInbox)
	}
}

// awaitThere registers with the replica that acts for a run and waits for its answer. No answer
// and no error: it is gone, or has given the run away; look again who acts for it.
func (s *Service) awaitThere(ctx context.Context, owner Incarnation, project, run string) (res *RunResult, err error) {
	err = s.call(ctx, owner, callAwait, runAsk{project, run}, func(b []byte) error {
		res = &RunResult{}
		return json.Unmarshal(b, res)
	})
	if err == nil && res != nil {
		return res, nil
	}
	return nil, s.pause(ctx)
}

// pause waits a moment.
func (s *Service) pause(ctx context.Context) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// detailThere asks the replica that acts for a run, which knows how far its attempts are.
func (s *Service) detailThere(ctx context.Context, project, run string) (d RunDetail, found bool) {
	owner, there := s.elsewhere(ctx, run)
	if !there {
		return d, false
	}
	asking, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := s.call(asking, owner, callRun, runAsk{project, run}, func(b []byte) error {
		found = true
		return json.Unmarshal(b, &d)
	})
	return d, found && err == nil
}

// Watch streams what happens to a run, whoever acts for it. See UseCases.
func (s *Service) Watch(ctx context.Context, project, runID string) (<-chan RunEvent, error) {
	here, found, err := s.watchHere(ctx, project, runID)
	if err != nil || s.alone() {
		return here, err
	}
	if !found {
		if sum, err := s.deps.Store.RunSummary(ctx, project, runID); err != nil || sum.State.Ended() {
			return here, err
		}
	}
	w := &watcher{ch: make(chan RunEvent, 256)}
	go s.followRun(ctx, project, runID, here, w)
	return w.ch, nil
}

// followRun hands on the events of a run, here or from the replica that acts for it, over
// take-overs, until it has ended.
func (s *Service) followRun(ctx context.Context, project, runID string, here <-chan RunEvent, w *watcher) {
	var last *RunSummary
	defer func() { w.close(last) }()
	tell := func(ev RunEvent) {
		if ev.Kind == "run" && ev.Run != nil && ev.Run.State.Ended() {
			last = ev.Run
			return
		}
		w.tell(ev)
	}
	for ctx.Err() == nil {
		if here != nil {
			for ev := range here {
				tell(ev)
			}
		} else if owner, there := s.elsewhere(ctx, runID); there {
			_ = s.call(ctx, owner, callWatch, runAsk{project, runID}, func(b []byte) error {
				var ev RunEvent
				err := json.Unmarshal(b, &ev)
				if err == nil {
					tell(ev)
				}
				return err
			})
		}
		if last == nil && ctx.Err() == nil {
			if sum, err := s.deps.Store.RunSummary(ctx, project, runID); err == nil && sum.State.Ended() {
				last = &sum
			}
		}
		if last != nil || s.pause(ctx) != nil {
			return
		}
		w.tell(RunEvent{Kind: "resync"})
		here, _, _ = s.watchHere(ctx, project, runID)
	}
}

// WatchProject streams what happens to the runs of a project on every replica. See UseCases.
func (s *Service) WatchProject(ctx context.Context, project string) <-chan ProjectEvent {
	here := s.watchProjectHere(ctx, project)
	if s.alone() || s.deps.Peers == nil {
		return here
	}
	r := &feedReader{ch: make(chan ProjectEvent, 1024)}
	var mu sync.Mutex
	tell := func(ev ProjectEvent) {
		mu.Lock()
		defer mu.Unlock()
		r.tell(ev)
	}
	go func() {
		var wg sync.WaitGroup
		wg.Go(func() {
			for ev := range here {
				tell(ev)
			}
		})
		wg.Go(func() { s.followPeers(ctx, project, tell) })
		wg.Wait()
		close(r.ch)
	}()
	return r.ch
}

// followPeers keeps a stream of a project's events from each other replica, until ctx is done.
func (s *Service) followPeers(ctx context.Context, project string, tell func(ProjectEvent)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	following := map[int64]bool{}
	for {
		_, changed := s.Live() // also closed when a replica comes or goes
		for _, p := range s.others() {
			if following[p.Fence] {
				continue
			}
			following[p.Fence] = true
			wg.Go(func() { s.followPeer(ctx, p, project, tell) })
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// followPeer hands on the events of one replica for as long as it lives.
func (s *Service) followPeer(ctx context.Context, p Incarnation, project string, tell func(ProjectEvent)) {
	for ctx.Err() == nil {
		_ = s.call(ctx, p, callFeed, runAsk{Project: project}, func(b []byte) error {
			var ev ProjectEvent
			err := json.Unmarshal(b, &ev)
			if err == nil {
				tell(ev)
			}
			return err
		})
		if ctx.Err() != nil {
			return
		}
		tell(ProjectEvent{Kind: "resync"})
		alive := false
		for _, o := range s.others() {
			alive = alive || o.Fence == p.Fence
		}
		if !alive || s.pause(ctx) != nil {
			return
		}
	}
}

// flushRecent has every replica write the log records that it holds: who acted for an ended run
// is not kept.
func (s *Service) flushRecent(ctx context.Context, sum RunSummary) {
	s.engine.logs.flush(context.WithoutCancel(ctx))
	if s.alone() || s.now().Sub(sum.FinishedAt) > time.Minute {
		return
	}
	asking, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range s.others() {
		wg.Go(func() {
			err := s.call(asking, p, callFlush, runAsk{}, func([]byte) error { return nil })
			if err != nil && !errors.Is(err, context.Canceled) {
				s.deps.Log.Debug("logs of another replica may be late", "replica", p.Name, "error", err)
			}
		})
	}
	wg.Wait()
}

// Refresh looks for what other replicas have made live or stopped just now. See UseCases.
func (s *Service) Refresh(ctx context.Context) error {
	if s.alone() {
		return nil
	}
	release, err := s.reserve(ctx, "refresh")
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	recent := s.now().Sub(s.refreshed) < 50*time.Millisecond
	s.mu.Unlock()
	if recent {
		return nil
	}
	err = s.refresh(ctx)
	s.mu.Lock()
	s.refreshed = s.now()
	s.mu.Unlock()
	return err
}
