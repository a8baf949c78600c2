SELECT id::text AS id, project, state, reason, definition, created_at, changed_at FROM deployment
WHERE state IN ('deploying', 'live') ORDER BY id
