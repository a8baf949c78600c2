DELETE FROM delivery d USING (
    SELECT seq, died_at, row_number() OVER (PARTITION BY subscription ORDER BY seq DESC) AS place FROM delivery WHERE died_at IS NOT NULL
) x WHERE d.seq = x.seq AND d.died_at IS NOT NULL AND (x.place > $1::bigint OR x.died_at < now() - $2::interval)
