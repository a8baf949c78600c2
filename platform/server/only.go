package server

import (
	"context"
	"fmt"
	"time"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// onlyKey names the right to run every service on a store. The outbox's relay has a lock in the same database.
const onlyKey = 0x70656c746f6e_01 // "pelton", 1

// beOnly refuses to start every service on a store where another process does: messages stay in a
// process, so that each would miss what the other does. One that died a moment ago is waited for.
func (p *process) beOnly(ctx context.Context, url string) error {
	if p.cfg.alone() || !p.cfg.runs("all") || !p.cfg.local() {
		return nil
	}
	only, err := pg.TakeOnly(ctx, url, onlyKey, 5*time.Second)
	if fault.Is(err, fault.Conflict) {
		return fault.New(fault.Conflict, "target: another process runs every service on this store: stop it, or start this one with --target runner --replica NAME as a further replica")
	}
	if err != nil {
		return err
	}
	p.onClose(only.Release)
	p.group.Go("store", func(ctx context.Context) error {
		if err := only.Keep(ctx); err != nil {
			return fmt.Errorf("target: the database was away, and another process runs every service on this store by now: %w", err)
		}
		return nil
	})
	return nil
}
