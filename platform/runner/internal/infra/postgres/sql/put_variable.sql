INSERT INTO variable (project, name, value, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
