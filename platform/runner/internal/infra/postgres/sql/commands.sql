SELECT id, run::text AS run, kind, reason, created_at FROM inbox ORDER BY created_at, id
