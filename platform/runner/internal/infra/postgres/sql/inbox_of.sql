SELECT c.id, c.run::text AS run, c.kind, c.reason, c.payload, c.created_at FROM inbox c JOIN live_run l ON l.run = c.run
WHERE l.owner = $1 ORDER BY c.created_at, c.id
