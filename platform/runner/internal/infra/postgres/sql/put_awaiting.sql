INSERT INTO awaiting (run, step, path, project, workflow, kind, text, since, due) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (run, step, path) DO UPDATE SET kind = excluded.kind, text = excluded.text, since = excluded.since, due = excluded.due
