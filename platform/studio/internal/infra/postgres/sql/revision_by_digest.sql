SELECT id::text AS id, project, workflow, number, yaml, definition, digest, created_at FROM revision WHERE project = $1 AND workflow = $2 AND digest = $3
