SELECT id::text AS id, project, state, reason, definition, created_at, changed_at, weight, coalesce(leader::text, '') AS leader, coalesce(listener::text, '') AS listener FROM deployment
WHERE project = $1 AND leader IS NULL AND ($2 OR state = 'live') ORDER BY id DESC LIMIT 1000
