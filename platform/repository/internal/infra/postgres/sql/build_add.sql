INSERT INTO build (id, project, build, repository_id, repository, commit, path, action, action_json, state, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
