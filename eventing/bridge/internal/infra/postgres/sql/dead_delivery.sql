SELECT d.seq, d.id, d.subscription, d.project, d.ordering, d.event_id, d.type, d.event, d.tries, d.last_error, d.created_at, d.died_at
FROM delivery d WHERE d.project = $1 AND d.died_at IS NOT NULL AND d.id::text = $2
