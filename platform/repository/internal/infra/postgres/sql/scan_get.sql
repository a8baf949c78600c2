SELECT id::text AS id, project, repository_id::text AS repository_id, commit, state, error, actions, workflows, started_at, finished_at FROM scan WHERE project = $1 AND id = $2
