package app

import (
	"context"
	"time"
)

// Retention is how long what nobody needs is kept.
type Retention struct {
	Age   time.Duration // of failed and cancelled builds with their logs, from their end. Defaults to 30 d
	Scans int           // of a repository. Defaults to 100
	Every time.Duration // between two collections. Defaults to 1 h
}

// OrDefaults fills in what is not set.
func (r Retention) OrDefaults() Retention {
	if r.Age == 0 {
		r.Age = 30 * 24 * time.Hour
	}
	if r.Scans == 0 {
		r.Scans = 100
	}
	if r.Every == 0 {
		r.Every = time.Hour
	}
	return r
}

// collectBatch is how many builds go in one transaction.
const collectBatch = 500

// Collect forgets old scans, and builds that failed or were cancelled long ago and are not the newest
// of their place, and has the builder drop what those may have left. A build that succeeded was
// offered, so that any revision may name it: it stays, with its bundle and its log. A crash in the
// middle loses nothing: the next collection goes on.
func (s *Service) Collect(ctx context.Context) (builds int, err error) {
	if err := s.Store.PruneScans(ctx, s.Retention.Scans); err != nil {
		return 0, err
	}
	for {
		n, err := s.Store.CollectBuilds(ctx, s.Now().Add(-s.Retention.Age), collectBatch)
		builds += n
		if err != nil || n < collectBatch {
			return builds, err
		}
	}
}

// collect collects now and then until ctx ends.
func (s *Service) collect(ctx context.Context) {
	tick := time.NewTicker(s.Retention.Every)
	defer tick.Stop()
	for {
		switch n, err := s.Collect(ctx); {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.Log.Warn("old builds and scans stay until the next collection", "err", err)
		case n > 0:
			s.Log.Info("forgot old builds", "builds", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
