SELECT DISTINCT ON (project, workflow) project, workflow, retention_ms AS ms FROM deployment
WHERE state IN ('live', 'stopped') AND ($1 = '' OR project = $1) ORDER BY project, workflow, id DESC
