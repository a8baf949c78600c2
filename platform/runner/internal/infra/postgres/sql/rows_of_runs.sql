SELECT u.run::text AS run, j.row
FROM unnest($1::uuid[], $2::bigint[]) AS u (run, after),
    LATERAL (SELECT seq, row FROM journal WHERE journal.run = u.run AND seq > u.after ORDER BY seq OFFSET 0) AS j
ORDER BY u.run, j.seq
