INSERT INTO workflow (project, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
