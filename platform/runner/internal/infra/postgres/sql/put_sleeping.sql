INSERT INTO sleeping (run, due, holds) SELECT unnest($1::uuid[]), unnest($2::timestamptz[]), unnest($3::bytea[])
ON CONFLICT (run) DO UPDATE SET due = excluded.due, holds = excluded.holds
