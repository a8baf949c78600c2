DELETE FROM loose_file WHERE project = $1
