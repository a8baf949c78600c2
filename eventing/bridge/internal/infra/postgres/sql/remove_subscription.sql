DELETE FROM subscription WHERE project = $1 AND id = $2
