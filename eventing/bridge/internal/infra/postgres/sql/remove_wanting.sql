DELETE FROM wanting WHERE project = $1 AND deployment = $2
