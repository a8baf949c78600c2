INSERT INTO inbox (id, run, kind, reason, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
