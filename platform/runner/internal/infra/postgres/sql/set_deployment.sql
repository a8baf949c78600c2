UPDATE deployment SET state = $2, reason = $3, changed_at = $4, listener = nullif($5, '')::uuid WHERE id = $1
