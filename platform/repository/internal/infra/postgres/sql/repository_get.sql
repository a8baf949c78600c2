SELECT id::text AS id, project, name, url, branch, path, watch, auto_deploy, created_at FROM repository WHERE project = $1 AND id = $2
