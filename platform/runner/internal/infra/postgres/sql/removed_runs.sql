SELECT run::text FROM removed_run WHERE at < $1 AND NOT EXISTS (SELECT FROM run r WHERE r.id = removed_run.run) LIMIT 500
