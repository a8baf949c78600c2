SELECT id, project, name, kind, url, types, filter FROM subscription WHERE project = $1 AND disabled = '' ORDER BY id
