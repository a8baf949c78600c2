package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// clean makes a string that PostgreSQL takes: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func interval(d time.Duration) string { return fmt.Sprintf("%d microseconds", d.Microseconds()) }

type deliveryRow struct {
	Seq                                                     int64
	ID, Subscription, Project, Ordering, EventID, EventType string
	Event                                                   []byte
	Tries                                                   int
	LastError                                               string
	CreatedAt                                               time.Time
	DiedAt                                                  *time.Time
	Kind, URL, Exchange, Key                                string
	Sealed                                                  []byte
}

func (r deliveryRow) delivery() domain.Delivery {
	d := domain.Delivery{Seq: r.Seq, ID: r.ID, Subscription: r.Subscription, Project: r.Project, Order: r.Ordering, EventID: r.EventID, Type: r.EventType, Event: r.Event,
		Tries: r.Tries, LastError: r.LastError, CreatedAt: r.CreatedAt.UTC()}
	if r.DiedAt != nil {
		d.DiedAt = r.DiedAt.UTC()
	}
	return d
}

// Claim implements app.Store.
func (s *Store) Claim(ctx context.Context, limit, perSubscription int, lease time.Duration) ([]app.Claimed, error) {
	rows, err := s.pool.Query(ctx, s.q["claim"], limit, perSubscription, interval(lease))
	if err != nil {
		return nil, pg.Translate(err, "delivery")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r deliveryRow, err error) {
		return r, row.Scan(&r.Seq, &r.ID, &r.Subscription, &r.Project, &r.Ordering, &r.EventID, &r.EventType, &r.Event, &r.Tries, &r.CreatedAt, &r.Kind, &r.URL, &r.Exchange, &r.Key, &r.Sealed)
	})
	out := make([]app.Claimed, len(list))
	for i, r := range list {
		out[i] = app.Claimed{Delivery: r.delivery(), Sink: domain.Sink{Kind: r.Kind, URL: r.URL, Exchange: r.Exchange, Key: r.Key}, Sealed: r.Sealed}
	}
	return out, pg.Translate(err, "delivery")
}

// Delivered implements app.Store.
func (s *Store) Delivered(ctx context.Context, d domain.Delivery) error {
	_, err := s.pool.Exec(ctx, s.q["delivered"], d.Seq, d.Tries)
	return pg.Translate(err, "delivery")
}

// Failed implements app.Store.
func (s *Store) Failed(ctx context.Context, d domain.Delivery, reason string, rest time.Duration, dead bool) error {
	_, err := s.pool.Exec(ctx, s.q["failed"], d.Seq, d.Tries, clean(reason), interval(rest), dead)
	return pg.Translate(err, "delivery")
}

// Dead implements app.Store.
func (s *Store) Dead(ctx context.Context, project, subscription, after string, limit int) ([]domain.Delivery, error) {
	from := int64(0)
	if after != "" {
		var err error
		if from, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, fault.InvalidField("cursor", "is not a cursor", "pass next_cursor of the page before unchanged")
		}
	}
	return s.dead(ctx, "dead", project, subscription, from, limit)
}

func (s *Store) dead(ctx context.Context, name string, args ...any) ([]domain.Delivery, error) {
	rows, err := s.pool.Query(ctx, s.q.Get(name), args...)
	if err != nil {
		return nil, pg.Translate(err, "dead letter")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r deliveryRow, err error) {
		return r, row.Scan(&r.Seq, &r.ID, &r.Subscription, &r.Project, &r.Ordering, &r.EventID, &r.EventType, &r.Event, &r.Tries, &r.LastError, &r.CreatedAt, &r.DiedAt)
	})
	out := make([]domain.Delivery, len(list))
	for i, r := range list {
		out[i] = r.delivery()
	}
	return out, pg.Translate(err, "dead letter")
}

func noDead(id string) error {
	return fault.New(fault.NotFound, "there is no dead letter %s: `pelton events dead list` shows them", strconv.Quote(id))
}

// DeadDelivery implements app.Store.
func (s *Store) DeadDelivery(ctx context.Context, project, id string) (domain.Delivery, error) {
	list, err := s.dead(ctx, "dead_delivery", project, id)
	if err != nil {
		return domain.Delivery{}, err
	}
	if len(list) == 0 {
		return domain.Delivery{}, noDead(id)
	}
	return list[0], nil
}

// Replay implements app.Store.
func (s *Store) Replay(ctx context.Context, project, subscription, id string) (int, error) {
	return s.all(ctx, "replay", project, subscription, id)
}

// Drop implements app.Store.
func (s *Store) Drop(ctx context.Context, project, subscription, id string) (int, error) {
	return s.all(ctx, "drop_dead", project, subscription, id)
}

func (s *Store) all(ctx context.Context, name, project, subscription, id string) (int, error) {
	tag, err := s.pool.Exec(ctx, s.q.Get(name), project, subscription, id)
	if err != nil {
		return 0, pg.Translate(err, "dead letter")
	}
	n := int(tag.RowsAffected())
	if n == 0 && id != "" {
		return 0, noDead(id)
	}
	return n, nil
}

// Crowded implements app.Store.
func (s *Store) Crowded(ctx context.Context, most int) ([]app.Crowd, error) {
	rows, err := s.pool.Query(ctx, s.q["crowded"], most)
	if err != nil {
		return nil, pg.Translate(err, "subscription")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[app.Crowd])
	return list, pg.Translate(err, "subscription")
}

// ForgetDead implements app.Store.
func (s *Store) ForgetDead(ctx context.Context, most int, age time.Duration) (int, error) {
	tag, err := s.pool.Exec(ctx, s.q["forget_dead"], most, interval(age))
	return int(tag.RowsAffected()), pg.Translate(err, "dead letter")
}
