DELETE FROM api_key WHERE project = $1 AND id = $2
