// Package outbox writes messages in the transaction that changes the state, relays them to the
// bus until it confirms them, and lets consumers see each message once.
//
// A service's migrations hold these tables (Migration is the text):
package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/id"
	"github.com/pelton-run/pelton/platform/kit/pg"
)

// Migration is the goose file that a service includes among its own.
const Migration = `-- +goose Up
CREATE TABLE outbox (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid NOT NULL UNIQUE,
    exchange   text NOT NULL,
    key        text NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE inbox_seen (
    consumer   text NOT NULL,
    message_id uuid NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_seen_at ON inbox_seen (seen_at);
-- +goose Down
DROP TABLE inbox_seen;
DROP TABLE outbox;
`

// NewMessage makes a message of an exchange with a new id; the key is the message's name.
func NewMessage(exchange string, m proto.Message, now time.Time) (bus.Message, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return bus.Message{}, err
	}
	return bus.Message{
		ID: id.New(), Exchange: exchange, Key: string(m.ProtoReflect().Descriptor().Name()), Body: body, At: now,
	}, nil
}

// Append writes messages in tx. Call Relay.Notify after the commit.
func Append(ctx context.Context, tx pgx.Tx, messages ...bus.Message) error {
	for _, m := range messages {
		_, err := tx.Exec(ctx, `INSERT INTO outbox (id, exchange, key, body, created_at) VALUES ($1, $2, $3, $4, $5)`,
			m.ID, m.Exchange, m.Key, m.Body, m.At)
		if err != nil {
			return err
		}
	}
	return nil
}

// First notes in tx that the consumer has dealt with the message; false means it had before,
// and the handler has nothing to do.
func First(ctx context.Context, tx pgx.Tx, consumer, messageID string) (bool, error) {
	tag, err := tx.Exec(ctx, `INSERT INTO inbox_seen (consumer, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, consumer, messageID)
	return tag.RowsAffected() == 1, err
}

// Relay carries the outbox of one database to the bus. One relay runs per database.
type Relay struct {
	pool *pg.Pool
	pub  bus.Publisher
	log  *slog.Logger
	wake chan struct{}

	mu     sync.Mutex
	flight map[int64]bool // seqs that the bus has but did not confirm
	done   []int64        // confirmed, to be deleted
}

// NewRelay makes a relay; Run works.
func NewRelay(pool *pg.Pool, pub bus.Publisher, log *slog.Logger) *Relay {
	return &Relay{pool: pool, pub: pub, log: log, wake: make(chan struct{}, 1), flight: map[int64]bool{}}
}

// Notify says that something was committed. It never blocks.
func (r *Relay) Notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

const (
	window = 500             // messages under way at a time
	poll   = 5 * time.Second // backs up a lost Notify (another process's commit)
	keep   = 7 * 24 * time.Hour
)

// Run relays until ctx ends. Messages go out in the order of their commits; those that the bus
// refuses are published again.
func (r *Relay) Run(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	prune := time.NewTicker(time.Hour)
	defer prune.Stop()
	for {
		if err := r.pass(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("outbox relay", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-tick.C:
		case <-prune.C:
			_, _ = r.pool.Exec(ctx, `DELETE FROM inbox_seen WHERE seen_at < now() - $1::interval`, keep.String())
		}
	}
}

// pass deletes what was confirmed and publishes what is new.
func (r *Relay) pass(ctx context.Context) error {
	r.mu.Lock()
	done := r.done
	r.done = nil
	r.mu.Unlock()
	if len(done) > 0 {
		if _, err := r.pool.Exec(ctx, `DELETE FROM outbox WHERE seq = ANY($1)`, done); err != nil {
			r.mu.Lock()
			r.done = append(r.done, done...)
			r.mu.Unlock()
			return err
		}
		r.mu.Lock()
		for _, seq := range done {
			delete(r.flight, seq)
		}
		r.mu.Unlock()
	}
	r.mu.Lock()
	skip := make([]int64, 0, len(r.flight))
	for seq := range r.flight {
		skip = append(skip, seq)
	}
	r.mu.Unlock()
	if len(skip) >= window {
		return nil
	}
	rows, err := r.pool.Query(ctx, `SELECT seq, id::text, exchange, key, body, created_at FROM outbox
		WHERE seq <> ALL($1) ORDER BY seq LIMIT $2`, skip, window)
	if err != nil {
		return err
	}
	type row struct {
		seq int64
		m   bus.Message
	}
	var found []row
	for rows.Next() {
		var x row
		if err := rows.Scan(&x.seq, &x.m.ID, &x.m.Exchange, &x.m.Key, &x.m.Body, &x.m.At); err != nil {
			rows.Close()
			return err
		}
		found = append(found, x)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, x := range found {
		r.mu.Lock()
		r.flight[x.seq] = true
		r.mu.Unlock()
		r.pub.Publish(x.m, func(err error) { r.confirm(x.seq, x.m, err) })
	}
	return nil
}

func (r *Relay) confirm(seq int64, m bus.Message, err error) {
	r.mu.Lock()
	if err == nil {
		r.done = append(r.done, seq)
	} else {
		delete(r.flight, seq)
	}
	r.mu.Unlock()
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			r.log.Warn("message not confirmed", "key", m.Key, "id", m.ID, "err", err)
		}
		return // the poll publishes it again, without spinning on a bus that refuses
	}
	r.Notify()
}
