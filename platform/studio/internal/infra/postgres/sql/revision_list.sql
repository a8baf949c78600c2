SELECT id::text AS id, project, workflow, number, yaml, definition, digest, created_at FROM revision WHERE project = $1 AND workflow = $2 AND ($3 = 0 OR number < $3) ORDER BY number DESC LIMIT $4
