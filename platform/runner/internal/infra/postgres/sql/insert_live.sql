INSERT INTO live_run (run) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING
