INSERT INTO log_chunk (run, first, last, lines, step, path, attempt, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
