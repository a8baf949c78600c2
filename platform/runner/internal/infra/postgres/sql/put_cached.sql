INSERT INTO step_cache (project, build, key, outputs, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (project, build, key) DO UPDATE SET outputs = excluded.outputs, expires_at = excluded.expires_at
