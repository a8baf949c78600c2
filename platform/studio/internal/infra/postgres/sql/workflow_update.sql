UPDATE workflow SET source = $3, path = $4, wanted_yaml = $5, builds = $6, broken = $7, auto_deploy = $8, problems = $9 WHERE project = $1 AND name = $2
