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
	"github.com/jackc/pgx/v5/pgxpool"
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

// Relay carries the outbox of one database to the bus. Of several on one database one works and
// the others stand by, so that messages keep their order while versions follow one another.
type Relay struct {
	pool *pg.Pool
	pub  bus.Publisher
	log  *slog.Logger
	wake chan struct{}
	lock *pgxpool.Conn // holds the lock of the one that works, nil while we stand by; of Run alone

	mu      sync.Mutex
	flight  map[int64]bool // seqs that the bus has but did not confirm
	done    []int64        // confirmed, to be deleted
	refused bool           // the bus refused one: nothing new goes out until every answer is there
	wait    time.Duration  // after the last refusal
	why     string         // of the last refusal that was logged
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
	window    = 500         // messages under way at a time
	poll      = time.Second // for what another process committed, and for the lock
	keep      = 7 * 24 * time.Hour
	firstWait = 50 * time.Millisecond
)

// Run relays until ctx ends. Messages go out in the order of their commits; when the bus refuses
// one, it and all behind it that are not confirmed are published again in that order.
func (r *Relay) Run(ctx context.Context) error {
	defer r.release()
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

// lockKey is one of this package's in each database.
const lockKey = 0x70656c746f6e // "pelton"

// works tells whether this relay is the one that works; it is from the moment on when it has the lock.
func (r *Relay) works(ctx context.Context) (bool, error) {
	if r.lock != nil {
		return true, nil
	}
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	var got bool
	if err = conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockKey)).Scan(&got); err != nil || !got {
		conn.Release()
		return false, err
	}
	r.lock = conn
	return true, nil
}

// release gives the lock up, with its connection: so it goes whatever state that is in.
func (r *Relay) release() {
	if r.lock == nil {
		return
	}
	_ = r.lock.Hijack().Close(context.Background())
	r.lock = nil
}

// pass deletes what was confirmed and publishes what is new.
func (r *Relay) pass(ctx context.Context) error {
	if works, err := r.works(ctx); err != nil || !works {
		return err
	}
	if err := r.remove(ctx); err != nil {
		return err
	}
	found, err := r.next(ctx)
	if err != nil {
		r.release() // another may have the lock by now
		return err
	}
	for _, x := range found {
		r.mu.Lock()
		stop := r.refused
		if !stop {
			r.flight[x.seq] = true
		}
		r.mu.Unlock()
		if stop {
			return nil
		}
		r.pub.Publish(x.m, func(err error) { r.confirm(x.seq, x.m, err) })
	}
	return nil
}

// remove deletes what was confirmed.
func (r *Relay) remove(ctx context.Context) error {
	r.mu.Lock()
	done := r.done
	r.done = nil
	r.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	_, err := r.pool.Exec(ctx, `DELETE FROM outbox WHERE seq = ANY($1)`, done)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.done = append(r.done, done...)
		return err
	}
	for _, seq := range done {
		delete(r.flight, seq)
	}
	return nil
}

type row struct {
	seq int64
	m   bus.Message
}

// next reads what is to be published now, over the connection that holds the lock.
func (r *Relay) next(ctx context.Context) ([]row, error) {
	r.mu.Lock()
	skip := make([]int64, 0, len(r.flight))
	for seq := range r.flight {
		skip = append(skip, seq)
	}
	if len(skip) == 0 {
		r.refused = false
	}
	hold := r.refused || len(skip) >= window
	r.mu.Unlock()
	if hold {
		return nil, nil
	}
	rows, err := r.lock.Query(ctx, `SELECT seq, id::text, exchange, key, body, created_at FROM outbox
		WHERE seq <> ALL($1) ORDER BY seq LIMIT $2`, skip, window)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(rows pgx.CollectableRow) (x row, err error) {
		err = rows.Scan(&x.seq, &x.m.ID, &x.m.Exchange, &x.m.Key, &x.m.Body, &x.m.At)
		return x, err
	})
}

func (r *Relay) confirm(seq int64, m bus.Message, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.done = append(r.done, seq)
		r.wait, r.why = 0, ""
		r.Notify()
		return
	}
	delete(r.flight, seq)
	if why := err.Error(); why != r.why && !errors.Is(err, context.Canceled) {
		r.log.Warn("message not confirmed; it is published again", "key", m.Key, "id", m.ID, "err", err)
		r.why = why
	}
	r.refused = true
	if len(r.flight) == 0 { // every answer is there: go on, without spinning on a bus that refuses
		r.wait = min(max(2*r.wait, firstWait), poll)
		time.AfterFunc(r.wait, r.Notify)
	}
}
