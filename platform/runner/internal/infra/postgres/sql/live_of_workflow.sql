SELECT id::text AS id, project, state, reason, definition, created_at, changed_at, weight, coalesce(leader::text, '') AS leader, coalesce(listener::text, '') AS listener FROM deployment
WHERE state = 'live' AND project = $1 AND workflow = $2 ORDER BY id
