DELETE FROM repository WHERE project = $1 AND id = $2
