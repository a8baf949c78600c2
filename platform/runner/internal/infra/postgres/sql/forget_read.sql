DELETE FROM text_read WHERE project = $1 AND digest = $2
