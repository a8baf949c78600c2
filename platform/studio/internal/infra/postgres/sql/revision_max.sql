SELECT coalesce(max(number), 0) FROM revision WHERE project = $1 AND workflow = $2
