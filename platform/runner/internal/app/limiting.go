package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/runner/internal/app/limits/shared"
)

// The domains of limits: each is kept by one replica.
const serverDomain = "server"

func projectDomain(project string) string { return "project/" + project }

// atServer is the request for the server's cap that belongs to another one.
func atServer(request string) string { return request + "@server" }

// RateUse is what the start of a run takes of a rate.
type RateUse struct {
	Project string
	Key     string
	Every   time.Duration // in which the bucket gets one token
}

// limits is this incarnation's part in keeping limits, nil before the first.
func (e *engine) limits() *shared.Node { return e.node.Load() }

// startLimits makes the node of an incarnation and lets it work until ctx is done.
func (s *Service) startLimits(ctx context.Context, fence int64, wg *sync.WaitGroup) {
	beat := s.cfg.Beat
	if s.alone() {
		beat = time.Minute // nothing changes by itself
	}
	node := shared.New(shared.Config{Me: fence, Network: &limitNetwork{s: s, me: fence}, Beat: beat, Now: s.now, Log: s.deps.Log,
		Spent: func(ctx context.Context, domain string) (map[string]time.Duration, error) {
			project, ok := strings.CutPrefix(domain, projectDomain(""))
			if !ok {
				return nil, nil
			}
			return s.deps.Store.SpentRates(ctx, project)
		}})
	s.engine.node.Store(node)
	wg.Go(func() { node.Run(ctx) })
}

// limitNetwork is what a node knows of the replicas: what the database tells.
type limitNetwork struct {
	s     *Service
	me    int64
	mu    sync.Mutex
	peers map[int64]Incarnation
}

// Live implements shared.Network.
func (w *limitNetwork) Live(ctx context.Context) (live []int64, whole bool, err error) {
	owed := w.s.owed.Load() > 0 || !w.s.up.Load() // estates that are ours, and not settled
	if w.s.alone() {
		return []int64{w.me}, !owed, nil
	}
	all, err := w.s.deps.Store.Incarnations(ctx)
	if err != nil {
		return nil, false, err
	}
	unsettled, err := w.s.deps.Store.Unsettled(ctx)
	if err != nil {
		return nil, false, err
	}
	whole = !unsettled
	peers := map[int64]Incarnation{}
	for _, i := range all {
		if !i.Leased || i.Expired {
			whole = false
			continue
		}
		live, peers[i.Fence] = append(live, i.Fence), i
	}
	if _, ok := peers[w.me]; !ok {
		return nil, false, errors.New("this replica has lost its lease")
	}
	w.mu.Lock()
	w.peers = peers
	w.mu.Unlock()
	return live, whole, nil
}

// Held implements shared.Network.
func (w *limitNetwork) Held() bool { return w.s.Held() }

// Call implements shared.Network.
func (w *limitNetwork) Call(ctx context.Context, to int64, ask []byte) (answer []byte, err error) {
	w.mu.Lock()
	peer, ok := w.peers[to]
	w.mu.Unlock()
	if !ok || peer.Address == "" || w.s.deps.Peers == nil {
		return nil, fmt.Errorf("there is no way to incarnation %d", to)
	}
	err = w.s.deps.Peers.Call(ctx, peer, callLimits, ask, func(b []byte) error {
		answer = append([]byte(nil), b...)
		return nil
	})
	return answer, err
}

// answerLimits serves another replica's node, also while this one is still taking up runs.
func (s *Service) answerLimits(ctx context.Context, ask []byte, give func([]byte) error) error {
	node := s.engine.limits()
	if node == nil {
		return errNotServing()
	}
	b, err := node.Answer(ctx, ask)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "limits: %s", err)
	}
	return give(b)
}

// adoptAsleep adopts what runs hold that only wait, and stay rows.
func (s *Service) adoptAsleep(h Heritage) {
	for _, b := range h.Holds {
		var q shared.Request
		if err := json.Unmarshal(b, &q); err != nil {
			s.deps.Log.Error("the place of a run that waits cannot be read", "error", err)
			continue
		}
		s.engine.limits().Adopt(q)
	}
}

// settleEstates notes that estates are dealt with, once the keepers of limits know of what was held
// in them: only then do new keepers count, and grant. It goes on until ctx is done.
func (s *Service) settleEstates(ctx context.Context, node *shared.Node, fences []int64) {
	defer node.Changed()
	defer s.owed.Add(-1)
	for {
		err := node.Flush(ctx)
		if err == nil && len(fences) > 0 {
			err = s.deps.Store.Settle(ctx, fences)
		}
		if err == nil {
			s.signal(0, signalReplicas)
			return
		}
		if ctx.Err() != nil || s.pause(ctx) != nil {
			return
		}
		s.deps.Log.Warn("estates of replicas that are gone are not settled yet: some limits wait", "error", err)
	}
}
