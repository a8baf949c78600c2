INSERT INTO journal (run, seq, row)
SELECT r.run, r.seq, r.row FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS r (run, seq, row)
ON CONFLICT DO NOTHING
