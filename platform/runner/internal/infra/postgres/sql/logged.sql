SELECT run::text AS run, step, path, attempt, sum(lines)::bigint AS lines, max(last)::bigint AS last
FROM log_chunk WHERE run = ANY ($1::uuid[]) GROUP BY run, step, path, attempt
