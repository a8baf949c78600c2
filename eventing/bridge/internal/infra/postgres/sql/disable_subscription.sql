UPDATE subscription SET disabled = $3, version = CASE WHEN $3 = '' THEN -1 ELSE version END WHERE project = $1 AND id = $2
