INSERT INTO wish (project, version, started, ended, failed, armed) VALUES ($1, $2, $3, $4, $5, 0)
ON CONFLICT (project) DO UPDATE SET version = excluded.version, started = excluded.started, ended = excluded.ended, failed = excluded.failed
