SELECT id::text AS id, project, state, reason, definition, created_at, changed_at FROM deployment
WHERE state = 'live' AND project = $1 AND workflow = $2 ORDER BY id
