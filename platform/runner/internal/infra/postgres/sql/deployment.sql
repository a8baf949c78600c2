SELECT id::text AS id, project, state, reason, definition, created_at, changed_at FROM deployment WHERE id = $1
