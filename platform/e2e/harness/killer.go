package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// killer ends one service of a split platform after another at random with SIGKILL and starts each again,
// as long as the platform is meant to be up.
type killer struct {
	kills atomic.Int64
	stop  context.CancelFunc
	over  sync.WaitGroup
}

// startKiller is for a split platform all of whose services are ready.
func (p *Platform) startKiller() {
	if p.options.Kills == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.killer.stop = cancel
	p.killer.over.Go(func() {
		for ctx.Err() == nil {
			for _, i := range rand.Perm(len(Targets)) {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Duration(300+rand.IntN(2200)) * time.Millisecond):
				}
				if err := p.killOnce(ctx, Targets[i]); err != nil {
					p.options.Kills(err)
					return
				}
			}
		}
	})
}

// killOnce leaves out a service that is in the middle of answering what its caller may not send twice.
func (p *Platform) killOnce(ctx context.Context, service string) error {
	gate := p.ingress.gates[service]
	for end := time.Now().Add(3 * time.Second); !gate.TryLock(); {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(end) {
			return nil
		}
	}
	err := p.KillService(service)
	gate.Unlock()
	if err != nil {
		return err
	}
	p.killer.kills.Add(1)
	// The service is to be up again also when the killer is to end just now.
	up, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := p.RestartService(up, service); err != nil {
		return fmt.Errorf("%s after a kill: %w", service, err)
	}
	return nil
}

// StopKills returns once all services are up and none is killed any more: for tests that are about to take away what services
// need to start.
func (p *Platform) StopKills() {
	if p.killer.stop != nil {
		p.killer.stop()
		p.killer.over.Wait()
		p.killer.stop = nil
	}
}

// Kills is how often a service was killed because Options.Kills asks for it.
func (p *Platform) Kills() int { return int(p.killer.kills.Load()) }

// mayRepeat tells whether a request does the same when it is sent twice.
func mayRepeat(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut:
		return true
	}
	return r.Header.Get("Idempotency-Key") != ""
}
