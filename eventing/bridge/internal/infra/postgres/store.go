// Package postgres keeps subscriptions, what is wanted of the runner, and deliveries.
package postgres

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/eventing/bridge/internal/app"
	"github.com/pelton-run/pelton/eventing/bridge/internal/domain"
	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/fault"
	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// Migrations holds the schema, in the folder "migrations".
//
//go:embed migrations/*.sql
var Migrations embed.FS

//go:embed sql/*.sql
var statements embed.FS

// Statements are the package's SQL texts.
func Statements() pg.Statements { return pg.Load(statements, "sql") }

// Store implements app.Store.
type Store struct {
	pool   *pg.Pool
	q      pg.Statements
	notify func()
}

var _ app.Store = (*Store)(nil)

// New makes a store on a migrated database; notify is told when messages were put into the outbox.
func New(pool *pg.Pool, notify func()) *Store {
	return &Store{pool: pool, q: Statements(), notify: notify}
}

// change runs f in a transaction, one at a time for each project, and settles the project's wish after it.
func (s *Store) change(ctx context.Context, project, what string, settle app.Settle, f func(tx pgx.Tx) error) error {
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.q["lock_project"], project); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		if err := s.settle(ctx, tx, project, settle); err != nil {
			return err
		}
		// A new one is whole once the wish that stands now is in force; a later wish covers it too.
		_, err := tx.Exec(ctx, s.q["set_versions"], project)
		return err
	})
	if err == nil {
		s.notify()
	}
	return pg.Translate(err, what)
}

type wishRow struct {
	Version                int64
	Started, Ended, Failed bool
}

// settle writes a new version of the wish where it has changed, and tells it.
func (s *Store) settle(ctx context.Context, tx pgx.Tx, project string, settle app.Settle) error {
	i, err := s.interests(ctx, tx, project)
	if err != nil {
		return err
	}
	rows, err := tx.Query(ctx, s.q["wish"], project)
	if err != nil {
		return err
	}
	old, err := pgx.CollectRows(rows, pgx.RowToStructByName[wishRow])
	if err != nil {
		return err
	}
	var was domain.Wants
	version := int64(1)
	if len(old) > 0 {
		was, version = domain.Wants{Started: old[0].Started, Ended: old[0].Ended, Failed: old[0].Failed}, old[0].Version+1
	}
	w, m, err := settle(i, version)
	if err != nil {
		return err
	}
	if w == was {
		return nil
	}
	if _, err := tx.Exec(ctx, s.q["put_wish"], project, version, w.Started, w.Ended, w.Failed); err != nil {
		return err
	}
	return s.send(ctx, tx, m)
}

func (s *Store) send(ctx context.Context, tx pgx.Tx, messages ...app.Message) error {
	for _, m := range messages {
		if _, err := tx.Exec(ctx, s.q["insert_outbox"], m.ID, m.Key, m.Payload, bus.Headers(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) interests(ctx context.Context, tx pgx.Tx, project string) (out app.Interests, err error) {
	rows, err := tx.Query(ctx, s.q["interested"], project)
	if err != nil {
		return out, err
	}
	subs, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[subscriptionRow])
	if err != nil {
		return out, err
	}
	for _, r := range subs {
		out.Subscriptions = append(out.Subscriptions, r.subscription())
	}
	if rows, err = tx.Query(ctx, s.q["wanting"], project); err != nil {
		return out, err
	}
	out.Triggers, err = pgx.CollectRows(rows, pgx.RowToStructByNameLax[app.Trigger])
	return out, err
}

// AddSubscription implements app.Store.
func (s *Store) AddSubscription(ctx context.Context, x domain.Subscription, settle app.Settle) error {
	err := s.change(ctx, x.Project, "subscription", settle, func(tx pgx.Tx) error {
		types := x.Types
		if types == nil {
			types = []string{}
		}
		_, err := tx.Exec(ctx, s.q["add_subscription"], x.ID, x.Project, x.Name, x.Sink.Kind, x.Sink.URL, types, string(x.Filter), x.Sealed, x.CreatedAt, x.Sink.Exchange, x.Sink.Key)
		return err
	})
	if fault.Is(err, fault.Conflict) {
		return fault.New(fault.Conflict, "project %s has a subscription %s already: choose another name, or remove that one first", x.Project, x.Name)
	}
	return err
}

func affected(n int64, err error, what, key string) error {
	if err != nil {
		return pg.Translate(err, what)
	}
	if n == 0 {
		return fault.New(fault.NotFound, "there is no %s %q", what, key)
	}
	return nil
}

// RemoveSubscription implements app.Store.
func (s *Store) RemoveSubscription(ctx context.Context, project, id string, settle app.Settle) error {
	return s.change(ctx, project, "subscription", settle, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.q["remove_subscription"], project, id)
		return affected(tag.RowsAffected(), err, "subscription", id)
	})
}

// PauseSubscription implements app.Store.
func (s *Store) PauseSubscription(ctx context.Context, project, id string, paused bool) error {
	tag, err := s.pool.Exec(ctx, s.q["pause_subscription"], project, id, paused)
	return affected(tag.RowsAffected(), err, "subscription", id)
}

