INSERT INTO wanting (project, workflow, deployment, types, outside) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (project, workflow) DO UPDATE SET deployment = excluded.deployment, types = excluded.types, outside = excluded.outside WHERE wanting.deployment <= excluded.deployment
