INSERT INTO revision (id, project, workflow, number, yaml, definition, digest, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
