SELECT id::text AS id, project, state, reason, definition, created_at, changed_at, weight, coalesce(leader::text, '') AS leader, coalesce(listener::text, '') AS listener FROM deployment
WHERE state IN ('deploying', 'live') ORDER BY id
