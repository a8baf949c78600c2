package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pelton-run/pelton/eventing/bus"
	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// Wants gives what is wanted of each project. See app.Store.
func (s *Store) Wants(ctx context.Context) (map[string]app.Wants, error) {
	type row struct {
		Project string
		app.Wants
	}
	rows, err := collect[row](ctx, s, "wish", "wants")
	out := make(map[string]app.Wants, len(rows))
	for _, r := range rows {
		out[r.Project] = r.Wants
	}
	return out, err
}

// PutWants notes what is wanted of a project. See app.Store.
func (s *Store) PutWants(ctx context.Context, project string, w app.Wants, version int64, told app.Message) error {
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.q["put_want"], project, version, w.Started, w.Ended, w.Failed); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.q["insert_outbox"], told.ID, told.Key, told.Payload, bus.Headers(ctx))
		return err
	})
	if err == nil {
		s.notify()
	}
	return pg.Translate(err, "wish")
}

// messageColumns gathers outgoing messages by column.
type messageColumns struct {
	id   []pgtype.UUID
	key  []string
	body [][]byte
}

func (c *messageColumns) add(list []app.Message) {
	for _, m := range list {
		id, err := uuid.Parse(m.ID)
		if err != nil {
			continue // ids are made by the engine
		}
		c.id, c.key, c.body = append(c.id, pgtype.UUID{Bytes: id, Valid: true}), append(c.key, m.Key), append(c.body, m.Payload)
	}
}

func (c *messageColumns) queue(b *pgx.Batch, q pg.Statements) {
	if len(c.id) > 0 {
		b.Queue(q["insert_messages"], pgtype.FlatArray[pgtype.UUID](c.id), c.key, c.body)
	}
}
