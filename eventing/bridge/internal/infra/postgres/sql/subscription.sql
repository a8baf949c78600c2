SELECT s.id, s.project, s.name, s.kind, s.url, s.types, s.filter, s.sealed, s.paused, s.disabled, s.created_at, s.version, s.version <= coalesce(w.armed, 0) AS armed,
    s.delivered, s.delivered_at, s.last_error,
    (SELECT count(*) FROM delivery d WHERE d.subscription = s.id AND d.died_at IS NULL) AS waiting,
    (SELECT count(*) FROM delivery d WHERE d.project = s.project AND d.subscription = s.id AND d.died_at IS NOT NULL) AS dead
FROM subscription s LEFT JOIN wish w ON w.project = s.project WHERE s.project = $1 AND (s.name = $2 OR s.id::text = $2)
