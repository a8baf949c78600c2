WITH claimed AS (
    UPDATE live_run SET owner = $2 WHERE owner = $1
        OR (owner = 0 AND NOT EXISTS (SELECT FROM incarnation i WHERE i.live AND i.fence <> $2 AND NOT EXISTS (SELECT FROM lease l WHERE l.fence = i.fence)))
    RETURNING run)
SELECT c.run::text AS run, coalesce(s.holds, '') AS holds FROM claimed c LEFT JOIN sleeping s ON s.run = c.run
WHERE s.run IS NULL OR s.holds <> '' ORDER BY c.run
