INSERT INTO scan (id, project, repository_id, commit, state, error, actions, workflows, started_at, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
