SELECT version, started, ended, failed FROM wish WHERE project = $1
