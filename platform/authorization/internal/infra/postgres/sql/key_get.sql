SELECT id, project, name, role, hash, created_by, created_at, expires_at FROM api_key WHERE id = $1
