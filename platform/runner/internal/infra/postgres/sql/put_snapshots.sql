INSERT INTO snapshot (run, seq, state) SELECT unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bytea[])
ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, state = excluded.state
