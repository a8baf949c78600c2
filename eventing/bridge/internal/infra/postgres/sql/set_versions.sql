UPDATE subscription SET version = coalesce((SELECT w.version FROM wish w WHERE w.project = $1), 0) WHERE project = $1 AND version < 0
