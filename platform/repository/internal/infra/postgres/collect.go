package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pelton-run/pelton/platform/kit/outbox"
	"github.com/pelton-run/pelton/platform/kit/pg"
	repositoryv1 "github.com/pelton-run/pelton/platform/repository/contracts/repository/v1"
	"github.com/pelton-run/pelton/platform/repository/internal/app"
)

// OrderBuild implements app.Store.
func (s *Store) OrderBuild(ctx context.Context, o app.Order) error {
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error { return s.order(ctx, tx, o) })
	s.notify()
	return pg.Translate(err, "build")
}

// PruneScans implements app.Store.
func (s *Store) PruneScans(ctx context.Context, keep int) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("scan_prune_all"), keep)
	return pg.Translate(err, "scans")
}

type digestRow struct {
	Project string `db:"project"`
	Build   string `db:"build"`
}

// CollectBuilds implements app.Store. The order to drop a digest is written with the deletion: the
// builder keeps what it makes or finds after that moment, so that an order of the same digest that
// comes in between loses nothing.
func (s *Store) CollectBuilds(ctx context.Context, before time.Time, limit int) (int, error) {
	n := 0
	err := pg.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, s.sql.Get("build_collect"), before, limit)
		if err != nil {
			return err
		}
		gone, err := pgx.CollectRows(rows, pgx.RowToStructByName[digestRow])
		if err != nil {
			return err
		}
		n = len(gone)
		seen := map[digestRow]bool{}
		for _, d := range gone {
			if seen[d] {
				continue
			}
			seen[d] = true
			var used bool
			if err := tx.QueryRow(ctx, s.sql.Get("build_used"), d.Project, d.Build).Scan(&used); err != nil {
				return err
			}
			if used {
				continue
			}
			m, err := outbox.NewMessage(exchange, &repositoryv1.BuildDropped{Project: d.Project, Build: d.Build, AtUnixMs: s.now().UnixMilli()}, s.now())
			if err != nil {
				return err
			}
			if err := outbox.Append(ctx, tx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, pg.Translate(err, "builds")
	}
	s.notify()
	return n, nil
}
