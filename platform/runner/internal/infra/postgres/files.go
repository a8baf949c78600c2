package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pelton-run/pelton/platform/kit/pg"
	"github.com/pelton-run/pelton/platform/runner/internal/app"
)

// refColumns gathers which blobs journal rows mention, by column.
type refColumns struct {
	run    []pgtype.UUID
	digest [][]byte
	text   []bool
}

func (c *refColumns) add(run uuid.UUID, row []byte) {
	for _, r := range app.FileRefs(row) {
		c.run = append(c.run, pgtype.UUID{Bytes: run, Valid: true})
		c.digest = append(c.digest, r.Sum[:])
		c.text = append(c.text, r.Text)
	}
}

func (c *refColumns) queue(b *pgx.Batch, q pg.Statements) {
	if len(c.run) > 0 {
		b.Queue(q["insert_refs"], pgtype.FlatArray[pgtype.UUID](c.run), c.digest, c.text)
	}
}

func columns(refs []app.FileRef) (digests [][]byte, texts []bool) {
	digests, texts = make([][]byte, len(refs)), make([]bool, len(refs))
	for i := range refs {
		digests[i], texts[i] = refs[i].Sum[:], refs[i].Text
	}
	return digests, texts
}

// RenewLoose finds mentions outside of runs. See app.FileIndex.
func (s *Store) RenewLoose(ctx context.Context, project string) error {
	return pg.Translate(pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		var refs []app.FileRef
		rows, err := tx.Query(ctx, s.q["loose_values"], project)
		if err != nil {
			return err
		}
		var value []byte
		if _, err := pgx.ForEachRow(rows, []any{&value}, func() error { refs = append(refs, app.FileRefs(value)...); return nil }); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, s.q["delete_loose"], project); err != nil {
			return err
		}
		digests, texts := columns(refs)
		if _, err := tx.Exec(ctx, s.q["put_loose"], project, digests, texts); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, s.q["clear_suspects"], project)
		return err
	}), "file")
}

// UnreadTexts lists texts. See app.FileIndex.
func (s *Store) UnreadTexts(ctx context.Context, project string, after app.Sum, limit int) ([]app.Sum, error) {
	return s.sums(ctx, "unread_texts", project, after[:], limit)
}

func (s *Store) sums(ctx context.Context, name string, args ...any) ([]app.Sum, error) {
	rows, err := s.pool.Query(ctx, s.q.Get(name), args...)
	if err != nil {
		return nil, pg.Translate(err, "file")
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	out := make([]app.Sum, len(list))
	for i := range list {
		copy(out[i][:], list[i])
	}
	return out, pg.Translate(err, "file")
}

// PutTextRefs notes what a text mentions. See app.FileIndex.
func (s *Store) PutTextRefs(ctx context.Context, project string, holder app.Sum, refs []app.FileRef) error {
	digests, texts := columns(refs)
	return pg.Translate(pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.q["put_text_refs"], project, holder[:], digests, texts); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.q["put_text_read"], project, holder[:])
		return err
	}), "file")
}

// Suspect finds blobs that nothing mentions. See app.FileIndex.
func (s *Store) Suspect(ctx context.Context, project string, listed []app.Sum, now, before time.Time) ([]app.Sum, error) {
	digests := make([][]byte, len(listed))
	for i := range listed {
		digests[i] = listed[i][:]
	}
	return s.sums(ctx, "suspect", project, digests, now, before)
}

// ForgetFile forgets a blob. See app.FileIndex.
func (s *Store) ForgetFile(ctx context.Context, project string, file app.Sum) error {
	return pg.Translate(pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		for _, name := range []string{"forget_suspect", "forget_text", "forget_read"} {
			if _, err := tx.Exec(ctx, s.q[name], project, file[:]); err != nil {
				return err
			}
		}
		return nil
	}), "file")
}
