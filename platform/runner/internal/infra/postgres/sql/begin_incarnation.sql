INSERT INTO incarnation (name, address, estate) VALUES ($1, $2, $3) RETURNING fence
