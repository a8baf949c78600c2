INSERT INTO repository (id, project, name, url, branch, path, watch, auto_deploy, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
