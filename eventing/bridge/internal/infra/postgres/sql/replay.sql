WITH gone AS (
    DELETE FROM delivery WHERE project = $1 AND died_at IS NOT NULL AND ($2 = '' OR subscription::text = $2) AND ($3 = '' OR id::text = $3)
    RETURNING seq, id, subscription, project, ordering, event_id, type, event, created_at
)
INSERT INTO delivery (id, subscription, project, ordering, event_id, type, event, next_at, created_at)
SELECT id, subscription, project, ordering, event_id, type, event, now(), created_at FROM gone ORDER BY seq
