WITH claimed AS (
    UPDATE live_run SET owner = $2 WHERE owner = $1
        OR (owner = 0 AND NOT EXISTS (SELECT FROM incarnation i WHERE i.live AND i.fence <> $2 AND NOT EXISTS (SELECT FROM lease l WHERE l.fence = i.fence)))
    RETURNING run)
SELECT c.run::text FROM claimed c WHERE NOT EXISTS (SELECT FROM sleeping s WHERE s.run = c.run) ORDER BY c.run
