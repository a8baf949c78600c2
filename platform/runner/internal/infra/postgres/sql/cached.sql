SELECT outputs FROM step_cache WHERE project = $1 AND build = $2 AND key = $3 AND expires_at > $4
