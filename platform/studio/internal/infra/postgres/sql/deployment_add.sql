INSERT INTO deployment (id, project, workflow, revision_id, number, state, created_at, changed_at, traffic) VALUES ($1, $2, $3, $4, $5, 'deploying', $6, $6, $7)
