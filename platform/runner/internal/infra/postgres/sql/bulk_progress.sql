UPDATE bulk SET state = $2, done = $3, failed = $4, problem = $5, cursor = $6, ended_at = $7 WHERE id = $1 AND state = 'running'
