UPDATE build SET state = $2, kind = $3, message = $4, host = $5, setting = $6, file = $7, line = $8, artifact = $9, phases_ms = $10, notes = $11, started_at = $12, finished_at = $13 WHERE id = $1
