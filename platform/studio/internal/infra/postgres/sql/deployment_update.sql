UPDATE deployment SET state = $2, reason = $3, endpoints = $4, changed_at = $5 WHERE id = $1 RETURNING project, workflow, number
