DELETE FROM variable WHERE project = $1 AND name = $2
