INSERT INTO removed_run (run, at) SELECT unnest($1::uuid[]), now() ON CONFLICT (run) DO UPDATE SET at = excluded.at
