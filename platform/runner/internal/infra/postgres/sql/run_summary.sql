SELECT id::text AS id, project, workflow, revision, revision_id, deployment::text AS deployment, state, trigger_kind, trigger_id,
    created_at, finished_at, error_kind, error_message, error_step, fingerprint, COALESCE(retry_of::text, '') AS retry_of, cpu_micros, gib_seconds
FROM run WHERE id = $1 AND project = $2
