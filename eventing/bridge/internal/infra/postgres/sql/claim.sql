WITH heads AS MATERIALIZED (
    SELECT DISTINCT ON (d.subscription, d.ordering) d.seq, d.subscription, d.next_at, d.claimed_until
    FROM delivery d WHERE d.died_at IS NULL ORDER BY d.subscription, d.ordering, d.seq
), busy AS (
    SELECT subscription, count(*) AS n FROM heads WHERE claimed_until >= now() GROUP BY subscription
), due AS (
    SELECT h.seq, row_number() OVER (PARTITION BY h.subscription ORDER BY h.seq) + coalesce(b.n, 0) AS place
    FROM heads h JOIN subscription s ON s.id = h.subscription AND NOT s.paused AND s.disabled = '' LEFT JOIN busy b ON b.subscription = h.subscription
    WHERE h.next_at <= now() AND (h.claimed_until IS NULL OR h.claimed_until < now())
), chosen AS (
    SELECT seq FROM due WHERE place <= $2 ORDER BY place, seq LIMIT $1
), taken AS (
    UPDATE delivery d SET claimed_until = now() + $3::interval, tries = d.tries + 1 FROM chosen c
    WHERE d.seq = c.seq AND d.died_at IS NULL AND (d.claimed_until IS NULL OR d.claimed_until < now())
    RETURNING d.seq, d.id, d.subscription, d.project, d.ordering, d.event_id, d.type, d.event, d.tries, d.created_at
)
SELECT t.seq, t.id, t.subscription, t.project, t.ordering, t.event_id, t.type, t.event, t.tries, t.created_at, s.kind, s.url, s.exchange, s.key, s.sealed
FROM taken t JOIN subscription s ON s.id = t.subscription ORDER BY t.seq
