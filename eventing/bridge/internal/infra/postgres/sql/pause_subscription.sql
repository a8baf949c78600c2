UPDATE subscription SET paused = $3 WHERE project = $1 AND id = $2
