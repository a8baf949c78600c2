INSERT INTO event_want (project, version, started, ended, failed) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (project) DO UPDATE SET version = excluded.version, started = excluded.started, ended = excluded.ended, failed = excluded.failed
WHERE event_want.version < excluded.version
