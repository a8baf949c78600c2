INSERT INTO deployment (id, project, workflow, state, reason, definition, created_at, changed_at, retention_ms, weight, leader)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING
