SELECT project, name, source, path, wanted_yaml, builds, broken, auto_deploy, problems, created_at FROM workflow WHERE project = $1 ORDER BY name
