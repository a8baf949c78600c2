SELECT r.id::text FROM run r
WHERE r.project = $1 AND r.id < $2 AND r.finished_at < $3 AND NOT r.workflow = ANY ($4::text[])
    AND NOT run_needed(r.id, r.parent, r.trigger_kind, r.created_at)
ORDER BY r.id LIMIT $5 FOR UPDATE OF r SKIP LOCKED
