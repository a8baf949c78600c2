package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Begin begins an incarnation. See app.Replicas.
func (s *Store) Begin(ctx context.Context, i app.Incarnation, lease time.Duration) (fence int64, err error) {
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, s.q["begin_incarnation"], i.Name, i.Address, i.Estate).Scan(&fence); err != nil || lease == 0 {
			return err
		}
		_, err := tx.Exec(ctx, s.q["begin_lease"], fence, lease)
		return err
	})
	return fence, pg.Translate(err, "incarnation")
}

// Renew prolongs a lease. See app.Replicas.
func (s *Store) Renew(ctx context.Context, fence int64, lease time.Duration) error {
	tag, err := s.pool.Exec(ctx, s.q["renew_lease"], fence, lease)
	if err == nil && tag.RowsAffected() == 0 {
		return app.ErrFenced
	}
	return pg.Translate(err, "lease")
}

// EndLease gives a lease back. See app.Replicas.
func (s *Store) EndLease(ctx context.Context, fence int64) error {
	_, err := s.pool.Exec(ctx, s.q["end_lease"], fence, true)
	return pg.Translate(err, "lease")
}

// Incarnations lists those that are not fenced. See app.Replicas.
func (s *Store) Incarnations(ctx context.Context) ([]app.Incarnation, error) {
	return collect[app.Incarnation](ctx, s, "incarnation", "incarnations")
}

var errHeld = errors.New("it lives, or somebody else was faster")

// TakeOver fences an incarnation and claims what it had. See app.Replicas.
func (s *Store) TakeOver(ctx context.Context, dead, heir int64, surely bool) (h app.Heritage, err error) {
	err = pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		h = app.Heritage{}
		// Whoever takes over from the heir waits until this is over, and then finds all of it.
		if _, err := tx.Exec(ctx, s.q["hold_fence"], heir); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, s.q["end_lease"], dead, surely); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, s.q["fence_incarnation"], dead, heir)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errHeld
		}
		rows, err := tx.Query(ctx, s.q["claim_runs"], dead, heir)
		if err != nil {
			return err
		}
		claimed, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
			Run   string
			Holds []byte
		}])
		if err != nil {
			return err
		}
		for _, c := range claimed {
			if len(c.Holds) > 0 {
				h.Holds = append(h.Holds, c.Holds)
			} else {
				h.Runs = append(h.Runs, c.Run)
			}
		}
		for _, name := range []string{"claim_sources", "claim_estates"} {
			if _, err := tx.Exec(ctx, s.q[name], dead, heir); err != nil {
				return err
			}
		}
		if rows, err = tx.Query(ctx, s.q["estates"], heir); err != nil {
			return err
		}
		h.Estates, err = pgx.CollectRows(rows, pgx.RowToStructByPos[app.Estate])
		return err
	})
	switch {
	case errors.Is(err, errHeld):
		return app.Heritage{}, nil
	case isCode(err, "PF001"):
		return app.Heritage{}, app.ErrFenced
	}
	return h, pg.Translate(err, "incarnation")
}

// Settle notes that estates are dealt with. See app.Replicas.
func (s *Store) Settle(ctx context.Context, fences []int64) error {
	_, err := s.pool.Exec(ctx, s.q["settle_estates"], fences)
	return pg.Translate(err, "incarnation")
}

// Unsettled tells whether there are estates that are not dealt with. See app.Replicas.
func (s *Store) Unsettled(ctx context.Context) (owed bool, err error) {
	err = s.pool.QueryRow(ctx, s.q["unsettled"]).Scan(&owed)
	return owed, pg.Translate(err, "incarnation")
}

// Owner tells who acts for a run. See app.Replicas.
func (s *Store) Owner(ctx context.Context, run string) (app.Incarnation, bool, error) {
	if err := isID(run, "run"); err != nil {
		return app.Incarnation{}, false, err
	}
	i, err := one[app.Incarnation](ctx, s, "run", "owner", run)
	if fault.Is(err, fault.NotFound) {
		return app.Incarnation{}, false, nil
	}
	return i, err == nil, err
}

// Inbox lists the commands to an incarnation's runs. See app.Replicas.
func (s *Store) Inbox(ctx context.Context, owner int64) ([]app.InboxCommand, error) {
	return commands(collect[commandRow](ctx, s, "command", "inbox_of", owner))
}

// HoldSource makes an incarnation the keeper of a source. See app.Replicas.
func (s *Store) HoldSource(ctx context.Context, place string, owner int64, free bool) (bool, error) {
	tag, err := s.pool.Exec(ctx, s.q["hold_source"], text(place), owner, free)
	return tag.RowsAffected() == 1, pg.Translate(err, "source")
}

// PeerKey is what replicas know each other by. See app.Replicas.
func (s *Store) PeerKey(ctx context.Context) (key string, err error) {
	err = s.pool.QueryRow(ctx, s.q["peer_key"]).Scan(&key)
	return key, pg.Translate(err, "key")
}

// Notify sends a signal. See app.Replicas.
func (s *Store) Notify(ctx context.Context, g app.Signal) error {
	_, err := s.pool.Exec(ctx, s.q["notify"], strconv.FormatInt(g.To, 10)+" "+g.Topic)
	return pg.Translate(err, "signal")
}

// Listen hands signals to take until ctx is done or the connection breaks. See app.Replicas.
func (s *Store) Listen(ctx context.Context, take func(app.Signal)) error {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return pg.Translate(err, "signal")
	}
	conn := pooled.Hijack() // it goes on listening: nobody else may have it afterwards
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(late)
	}()
	if _, err := conn.Exec(ctx, "LISTEN pelton_runner"); err != nil {
		return pg.Translate(err, "signal")
	}
	take(app.Signal{Topic: app.SignalListening})
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return pg.Translate(err, "signal")
		}
		to, topic, _ := strings.Cut(n.Payload, " ")
		if fence, err := strconv.ParseInt(to, 10, 64); err == nil {
			take(app.Signal{To: fence, Topic: topic})
		}
	}
}

// StandingMarks tells live deployments and when they changed. See app.Store.
func (s *Store) StandingMarks(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, s.q["standing_marks"])
	if err != nil {
		return nil, pg.Translate(err, "deployment")
	}
	marks, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return marks, pg.Translate(err, "deployment")
}
