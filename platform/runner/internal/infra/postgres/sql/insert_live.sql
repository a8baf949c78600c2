INSERT INTO live_run (run, owner) SELECT unnest($1::uuid[]), $2 ON CONFLICT DO NOTHING
