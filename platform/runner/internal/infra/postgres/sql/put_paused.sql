INSERT INTO paused_workflow (project, workflow, reason, since) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
