INSERT INTO bulk (id, project, kind, query, state, cursor, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
