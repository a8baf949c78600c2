package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/fault"
)

// Only is the right of one process at a time to do something on a database: a lock that the database
// gives back when the connection ends. Not for concurrent use.
type Only struct {
	url  string
	key  int64
	conn *pgx.Conn
}

// TakeOnly takes the right that key names on a database. Whoever had it last may be waited for during
// patience; then it returns a conflict.
func TakeOnly(ctx context.Context, url string, key int64, patience time.Duration) (*Only, error) {
	o := &Only{url: url, key: key}
	err := o.take(ctx, patience)
	if err != nil {
		o.Release()
	}
	return o, err
}

func (o *Only) take(ctx context.Context, patience time.Duration) error {
	cfg, err := pgx.ParseConfig(o.url)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "store: not a PostgreSQL URL")
	}
	// A process whose machine has gone loses it within seconds.
	for name, v := range map[string]string{"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"} {
		cfg.RuntimeParams[name] = v
	}
	if o.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the database does not answer")
	}
	for last := time.Now().Add(patience); ; {
		got := false
		if err := o.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", o.key).Scan(&got); err != nil || got {
			return Translate(err, "lock")
		}
		if time.Now().After(last) {
			return fault.New(fault.Conflict, "another process has it")
		}
		if err := rest(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// Keep holds the right until ctx is done. When the connection breaks it takes it again; it returns a
// conflict if somebody else has it by then.
func (o *Only) Keep(ctx context.Context) error {
	for {
		if o.conn != nil {
			_, _ = o.conn.WaitForNotification(ctx) // there are none: it returns when the connection breaks
			o.Release()
		}
		if ctx.Err() != nil {
			return nil
		}
		err := o.take(ctx, 30*time.Second)
		if fault.Is(err, fault.Conflict) {
			o.Release()
			return err
		}
		if err != nil {
			o.Release()
			_ = rest(ctx, time.Second)
		}
	}
}

// Release gives the right back.
func (o *Only) Release() {
	if o.conn == nil {
		return
	}
	late, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = o.conn.Close(late)
	o.conn = nil
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
