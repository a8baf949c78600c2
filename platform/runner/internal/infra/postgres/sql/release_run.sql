UPDATE live_run l SET held = '' FROM run r WHERE l.run = $1 AND l.held <> '' AND r.id = l.run AND r.project = $2 RETURNING r.deployment::text
