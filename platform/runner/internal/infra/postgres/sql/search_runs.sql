SELECT id::text AS id, project, workflow, revision, revision_id, deployment::text AS deployment, state, trigger_kind, trigger_id,
    created_at, finished_at, error_kind, error_message, error_step, fingerprint, COALESCE(retry_of::text, '') AS retry_of, cpu_micros, gib_seconds
FROM run WHERE project = $1 AND id < $2 AND id >= $3 AND ($4 = '' OR workflow = $4) AND (cardinality($5::text[]) = 0 OR state = ANY ($5::text[]))
    AND ($6 = '' OR strpos(lower(error_message), $6) > 0) AND ($7 = '' OR error_kind = $7) AND ($8 = '' OR fingerprint = $8)
    AND ($9 = '' OR trigger_kind = $9) AND tags @> $10::text[] AND ($11 = '' OR retry_of = NULLIF($11, '')::uuid)
ORDER BY id DESC LIMIT $12
