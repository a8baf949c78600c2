DELETE FROM retention WHERE project = $1
