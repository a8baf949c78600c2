UPDATE deployment SET state = $2, reason = $3, changed_at = $4 WHERE id = $1
