INSERT INTO broker (project, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (project) DO UPDATE SET sealed = excluded.sealed, created_at = excluded.created_at, going = false
