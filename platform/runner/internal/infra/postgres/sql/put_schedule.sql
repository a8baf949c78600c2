INSERT INTO schedule AS s (project, workflow, trigger, spec, deployment, due, run) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (project, workflow, trigger) DO UPDATE
    SET spec = excluded.spec, deployment = excluded.deployment, due = excluded.due, run = excluded.run
    WHERE s.due <= excluded.due
