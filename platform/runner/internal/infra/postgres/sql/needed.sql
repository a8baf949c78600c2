SELECT id::text AS id, project, state, reason, definition, created_at, changed_at, weight, coalesce(leader::text, '') AS leader, coalesce(listener::text, '') AS listener FROM deployment
WHERE state IN ('deploying', 'live') OR leader IN (SELECT id FROM deployment WHERE state IN ('deploying', 'live'))
    OR id IN (SELECT r.deployment FROM live_run l JOIN run r ON r.id = l.run) ORDER BY id
