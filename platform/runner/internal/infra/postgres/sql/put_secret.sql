INSERT INTO secret (project, name, sealed, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (project, name) DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at
