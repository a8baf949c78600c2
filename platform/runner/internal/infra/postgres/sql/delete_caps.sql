DELETE FROM step_cap WHERE project = $1
