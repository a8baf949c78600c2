INSERT INTO subscription (id, project, name, kind, url, types, filter, sealed, created_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, -1)
