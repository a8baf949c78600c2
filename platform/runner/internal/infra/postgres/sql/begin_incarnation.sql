INSERT INTO incarnation (name) VALUES ($1) RETURNING fence
