DELETE FROM unreferenced WHERE project = $1 AND digest = $2
