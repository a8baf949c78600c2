SELECT id::text AS id, project, state, reason, definition, created_at, changed_at FROM deployment
WHERE project = $1 AND ($2 OR state = 'live') ORDER BY id DESC LIMIT 1000
