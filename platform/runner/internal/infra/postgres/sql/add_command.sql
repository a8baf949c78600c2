INSERT INTO inbox (id, run, kind, reason, payload, created_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
