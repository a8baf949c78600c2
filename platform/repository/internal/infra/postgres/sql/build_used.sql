SELECT EXISTS (SELECT 1 FROM build WHERE project = $1 AND build = $2)
