UPDATE wish SET armed = $2 WHERE project = $1 AND armed < $2
