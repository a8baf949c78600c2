SELECT id::text AS id, project, name, url, branch, path, watch, auto_deploy, created_at FROM repository WHERE $1 = '' OR project = $1 ORDER BY created_at
