DELETE FROM text_file WHERE project = $1 AND holder = $2
