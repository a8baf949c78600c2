SELECT fingerprint, workflow, error_step AS step, error_kind AS kind, count(*)::integer AS count, min(created_at) AS first, max(created_at) AS last,
    (max(id::text)) AS newest, (array_agg(error_message ORDER BY id DESC))[1] AS message
FROM run WHERE project = $1 AND fingerprint <> '' AND id >= $2 AND ($3 = '' OR workflow = $3)
GROUP BY fingerprint, workflow, error_step, error_kind ORDER BY max(id::text) DESC LIMIT $4
