DELETE FROM secret WHERE project = $1 AND name = $2
