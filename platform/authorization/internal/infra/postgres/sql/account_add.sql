INSERT INTO account (id, name, password, admin, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
