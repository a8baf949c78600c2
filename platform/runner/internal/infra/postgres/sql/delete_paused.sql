DELETE FROM paused_workflow WHERE project = $1 AND workflow = $2
