SELECT project, build, action, version, action_json, artifact, repository_id, repository, commit, path, offered_at FROM build WHERE project = $1 AND build = $2
