SELECT workflow, CASE WHEN $5 THEN date_trunc('day', created_at AT TIME ZONE 'UTC') END AS day, count(*)::integer AS runs,
    sum(cpu_micros)::double precision / 1e6 AS cpu_seconds, sum(gib_seconds) AS gib_seconds
FROM run WHERE project = $1 AND id >= $2 AND id < $3 AND ($4 = '' OR workflow = $4) AND finished_at IS NOT NULL
GROUP BY 1, 2 ORDER BY 2, 1
