WITH held AS (SELECT fence FROM incarnation WHERE fence = $1 AND live FOR SHARE)
INSERT INTO journal (run, seq, row)
SELECT r.run, r.seq, r.row FROM held, unnest($2::uuid[], $3::bigint[], $4::bytea[]) AS r (run, seq, row)
