INSERT INTO wanting (project, workflow, deployment, types) VALUES ($1, $2, $3, $4)
ON CONFLICT (project, workflow) DO UPDATE SET deployment = excluded.deployment, types = excluded.types WHERE wanting.deployment <= excluded.deployment
