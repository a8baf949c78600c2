INSERT INTO sleeping (run, due) SELECT unnest($1::uuid[]), unnest($2::timestamptz[]) ON CONFLICT (run) DO UPDATE SET due = excluded.due
