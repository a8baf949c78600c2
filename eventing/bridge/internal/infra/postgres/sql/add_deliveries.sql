INSERT INTO delivery (id, subscription, project, ordering, event_id, type, event, next_at, created_at)
SELECT x.id, x.subscription, $3, x.ordering, x.event_id, x.type, x.event, now(), x.created_at
FROM unnest($1::uuid[], $2::uuid[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::timestamptz[])
    WITH ORDINALITY AS x (id, subscription, ordering, event_id, type, event, created_at, n)
JOIN subscription s ON s.id = x.subscription ORDER BY x.n