// DisableSubscription implements app.Store.
func (s *Store) DisableSubscription(ctx context.Context, project, id, reason string, settle app.Settle) error {
	return s.change(ctx, project, "subscription", settle, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.q["disable_subscription"], project, id, clean(reason))
		if err := affected(tag.RowsAffected(), err, "subscription", id); err != nil || reason == "" {
			return err
		}
		_, err = tx.Exec(ctx, s.q["kill_deliveries"], id, clean(reason))
		return err
	})
}

type subscriptionRow struct {
	ID, Project, Name, Kind, URL, Exchange, Key string
	Types                                       []string
	Filter                                      string
	Sealed                                      []byte
	Paused                                      bool
	Disabled                                    string
	CreatedAt                                   time.Time
	Version                                     int64
	Armed                                       bool
	Delivered                                   int64
	DeliveredAt                                 *time.Time
	LastError                                   string
	Waiting, Dead                               int
}

func (r subscriptionRow) subscription() domain.Subscription {
	x := domain.Subscription{ID: r.ID, Project: r.Project, Name: r.Name, Sink: domain.Sink{Kind: r.Kind, URL: r.URL, Exchange: r.Exchange, Key: r.Key}, Types: r.Types, Sealed: r.Sealed, Paused: r.Paused,
		Disabled: r.Disabled, CreatedAt: r.CreatedAt.UTC(), Version: r.Version, Armed: r.Armed, Delivered: r.Delivered, LastError: r.LastError, Waiting: r.Waiting, Dead: r.Dead}
	if r.Filter != "" {
		x.Filter = json.RawMessage(r.Filter)
	}
	if r.DeliveredAt != nil {
		x.DeliveredAt = r.DeliveredAt.UTC()
	}
	return x
}

// Subscriptions implements app.Store.
func (s *Store) Subscriptions(ctx context.Context, project string) ([]domain.Subscription, error) {
	rows, err := s.pool.Query(ctx, s.q["subscriptions"], project)
	if err != nil {
		return nil, pg.Translate(err, "subscription")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[subscriptionRow])
	out := make([]domain.Subscription, len(list))
	for i, r := range list {
		out[i] = r.subscription()
	}
	return out, pg.Translate(err, "subscription")
}

// Subscription implements app.Store.
func (s *Store) Subscription(ctx context.Context, project, key string) (domain.Subscription, error) {
	rows, err := s.pool.Query(ctx, s.q["subscription"], project, clean(key))
	if err != nil {
		return domain.Subscription{}, pg.Translate(err, "subscription")
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[subscriptionRow])
	if errors.Is(err, pgx.ErrNoRows) {
		return domain.Subscription{}, fault.New(fault.NotFound, "project %s has no subscription %s: `pelton events list` shows them", project, strconv.Quote(key))
	}
	return r.subscription(), pg.Translate(err, "subscription")
}

// SetTrigger implements app.Store.
func (s *Store) SetTrigger(ctx context.Context, project string, t app.Trigger, settle app.Settle) error {
	return s.change(ctx, project, "trigger", settle, func(tx pgx.Tx) error {
		types := t.Types
		if types == nil {
			types = []string{}
		}
		outside, err := json.Marshal(t.Outside)
		if err != nil {
			return err
		}
		if t.Outside == nil {
			outside = []byte("[]")
		}
		_, err = tx.Exec(ctx, s.q["set_wanting"], project, t.Workflow, t.Deployment, types, string(outside))
		return err
	})
}

// RemoveTrigger implements app.Store.
func (s *Store) RemoveTrigger(ctx context.Context, project, deployment string, settle app.Settle) error {
	return s.change(ctx, project, "trigger", settle, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.q["remove_wanting"], project, deployment)
		return err
	})
}

// Armed implements app.Store.
func (s *Store) Armed(ctx context.Context, project string, version int64) error {
	_, err := s.pool.Exec(ctx, s.q["armed"], project, version)
	return pg.Translate(err, "wish")
}

// Record implements app.Store.
func (s *Store) Record(ctx context.Context, queue, messageID, project string, f func(app.Interests) ([]domain.Delivery, []app.Message, error)) error {
	told := false
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		told = false
		i, err := s.interests(ctx, tx, project)
		if err != nil || len(i.Subscriptions)+len(i.Triggers) == 0 {
			return err
		}
		first, err := outbox.First(ctx, tx, queue, messageID)
		if err != nil || !first {
			return err
		}
		deliveries, messages, err := f(i)
		if err != nil {
			return err
		}
		told = len(messages) > 0
		if err := s.send(ctx, tx, messages...); err != nil || len(deliveries) == 0 {
			return err
		}
		var ids, subs []uuid.UUID
		var order, eventIDs, types []string
		var bodies [][]byte
		var at []time.Time
		for _, d := range deliveries {
			ids, subs = append(ids, uuid.MustParse(d.ID)), append(subs, uuid.MustParse(d.Subscription)) // made by us
			order, eventIDs, types = append(order, clean(d.Order)), append(eventIDs, clean(d.EventID)), append(types, clean(d.Type))
			bodies, at = append(bodies, d.Event), append(at, d.CreatedAt)
		}
		_, err = tx.Exec(ctx, s.q["add_deliveries"], ids, subs, project, order, eventIDs, types, bodies, at)
		return err
	})
	if err == nil && told {
		s.notify()
	}
	return pg.Translate(err, "event")
}
