UPDATE subscription SET disabled = $3 WHERE project = $1 AND id = $2
